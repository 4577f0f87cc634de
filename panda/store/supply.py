"""SQL of supply and demand: what waits for pilots at each queue, and which pilots a factory says there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, select, text, true
from sqlalchemy.dialects.postgresql import insert

from panda.store.schema import in_hand, needs, queue, ready, requirement_class, site, site_release, worker

COUNT_UP_TO = 10_000
"""Nobody submits more pilots than this at once: counting further would only cost time."""

PENDING = ("pending", "submitted", "ready")
WORKING = ("running", "idle")
ENDED = ("finished", "failed", "cancelled", "missed")


@dataclass(frozen=True, slots=True)
class WaitingClass:
    """A requirement class with jobs that are ready for a pilot (at most COUNT_UP_TO are counted)."""

    id: int
    site_id: int
    n: int
    label: str
    vo: str
    processing_type: str
    release: str
    architecture: str
    memory_mb: int
    disk_mb: int
    cores: int
    work_hs23_s: int
    wall_s: int
    in_container: bool


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """A queue's slot and how many pilots it wants."""

    name: str
    site_id: int
    site: str
    status: str
    site_status: str
    labels: list[str]
    vos: list[str]
    memory_mb: int
    disk_mb: int
    cores: int
    max_time_s: int
    corepower: float
    nqueue: int
    max_pilots: int
    max_per_cycle: int


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """What a queue is busy with: jobs in pilots' hands, pilots on their way and pilots at work."""

    running: int = 0
    submitted: int = 0
    working: int = 0


@dataclass(frozen=True, slots=True)
class Installed:
    """A release at a site."""

    site_id: int
    release: str
    architecture: str


def waiting_classes(connection: Connection) -> list[WaitingClass]:
    """Tell how many jobs of each requirement class wait for a pilot: one short index scan per class."""
    few = select(literal(1).label("one")).where(ready.c.class_id == requirement_class.c.id).limit(COUNT_UP_TO)
    counted = select(func.count().label("n")).select_from(few.correlate(requirement_class).subquery()).lateral()
    wanted = [needs.c[name] for name in WaitingClass.__slots__ if name not in {"id", "site_id", "n"}]
    statement = (
        select(requirement_class.c.id, requirement_class.c.site_id, counted.c.n, *wanted)
        .join(needs, needs.c.id == requirement_class.c.needs_id)
        .join(counted, true())
        .where(counted.c.n > 0)
    )
    return [WaitingClass(**row) for row in connection.execute(statement).mappings()]


def queue_limits(connection: Connection) -> list[QueueLimits]:
    """Tell the limits of every queue."""
    own = [queue.c[name] for name in QueueLimits.__slots__ if name not in {"site", "site_status"}]
    statement = (
        select(*own, site.c.name.label("site"), site.c.status.label("site_status"))
        .join(site, site.c.id == queue.c.site_id)
        .order_by(queue.c.name)
    )
    return [QueueLimits(**row) for row in connection.execute(statement).mappings()]


def installed(connection: Connection) -> list[Installed]:
    """Tell the releases of every site."""
    return [Installed(**row) for row in connection.execute(select(site_release)).mappings()]


def loads(connection: Connection, stale_s: int) -> dict[str, QueueLoad]:
    """Tell how busy every queue is; pilots that their factory has not mentioned for `stale_s` seconds do not count."""
    running = select(in_hand.c.queue, func.count().label("n")).group_by(in_hand.c.queue)
    fresh = worker.c.seen_at > func.now() - text("make_interval(secs => :stale)").bindparams(stale=stale_s)
    pilots = (
        select(
            worker.c.queue,
            func.count().filter(worker.c.status.in_(PENDING)).label("submitted"),
            func.count().filter(worker.c.status.in_(WORKING)).label("working"),
        )
        .where(worker.c.ended_at.is_(None), fresh)
        .group_by(worker.c.queue)
    )
    jobs = {row.queue: row.n for row in connection.execute(running)}
    found = {row.queue: row for row in connection.execute(pilots)}
    return {
        name: QueueLoad(
            running=jobs.get(name, 0),
            submitted=found[name].submitted if name in found else 0,
            working=found[name].working if name in found else 0,
        )
        for name in jobs.keys() | found.keys()
    }


def store_workers(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert pilots or bring them up to date; one that has ended stays as it is."""
    if not rows:
        return
    statement = insert(worker).values([dict(row) for row in rows])
    new = statement.excluded
    first = {name: func.coalesce(worker.c[name], new[name]) for name in ("submitted_at", "started_at")}
    last = {name: func.coalesce(new[name], worker.c[name]) for name in _LAST_SAID}
    changed: dict[str, ColumnElement[Any]] = {
        **first, **last, "queue": new.queue, "status": new.status, "cores": new.cores,
        "n_jobs": func.greatest(new.n_jobs, worker.c.n_jobs), "seen_at": func.now(),
        "details": worker.c.details.op("||")(new.details),
    }  # fmt: skip
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["factory", "worker_id"], set_=changed, where=worker.c.ended_at.is_(None)
        )
    )


_LAST_SAID = (
    "batch_id", "node", "ended_at", "diag", "computing_element", "submission_host", "resource_type",
)  # fmt: skip


def known_queues(connection: Connection, names: Sequence[str]) -> set[str]:
    """Tell which of these queues exist."""
    return set(connection.scalars(select(queue.c.name).where(queue.c.name.in_(names))))


def last_worker_id(connection: Connection, factory: str) -> int:
    """Tell a factory's highest worker id, 0 if it has none."""
    return connection.scalar(select(func.max(worker.c.worker_id)).where(worker.c.factory == factory)) or 0
