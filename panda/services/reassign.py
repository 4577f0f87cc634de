"""Re-brokerage on order: waiting jobs leave their site and get another decision, bunch by bunch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping

from panda.domain.states import FINAL_JOB, BunchState, JobStatus
from panda.services.context import Context
from panda.store import actions, placement, work

_MOVABLE = frozenset({BunchState.ASSIGNED.value, BunchState.ACTIVATED.value})


@dataclass(frozen=True, slots=True)
class Reassigned:
    """What became of an order to move one job; `reason` says why nothing did."""

    job_id: int
    moved: bool
    reason: str


def reassign_jobs(ctx: Context, job_ids: Sequence[int], who: str) -> list[Reassigned]:
    """Take waiting jobs back from their site, with the other jobs of their bunches: a bunch is brokered as one.

    Answers in order. A job in a pilot's hand, or one that ended, stays what it is, and its answer says so.
    """
    with ctx.engine.begin() as connection:
        rows = {row["id"]: row for row in actions.where_jobs_wait(connection, job_ids)}
        movable = {row["bunch_id"] for row in rows.values() if _refused(row) is None}
        work.wake(connection, sorted({row["task_id"] for row in rows.values() if row["bunch_id"] in movable}))
        moved = set(placement.rebroker(connection, sorted(movable), why=f"reassigned by {who}", who=who))
    return [_answer(one, rows, moved) for one in job_ids]


def _answer(job_id: int, rows: Mapping[int, RowMapping], moved: set[int]) -> Reassigned:
    row = rows.get(job_id)
    if row is None:
        return Reassigned(job_id, moved=False, reason="there is no such job")
    reason = _refused(row)
    if reason is None and row["bunch_id"] not in moved:
        reason = "a pilot or another order was faster"
    return Reassigned(job_id, moved=reason is None, reason=reason or "")


def _refused(row: RowMapping) -> str | None:
    if row["status"] is None:
        return None if row["state"] in _MOVABLE else "it has no site yet"
    if JobStatus(row["status"]) in FINAL_JOB:
        return f"it is {row['status']} already"
    return f"it is {row['status']}: a pilot or the collector holds it"
