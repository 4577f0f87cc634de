"""Reading production tasks, their jobs and bunches: what they are, what they do now, how they came there."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from panda.domain.dispatch import ErrorPair
from panda.domain.states import FINAL_JOB, BunchState, JobStatus, TaskStage
from panda.errors import NotFound
from panda.services.context import Context
from panda.services.filled import parameters_of
from panda.store import counters, inputs
from panda.store import read as store
from panda.store.read import TaskFilter

__all__ = [
    "BunchView",
    "Happened",
    "InputView",
    "JobView",
    "OutputView",
    "TaskFilter",
    "TaskView",
    "WholeJob",
    "attempts",
    "bunch",
    "bunches_of",
    "counts",
    "history",
    "inputs_of",
    "job",
    "job_ids",
    "jobs",
    "jobs_of",
    "outputs_of",
    "task",
    "tasks",
    "whole_job",
    "wire_parameters",
    "with_parameters",
]


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


def tail(ctx: Context, job_id: int) -> Tail | None:
    """What the payload of a job printed last; None if no pilot told."""
    with ctx.engine.connect() as connection:
        row = store.tail(connection, job_id)
    return None if row is None else Tail(**row)


def whole_job(ctx: Context, job_id: int) -> WholeJob:
    """One job with all that belongs to it, its parameters as its pilot gets them; raises NotFound."""
    (one,) = with_parameters(ctx, [job(ctx, job_id)])
    return WholeJob(
        one, tuple(inputs_of(ctx, job_id)), tuple(outputs_of(ctx, job_id)), tuple(history(ctx, job_id)),
        tuple(attempts(ctx, one.task_id, one.ordinal)), tail(ctx, job_id),
    )  # fmt: skip


def task(ctx: Context, task_id: int) -> TaskView:
    """One production task; raises NotFound."""
    found = tasks(ctx, TaskFilter(ids=(task_id,)))
    if not found:
        raise NotFound(f"There is no production task {task_id}.", "`panda tasks` lists them.")
    return found[0]


def tasks(
    ctx: Context, wanted: TaskFilter | None = None, *, limit: int | None = None, offset: int = 0
) -> list[TaskView]:
    """The tasks that a filter lets through, newest first; without `limit` all of them."""
    with ctx.engine.begin() as connection:
        rows = store.tasks(connection, wanted or TaskFilter(), limit, offset)
        jobs_by_task = _counts(connection, [row["id"] for row in rows])
    return [_task(row, jobs_by_task[row["id"]]) for row in rows]


def counts(ctx: Context, task_id: int) -> dict[str, int]:
    """How many jobs of a task are in each state, exactly now; states without jobs are left out."""
    with ctx.engine.begin() as connection:
        return _counts(connection, [task_id])[task_id]


def job(ctx: Context, job_id: int) -> JobView:
    """One job; raises NotFound."""
    found = jobs(ctx, [job_id])
    if not found:
        raise NotFound(f"There is no job {job_id}.", "`panda jobs --task ID` lists the jobs of a task.")
    return found[0]


def jobs(ctx: Context, ids: Sequence[int]) -> list[JobView]:
    """Jobs by id, in order of id; unknown ones are left out."""
    with ctx.engine.connect() as connection:
        return [_job(row) for row in store.jobs(connection, ids)]


def with_parameters(ctx: Context, found: Sequence[JobView]) -> list[JobView]:
    """Jobs with their parameters as their pilots get them, where what was read are their task's with placeholders."""
    filled = parameters_of(ctx, {one.id: one.parameters for one in found})
    return [replace(one, parameters=filled[one.id]) for one in found]


