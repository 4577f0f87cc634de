"""Bamboo's own duties between ProdDB and PanDA: take work, write states back, pass aborts on (domain.md 1, "Bamboo").

Theory. The two databases are never joined and never share a transaction, so each duty commits its intent, acts, and
commits the result, and every duty can be cut off anywhere and run again: `production_task.proddb_task` is unique, the
mirror's place is kept in ProdDB with the rows it stands for, and aborting twice is aborting once.
Cloud assignment and the advance of due tasks, Bamboo's other duties, are services of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from panda.domain.mirror import JobImage, Position, TaskImage
from panda.proddb import mirror, read
from panda.services.context import Context
from panda.store import outbox
from panda.store.engine import advisory_lock

WHO = "bamboo"
LOCK = "bamboo"
CHUNK_EVENTS = 5000
CHUNK_JOBS = 20_000


@dataclass(frozen=True, slots=True)
class WrittenBack:
    """What a round of the mirror did: events read, attempts and tasks whose state was written, transactions."""

    events: int
    jobs: int
    tasks: int
    chunks: int


@contextmanager
def single(ctx: Context) -> Iterator[bool]:
    """Be the only Bamboo as long as the block runs; yields False when another one is at work.

    The lock belongs to a connection of its own, so it ends with its process, however that ends.
    """
    with advisory_lock(ctx.engine, LOCK) as held:
        yield held


def write_back(
    ctx: Context, proddb: Engine, *, chunk_events: int = CHUNK_EVENTS, chunk_jobs: int = CHUNK_JOBS
) -> WrittenBack:
    """Mirror into ProdDB what became of its jobs and tasks since the last time, oldest change first.

    A task's end is told after the ends of its jobs. Raises Conflict when another Bamboo writes at the same time.
    """
    with ctx.engine.connect() as connection:
        source, end = outbox.source(connection), outbox.horizon(connection)
    with proddb.connect() as connection:
        place = read.position(connection, source)
    events = jobs = chunks = 0
    while place < Position(end, 0):
        chunk = _read_chunk(ctx, place, end, chunk_events, chunk_jobs)
        with proddb.begin() as connection:
            mirror.write_chunk(connection, source, place, chunk.until, chunk.jobs, chunk.tasks)
        place, chunks = chunk.until, chunks + 1
        events, jobs = events + chunk.events, jobs + len(chunk.jobs)
    return WrittenBack(events, jobs, _write_ends(ctx, proddb, source, place), chunks)


@dataclass(frozen=True, slots=True)
class _Chunk:
    until: Position
    events: int
    jobs: list[JobImage]
    tasks: list[TaskImage]


def _read_chunk(ctx: Context, place: Position, end: int, max_events: int, max_jobs: int) -> _Chunk:
    with ctx.engine.connect() as connection:
        changes = outbox.changes_after(connection, place, end, max_events)
        kept = _up_to(changes, max_jobs)
        jobs = outbox.job_images(connection, kept) if kept else []
        tasks = outbox.task_images(connection, sorted({one.taskid for one in kept}), None) if kept else []
    whole = len(kept) == len(changes) < max_events
    return _Chunk(Position(end, 0) if whole else kept[-1].place, len(kept), jobs, tasks)


def _up_to(changes: list[outbox.Change], max_jobs: int) -> list[outbox.Change]:
    """As many of the first changes as are about `max_jobs` jobs, but at least one."""
    n = 0
    for number, change in enumerate(changes):
        n += change.n if change.shows else 0
        if n > max_jobs:
            return changes[: max(number, 1)]
    return changes


def _write_ends(ctx: Context, proddb: Engine, source: str, place: Position) -> int:
    """Write what became of tasks themselves: cloud, stage, what they wait for; an end only if no news is left."""
    with proddb.connect() as connection:
        taskids = read.tasks_in_panda(connection)
    if not taskids:
        return 0
    with ctx.engine.connect() as connection:
        tasks = outbox.task_images(connection, taskids, place)
    with proddb.begin() as connection:
        mirror.write_chunk(connection, source, place, place, [], tasks)
    return len(tasks)
