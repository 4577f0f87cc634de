"""Supply and demand: what a pilot factory has to know of each queue and tells of its pilots (domain.md 2.8)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from panda.brokerage.matching import ClassFacts, PilotFacts, QueueFacts, refusal
from panda.brokerage.snapshot import Needs, Release
from panda.domain.dispatch import QueueDemand, WorkerReport
from panda.domain.grid import stricter
from panda.services.context import Context
from panda.store import supply as store

STALE_S = 600
"""A pilot that its factory has not mentioned for this time is not counted: the factory, or the pilot, is gone."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What a pilot with a queue's whole slot would say of itself, and the queue."""

    pilot: PilotFacts
    queue: QueueFacts


def demand(ctx: Context) -> list[QueueDemand]:
    """What every queue needs, offline ones included.

    `activated` counts ready jobs that a pilot with the queue's whole slot may take; where several queues of a site can
    take the same jobs, each counts its part, so that together they do not order twice as many pilots.
    """
    with ctx.engine.connect() as connection:
        limits = store.queue_limits(connection)
        waiting = store.waiting_classes(connection)
        releases = _releases(store.installed(connection))
        loads = store.loads(connection, STALE_S)
    activated = _share_out(limits, waiting, releases)
    return [_demand(one, activated[one.name], loads.get(one.name, store.QueueLoad())) for one in limits]


def report_workers(ctx: Context, reports: Sequence[WorkerReport]) -> list[bool]:
    """Keep what a factory says of its pilots; may be repeated. False: the queue or the status is unknown.

    A pilot that has ended stays as it ended, whatever is said later.
    """
    with ctx.engine.begin() as connection:
        queues = store.known_queues(connection, sorted({one.queue for one in reports}))
        statuses = {*store.PENDING, *store.WORKING, *store.ENDED}
        good = [one.queue in queues and one.status in statuses for one in reports]
        latest = {(one.factory, one.worker_id): one for one, ok in zip(reports, good, strict=True) if ok}
        store.store_workers(connection, [_row(latest[key], ctx.clock()) for key in sorted(latest)])
    return good


def last_worker_id(ctx: Context, factory: str) -> int:
    """The highest worker id a factory has ever reported, 0 for a new one: it counts on from there."""
    with ctx.engine.connect() as connection:
        return store.last_worker_id(connection, factory)


def slots(connection: Connection, site_id: int) -> list[Slot]:
    """The whole slots of a site's queues, as matching sees them."""
    releases = _releases(store.installed(connection))
    return [_slot(one, releases.get(site_id)) for one in store.queue_limits(connection) if one.site_id == site_id]


def _share_out(
    limits: Iterable[store.QueueLimits],
    waiting: Iterable[store.WaitingClass],
    releases: Mapping[int, frozenset[Release]],
) -> dict[str, int]:
    slots_of: dict[int, list[Slot]] = defaultdict(list)
    for one in limits:
        slots_of[one.site_id].append(_slot(one, releases.get(one.site_id)))
    activated: dict[str, int] = defaultdict(int)
    for group in waiting:
        takers = [slot.queue.name for slot in slots_of[group.site_id] if _takes(slot, group)]
        for name in takers:
            activated[name] += math.ceil(group.n / len(takers))
    return activated


def _slot(limit: store.QueueLimits, releases: frozenset[Release] | None) -> Slot:
    pilot = PilotFacts(
        site_id=limit.site_id, label="unified", memory_mb=limit.memory_mb, disk_mb=limit.disk_mb, cores=limit.cores,
        remaining_s=limit.max_time_s or None,
    )  # fmt: skip
    queue = QueueFacts(
        site_id=limit.site_id, name=limit.name, status=stricter(limit.site_status, limit.status),
        corepower=limit.corepower, releases=releases, vos=frozenset(limit.vos) or None, labels=frozenset(limit.labels),
    )  # fmt: skip
    return Slot(pilot, queue)


def _takes(slot: Slot, group: store.WaitingClass) -> bool:
    needs = Needs(**{name: getattr(group, name) for name in Needs.__slots__})
    return refusal(slot.pilot, ClassFacts(group.id, group.site_id, needs), slot.queue) is None


def _demand(limit: store.QueueLimits, activated: int, load: store.QueueLoad) -> QueueDemand:
    return QueueDemand(
        queue=limit.name, site=limit.site, status=stricter(limit.site_status, limit.status), activated=activated,
        running=load.running, pilots_submitted=load.submitted, pilots_running=load.working,
        nqueue=limit.nqueue, max_pilots=limit.max_pilots, max_per_cycle=limit.max_per_cycle,
        cores=limit.cores, memory_mb=limit.memory_mb, max_time_s=limit.max_time_s,
    )  # fmt: skip


def _releases(found: Iterable[store.Installed]) -> dict[int, frozenset[Release]]:
    sites: dict[int, set[Release]] = defaultdict(set)
    for one in found:
        sites[one.site_id].add(Release(one.release, one.architecture))
    return {site: frozenset(names) for site, names in sites.items()}


def _row(report: WorkerReport, now: datetime) -> dict[str, object]:
    ended = report.ended_at or (now if report.status in store.ENDED else None)
    started = report.started_at or (now if report.status in store.WORKING else None)
    return {
        "factory": report.factory, "worker_id": report.worker_id, "queue": report.queue, "batch_id": report.batch_id,
        "status": report.status, "node": report.node, "cores": report.cores, "submitted_at": report.submitted_at,
        "started_at": started, "ended_at": ended, "n_jobs": max(report.n_jobs, len(report.jobs)), "diag": report.diag,
        "computing_element": report.computing_element, "submission_host": report.submission_host,
        "resource_type": report.resource_type, "details": dict(report.details),
    }  # fmt: skip