def jobs_of(
    ctx: Context,
    task_id: int,
    status: JobStatus | Iterable[JobStatus] | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[JobView]:
    """The jobs of a task by ordinal and attempt, all or those in one or some states; without `limit` all of them."""
    statuses = [status] if isinstance(status, str) else status
    wanted = None if statuses is None else [JobStatus(one).value for one in statuses]
    with ctx.engine.connect() as connection:
        return [_job(row) for row in store.jobs_of(connection, task_id, wanted, limit, offset)]


def job_ids(ctx: Context, task_id: int) -> list[int]:
    """The ids of a task's jobs, every attempt."""
    with ctx.engine.connect() as connection:
        return store.job_ids(connection, task_id)


def wire_parameters(ctx: Context, task_id: int) -> str | None:
    """The `task_parameters` a client sent, as JSON text; None if the task came in another form."""
    with ctx.engine.connect() as connection:
        return store.wire_parameters(connection, task_id)


def attempts(ctx: Context, task_id: int, ordinal: int) -> list[JobView]:
    """Every attempt at one place of a task, the first one first."""
    with ctx.engine.connect() as connection:
        return [_job(row) for row in store.attempts(connection, task_id, ordinal)]


def history(ctx: Context, job_id: int) -> list[Happened]:
    """What happened to a job, with its bunch until a pilot got it and then alone; raises NotFound."""
    with ctx.engine.connect() as connection:
        rows = store.history(connection, job_id)
    if not rows:
        job(ctx, job_id)
    return [
        Happened(**{**row, "from_status": _status(row["from_status"]), "to_status": _status(row["to_status"])})
        for row in rows
    ]


def inputs_of(ctx: Context, job_id: int) -> list[InputView]:
    """The input files of a job, stream by stream."""
    with ctx.engine.connect() as connection:
        rows = inputs.files_of_jobs_ever(connection, [job_id])
    return [
        InputView(
            row["stream_name"], row["dataset"], row["scope"], row["lfn"], row["guid"], row["bytes"], row["adler32"],
            row["events"],
        )
        for row in rows
    ]  # fmt: skip


def outputs_of(ctx: Context, job_id: int) -> list[OutputView]:
    """The registered outputs of a job; empty before it ended."""
    with ctx.engine.connect() as connection:
        return [OutputView(**row) for row in store.outputs(connection, job_id)]


def bunch(ctx: Context, bunch_id: int) -> BunchView:
    """One bunch; raises NotFound."""
    with ctx.engine.connect() as connection:
        rows = store.bunches(connection, bunch_id=bunch_id)
    if not rows:
        raise NotFound(f"There is no bunch {bunch_id}.", "`panda why task ID` shows the bunches of a task.")
    return _bunch(rows[0])


def bunches_of(
    ctx: Context, task_id: int, *, only_open: bool = False, limit: int | None = None, offset: int = 0
) -> list[BunchView]:
    """The bunches of a task; an open one still has jobs that no pilot got. Without `limit` all of them."""
    with ctx.engine.connect() as connection:
        rows = store.bunches(connection, task_id=task_id, only_open=only_open, limit=limit, offset=offset)
    return [_bunch(row) for row in rows]


def _counts(connection: Connection, task_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    totals: dict[int, dict[str, int]] = defaultdict(dict)
    for row in counters.counts_of_tasks(connection, task_ids):
        by_status = totals[row["task_id"]]
        by_status[row["status"]] = by_status.get(row["status"], 0) + row["n"]
    order = [one.value for one in JobStatus]
    return defaultdict(
        dict, {one: dict(sorted(found.items(), key=lambda item: order.index(item[0]))) for one, found in totals.items()}
    )


def _task(row: RowMapping, by_status: dict[str, int]) -> TaskView:
    return TaskView(**{**row, "stage": TaskStage(row["stage"])}, jobs=by_status)


def _job(row: RowMapping) -> JobView:
    errors = tuple(ErrorPair(one["component"], one["code"], one.get("text", "")) for one in row["errors"])
    return JobView(**{**row, "status": JobStatus(row["status"]), "errors": errors})


def _bunch(row: RowMapping) -> BunchView:
    return BunchView(**{**row, "state": BunchState(row["state"])})


def _status(found: str | None) -> JobStatus | None:
    return None if found is None else JobStatus(found)
