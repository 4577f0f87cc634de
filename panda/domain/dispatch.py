"""What a pilot says and hears, free of any wire format: its request for work, the job it gets, its reports."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from typing_extensions import override

from panda.domain.states import JobStatus


class PilotAsk(NamedTuple):
    """A pilot's request for up to `n_jobs` jobs, with the facts of its node; None is "unknown" and never refuses.

    `releases` are the names the pilot found in the site's software folder; None: its queue's list stands for it.
    `request_id` is the pilot's own: a retry with the same id gets the same answer. `task_id` says that it wants jobs of
    that production task only (wire-protocol.md 4.1, "taskID").
    """

    queue: str
    node: str
    label: str
    n_jobs: int = 1
    memory_mb: int | None = None
    disk_mb: int | None = None
    cpu_mhz: float | None = None
    cores: int | None = None
    remaining_s: int | None = None
    vo: str | None = None
    owner: str | None = None
    working_group: str | None = None
    releases: frozenset[str] | None = None
    factory: str | None = None
    worker_id: int | None = None
    batch_id: str | None = None
    request_id: UUID | None = None
    resource_type: str | None = None
    task_id: int | None = None


@dataclass(frozen=True, slots=True)
class HandedInput:
    """One input file of a handed-out job and where its copy at the site lies."""

    stream: str
    scope: str
    lfn: str
    guid: str | None
    bytes: int
    adler32: str
    dataset: str
    rse: str


class HandedOutput(NamedTuple):
    """One output file (or the log) that the job shall make, and the RSE it is to be stored at."""

    kind: str
    scope: str
    lfn: str
    dataset: str
    rse: str
    optional: bool = False


class HandedJob(NamedTuple):
    """A job as its pilot gets it: the task's common part with this job's numbers filled in.

    A job's own values come first, from `task_id` on those of its task at this queue.
    `secrets` are the owner's, JSON text, if the task asked for them. `common` stands for the task's common part: jobs
    with the same one differ only in their own numbers, parameters and names; None says nothing.
    """

    job_id: int
    ordinal: int
    attempt: int
    lease: int
    priority: int
    parameters: str
    first_event: int
    n_events: int
    inputs: tuple[HandedInput, ...]
    outputs: tuple[HandedOutput, ...]
    task_id: int
    task_name: str
    site: str
    queue: str
    cloud: str | None
    label: str
    vo: str
    owner: str
    working_group: str | None
    processing_type: str
    transformation: str
    release: str
    architecture: str
    container: str
    cores: int
    memory_mb: int
    disk_mb: int
    max_wall_s: int
    max_cpu_s: int
    heartbeat_s: int
    secrets: str = ""
    common: Hashable = None

    @override
    def __repr__(self) -> str:
        """For logs, which must not show secrets."""
        return f"HandedJob(job_id={self.job_id}, task_id={self.task_id}, lease={self.lease}, queue={self.queue!r})"


@dataclass(frozen=True, slots=True)
class OutputReport:
    """An output as the pilot stored it."""

    lfn: str
    guid: str | None
    bytes: int
    adler32: str
    rse: str | None = None
    events: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorPair:
    """One of the eight independent error families of a job (domain.md 4): component, code, text."""

    component: str
    code: int
    text: str = ""


class JobUpdate(NamedTuple):
    """A pilot's report on one job. `status` is what the pilot says; `finished` and `failed` make it `holding` here.

    `stdout` is the end of what the payload printed so far, told in debug mode.
    """

    job_id: int
    status: JobStatus
    attempt: int | None = None
    lease: int | None = None
    node: str | None = None
    batch_id: str | None = None
    outputs: tuple[OutputReport, ...] | None = None
    errors: tuple[ErrorPair, ...] = ()
    n_events: int | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    max_rss_kb: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    timing: str | None = None
    stdout: str = ""
    body_hash: str = ""


class UpdateAnswer(NamedTuple):
    """What the pilot hears: whether the update counted and a command (`tobekilled`, `debug`, ...) for it.

    `known` is false for a job id that never existed.
    """

    accepted: bool
    command: str | None = None
    note: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class QueueDemand:
    """What a pilot factory needs to know about one queue (domain.md 2.8)."""

    queue: str
    site: str
    status: str
    activated: int
    running: int
    pilots_submitted: int
    pilots_running: int
    nqueue: int
    max_pilots: int
    max_per_cycle: int
    cores: int
    memory_mb: int
    max_time_s: int


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A factory's word on one of its pilots (a pilot is accounted lightly, a job fully)."""

    factory: str
    worker_id: int
    queue: str
    status: str
    batch_id: str | None = None
    node: str | None = None
    cores: int = 1
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    diag: str | None = None
    jobs: tuple[int, ...] = field(default=())
    n_jobs: int = 0
    computing_element: str | None = None
    submission_host: str | None = None
    resource_type: str | None = None
    details: Mapping[str, str | int] = field(default_factory=dict)


def is_another_batch(known: str | None, told: str | None) -> bool:
    """Whether a report comes from another batch job than the one that runs the job (wire-protocol.md 9.1).

    A bare number says nothing: a batch system's own number and the one a submitter gives may stand for the same job.
    """
    return bool(known and told) and known != told and not (str(known).isdigit() or str(told).isdigit())
