"""Owns what a production task, its jobs and its data look like to whoever asks: plain values, as the API sends them."""

from dataclasses import dataclass
from datetime import datetime

from panda.domain.dispatch import ErrorPair
from panda.domain.states import FINAL_JOB, BunchState, JobStatus, TaskStage


@dataclass(frozen=True, slots=True)
class TaskView:
    """A production task as it is now; `jobs` counts its jobs by state, exactly, at the moment of reading."""

    id: int
    name: str
    vo: str
    owner: str
    working_group: str | None
    label: str
    task_type: str
    processing_type: str
    campaign: str | None
    share: str
    transformation: str
    parameters: str
    release: str
    architecture: str
    priority: int
    cores: int
    memory_mb: int
    disk_mb: int
    work_hs23_s: int
    wall_s: int
    max_attempts: int
    bunch_size: int
    ddm_mode: str
    preset_site: str | None
    sites: list[str]
    excluded_sites: list[str]
    implicit: bool
    parent_id: int | None
    proddb_task: int | None
    cloud: str | None
    stage: TaskStage
    stage_since: datetime
    hold: str | None
    waits_for: str | None
    error: str | None
    expanded: bool
    closed: bool
    jobs_made: int
    due_at: datetime | None
    lease_until: datetime | None
    submitted_at: datetime
    ended_at: datetime | None
    jobs: dict[str, int]

    @property
    def live(self) -> int:
        """Jobs that are not final."""
        return sum(n for status, n in self.jobs.items() if JobStatus(status) not in FINAL_JOB)


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it is now. Status and site are its bunch's until a pilot gets it; `why` is the last event's reason."""

    id: int
    task_id: int
    task_name: str
    bunch_id: int
    parent_id: int | None
    ordinal: int
    attempt: int
    lease: int
    status: JobStatus
    site: str | None
    cloud: str | None
    owner: str
    vo: str
    label: str
    priority: int
    transformation: str
    release: str
    cores: int
    parameters: str
    first_event: int | None
    n_events: int | None
    input_first: int | None
    input_count: int | None
    queue: str | None
    node: str | None
    factory: str | None
    worker_id: int | None
    batch_id: str | None
    last_seen: datetime | None
    command: str | None
    verdict: str | None
    wall_s: float | None
    cpu_s: float | None
    max_rss_kb: int | None
    started_at: datetime | None
    ended_at: datetime | None
    timing: str | None
    errors: tuple[ErrorPair, ...]
    since: datetime | None
    why: str | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class BunchView:
    """A bunch of consecutive jobs; `blocks_missing` of its `blocks` of input have not arrived."""

    id: int
    task_id: int
    state: BunchState
    since: datetime
    site: str | None
    generation: int
    first_ordinal: int
    n_jobs: int
    open: bool
    staged: bool
    waits_for: str | None
    decision_id: int | None
    blocks: int
    blocks_missing: int


@dataclass(frozen=True, slots=True)
class Happened:
    """One change in a job's history; `with_bunch` says that it happened to all jobs of its bunch together."""

    id: int
    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus | None
    from_site: str | None
    to_site: str | None
    why: str | None
    who: str | None
    with_bunch: bool


@dataclass(frozen=True, slots=True)
class InputView:
    """An input file of a job."""

    stream: str
    dataset: str
    scope: str
    lfn: str
    guid: str | None
    bytes: int
    adler32: str
    events: int | None


@dataclass(frozen=True, slots=True)
class OutputView:
    """An output file of a job that ended; `state` is transferring, ready (arrived), attached (in its dataset), ..."""

    place: int
    dataset: str
    kind: str
    scope: str
    lfn: str
    guid: str | None
    bytes: int | None
    adler32: str | None
    events: int | None
    rse: str | None
    state: str


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of what a payload printed, and when its pilot told it (in debug mode)."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class WholeJob:
    """A job with its files, its history, every attempt at its place and what its payload printed last."""

    job: JobView
    inputs: tuple[InputView, ...]
    outputs: tuple[OutputView, ...]
    history: tuple[Happened, ...]
    attempts: tuple[JobView, ...]
    stdout: Tail | None = None


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A dataset PanDA knows; while it is open, `n_files` and `bytes` grow with the jobs that end."""

    id: int
    scope: str
    name: str
    kind: str
    task_id: int | None
    state: str
    n_files: int
    bytes: int
    created_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class TaskInputView:
    """A dataset that a task reads; `dataset_id` is missing until it was seen, `made_by` is the task that makes it."""

    task_id: int
    stream: str
    role: str
    dataset: str
    dataset_id: int | None
    n_files: int | None
    state: str | None
    made_by: int | None


@dataclass(frozen=True, slots=True)
class TransferSummary:
    """Blocks of one kind (dis: inputs to a site, sub: outputs home) in one state at one site."""

    kind: str
    state: str
    site: str | None
    n: int
    n_files: int
    bytes: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class WholeTask:
    """A production task with its data and its transfers."""

    task: TaskView
    inputs: tuple[TaskInputView, ...]
    datasets: tuple[DatasetView, ...]
    transfers: tuple[TransferSummary, ...]
