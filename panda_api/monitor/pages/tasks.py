"""The list of production tasks: the attribute summary as filters, progress, and what each waits for."""

from collections.abc import Mapping
from typing import Any

from panda.domain import shift
from panda.domain.words import awaited
from panda.services.monitor import tasks
from panda_api.monitor.asked import Vocabulary, address
from panda_api.monitor.blocks import Column, Page, Row, Table
from panda_api.monitor.pages.linked import facets, in_order, job_parts, nothing, task_link, user_link
from panda_api.monitor.routes import Look, PageSpec

VOCABULARY = Vocabulary(filters=tuple(tasks.ATTRIBUTES), sorts=tuple(tasks.SORTS), sort="-id", hours=24 * 7)


def page(look: Look) -> Page:
    """Make the page; counts and list are of one snapshot."""
    asked = look.asked
    wanted = tasks.TasksWanted(asked.span, asked.filters)
    found = tasks.found(look.connection, wanted, sort=asked.sort, limit=asked.limit, offset=asked.offset)
    time = "of any time" if wanted.timeless else "live ones, and those that changed in the span"
    summary = in_order(facets(asked, found.summary), tasks.SUMMARISED)
    table = Table(
        "tasks",
        "Tasks",
        COLUMNS,
        task_rows(found.tasks),
        found.total,
        paged=True,
        empty=nothing(asked, "task", "No task lives, and none changed in the span: `panda submit` makes one."),
        note=time,
    )
    return Page("Tasks", [summary, table], place="/tasks", main="tasks", about=f"{found.total:,} tasks, {time}")


def task_rows(found: list[Any]) -> list[dict[str, Any]]:
    """Tasks as rows of a table."""
    return [{**row, **_progress(row["id"], row["jobs"]), "said": said(row)} for row in found]


def said(row: Row) -> str | None:
    """What is to be said of a task: its error, why it is held, what it waits for."""
    held = f"on hold: {row['hold']}" if row["hold"] and not row["ended_at"] else None
    words: str | None = row["error"] or held or (None if row["ended_at"] else awaited(row["waits_for"]))
    return words


def _progress(task_id: int, jobs: Mapping[str, int]) -> dict[str, Any]:
    finished, failed = jobs.get("finished", 0), jobs.get("failed", 0)
    parts = job_parts(jobs, lambda state: address("/jobs", task=task_id, status=state))
    return {
        "bar": parts,
        "n_jobs": sum(jobs.values()),
        "finished": finished,
        "failed": failed,
        "failure": shift.failure_rate(finished, failed),
        "_failure": shift.failing(finished, failed),
    }


COLUMNS = (
    Column("id", "task", "id", task_link("id"), sort="id"),
    Column("name", "name", "name", task_link("id"), sort="name"),
    Column("status", "state", "state", sort="status"),
    Column("bar", "jobs by state", "bar"),
    Column("n_jobs", "jobs", "count", lambda row: address("/jobs", task=row["id"]), hint="rows, retries among them"),
    Column("finished", "finished", "tally", lambda row: address("/jobs", task=row["id"], status="finished")),
    Column("failed", "failed", "tally", lambda row: address("/jobs", task=row["id"], status="failed")),
    Column("failure", "fail %", "rate", tone=lambda row: row["_failure"]),
    Column("cloud", "cloud"),
    Column("owner", "user", "text", user_link()),
    Column("task_type", "type"),
    Column("priority", "priority", "int", sort="priority"),
    Column("submitted_at", "submitted", "ago", sort="submitted"),
    Column("stage_since", "in stage", "for", sort="modified"),
    Column("said", "waits for", "long"),
)

SPEC = PageSpec("/tasks", VOCABULARY, page)
