"""What Harvester and the server tell each other beside jobs: heartbeats, statistics, dialogs, metrics, commands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

Statistics: TypeAlias = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Workers by job type, resource type and status."""

KILL_WORKERS = "KILL_WORKERS"
SYNC_WORKERS_KILL = "SYNC_WORKERS_KILL"
SET_N_WORKERS = "SET_N_WORKERS_JOBTYPE"
REPORT_STATISTICS = "REPORT_WORKER_STATS"
EVERY = "ALL"
"""Harvester's word for a condition that does not bind."""


@dataclass(frozen=True, slots=True)
class HarvesterBeat:
    """A sign of life of a Harvester instance; what it does not say stays as it was said before."""

    name: str
    owner: str
    host: str
    version: str | None = None
    started_at: datetime | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialog:
    """A message of a Harvester agent to operators; its number is Harvester's own."""

    number: int
    module: str
    about: str
    level: str
    text: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class ServiceMetrics:
    """How a Harvester host was doing at one moment: memory, disk, lifetime of certificates, ..."""

    host: str
    at: datetime
    metrics: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """How many workers of one kind a Harvester instance has at a queue."""

    job_type: str
    resource_type: str
    status: str
    n: int


@dataclass(frozen=True, slots=True)
class HarvesterOrder:
    """A command of an operator to Harvester, with the arguments that Harvester's agents read."""

    command: str
    arguments: object
    ack_requested: bool = True


def counts_of(statistics: Statistics) -> Iterator[WorkerCount]:
    """One row for each number of a report."""
    for job_type, by_resource in statistics.items():
        for resource_type, by_status in by_resource.items():
            for status, n in by_status.items():
                yield WorkerCount(job_type, resource_type, status, n)


def kill_workers(
    queue: str,
    statuses: tuple[str, ...] = (),
    computing_elements: tuple[str, ...] = (),
    submission_hosts: tuple[str, ...] = (),
) -> HarvesterOrder:
    """Kill the workers of a queue, in some states (none given: submitted ones), of some elements and hosts."""
    return HarvesterOrder(
        KILL_WORKERS,
        {
            "status": list(statuses) or ["submitted"],
            "computingSite": [queue],
            "computingElement": list(computing_elements) or EVERY,
            "submissionHost": list(submission_hosts) or EVERY,
        },
        ack_requested=False,
    )


def kill_worker_ids(workers: tuple[int, ...]) -> HarvesterOrder:
    """Kill single workers by Harvester's own numbers."""
    return HarvesterOrder(SYNC_WORKERS_KILL, list(workers))


def set_workers(queue: str, job_type: str, resource_type: str, n: int) -> HarvesterOrder:
    """Submit so many new workers of one resource type at a queue that is steered from here (`slave` mode)."""
    return HarvesterOrder(f"{SET_N_WORKERS}:{queue}", {job_type: {resource_type: n}})


def report_statistics(queue: str) -> HarvesterOrder:
    """Tell at once how many workers there are at a queue."""
    return HarvesterOrder(f"{REPORT_STATISTICS}:{queue}", None)
