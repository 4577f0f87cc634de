"""SQL that answers: whose are these tasks and jobs?"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Owned:
    """A task or job, its owner and the owner's VO."""

    id: int
    owner: str
    vo: str


def of_tasks(connection: Connection, task_ids: Sequence[int]) -> list[Owned]:
    """Whose are these tasks? Unknown ids are left out."""
    rows = connection.execute(
        text("SELECT id, owner, vo FROM production_task WHERE id = ANY(:ids) ORDER BY id"), {"ids": list(task_ids)}
    )
    return [Owned(row.id, row.owner, row.vo) for row in rows]


def of_jobs(connection: Connection, job_ids: Sequence[int]) -> list[Owned]:
    """Whose are these jobs? Unknown ids are left out."""
    rows = connection.execute(
        text("""
            SELECT j.id, t.owner, t.vo FROM job_all j JOIN production_task t ON t.id = j.task_id
            WHERE j.id = ANY(:ids) ORDER BY j.id
        """),
        {"ids": list(job_ids)},
    )
    return [Owned(row.id, row.owner, row.vo) for row in rows]
