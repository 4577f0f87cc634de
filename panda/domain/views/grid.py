"""Owns what sites, pilots and the whole system look like to whoever asks: plain values, as the API sends them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SiteView:
    """A site now: `pilots` are worker nodes seen in 3 h, `running_nodes` those of them that updated jobs.

    `jobs` counts live jobs by state. Space is in GB as the storage declares it.
    """

    id: int
    name: str
    cloud: str
    tier: int
    is_tier1: bool
    status: str
    status_since: datetime
    comment: str
    rse: str
    vos: tuple[str, ...]
    releases: tuple[str, ...]
    queues: tuple[str, ...]
    space_gb: float | None
    used_gb: float | None
    pilots: int
    running_nodes: int
    jobs: dict[str, int]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A pilot as its factory describes it, and the jobs in its hand."""

    factory: str
    worker_id: int
    queue: str
    batch_id: str | None
    status: str
    node: str | None
    cores: int
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    seen_at: datetime
    n_jobs: int
    diag: str | None
    computing_element: str | None
    submission_host: str | None
    resource_type: str | None
    details: dict[str, object]
    jobs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IncidentView:
    """Something operators must know, with its numbers."""

    id: int
    at: datetime
    level: str
    kind: str
    about: str
    text: str
    numbers: dict[str, object]


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Blocks of one kind on their way to a storage, in one state."""

    kind: str
    rse: str
    state: str
    n: int
    oldest: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The system at one moment: tasks by stage, jobs by state, pilots by status; the latest warnings and errors."""

    at: datetime
    tasks: dict[str, int]
    jobs: dict[str, int]
    pilots: dict[str, int]
    sites: tuple[SiteView, ...]
    transfers: tuple[UnderWay, ...]
    incidents: tuple[IncidentView, ...]
