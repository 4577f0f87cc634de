"""Keeping the working tables small: jobs of ended tasks go into the archive, what is too old is deleted.

Off the hot path: chunks of some thousand rows, a transaction each, of rows that no pilot can ask for any more.
"""

from dataclasses import dataclass

from panda.services.context import Context
from panda.store import archive as store
from panda.store import pruning

CHUNK = 10_000
TASKS = 100
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Tidied:
    """How many jobs went into the archive and how many old rows were deleted."""

    jobs: int
    rows: int


def tidy(ctx: Context, chunks: int = 100) -> Tidied:
    """Do at most so many chunks of both; what is left comes with the next call, and a crash loses nothing."""
    moved, left = _archive(ctx, chunks)
    return Tidied(moved, _prune(ctx, max(1, left)))


def _archive(ctx: Context, chunks: int) -> tuple[int, int]:
    moved, after, left = 0, 0, chunks
    while left > 0:
        with ctx.engine.begin() as connection:
            age_s = ctx.settings.retention.archive_days * DAY_S
            tasks = store.tasks_to_archive(connection, age_s, TASKS, after)
        for task_id in tasks:
            while left > 0:
                n = _chunk(ctx, task_id)
                moved += n
                left -= 1
                if n < CHUNK:
                    break
        if len(tasks) < TASKS:
            break
        after = tasks[-1]
    return moved, left


def _chunk(ctx: Context, task_id: int) -> int:
    with ctx.engine.begin() as connection:
        span = store.span_of(connection, task_id, ctx.settings.retention.archive_days * DAY_S)
        if span is None:  # it was retried, or another process has done it
            return 0
        store.make_months(connection, *span)
        n = store.move_jobs(connection, task_id, CHUNK)
        if n < CHUNK:
            store.set_archived(connection, task_id)
    return n


def _prune(ctx: Context, chunks: int) -> int:
    keep = ctx.settings.retention
    days = {
        "job_event": keep.event_days,
        "job_report": keep.event_days,
        "job_tail": keep.event_days,
        "brokerage_round": keep.brokerage_days,
        "incident": keep.incident_days,
        "worker": keep.worker_days,
        "pending_action": keep.incident_days,
    }
    deleted = 0
    for table, limit in days.items():
        for _ in range(chunks):
            with ctx.engine.begin() as connection:
                n = pruning.prune(connection, table, limit, CHUNK)
            deleted += n
            if n < CHUNK:
                break
    return deleted
