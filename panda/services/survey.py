"""Looking over the whole: sites with their jobs, pilots, datasets, transfers and incidents."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from panda.domain.states import FINAL_JOB
from panda.errors import NotFound
from panda.services import read
from panda.services.context import Context
from panda.services.read import TaskView
from panda.store import counters
from panda.store import read as store_read
from panda.store import survey as store

_FINAL = frozenset(one.value for one in FINAL_JOB)


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
class WholeTask:
    """A production task with its data and its transfers."""

    task: TaskView
    inputs: tuple[TaskInputView, ...]
    datasets: tuple[DatasetView, ...]
    transfers: tuple[TransferSummary, ...]


def whole_task(ctx: Context, task_id: int) -> WholeTask:
    """One task with what it reads, writes and moves; raises NotFound."""
    return WholeTask(
        read.task(ctx, task_id), tuple(task_inputs(ctx, task_id)), tuple(datasets(ctx, task_id=task_id)),
        tuple(transfers(ctx, task_id)),
    )  # fmt: skip


def sites(ctx: Context) -> list[SiteView]:
    """Every site, by cloud and tier, with its live jobs by state."""
    by_site: dict[int, dict[str, int]] = defaultdict(dict)
    with ctx.engine.begin() as connection:
        rows = store.sites(connection)
        for one in counters.counts_of_all(connection):
            if one["status"] not in _FINAL:
                found = by_site[one["site_id"]]
                found[one["status"]] = found.get(one["status"], 0) + one["n"]
    lists = ("vos", "releases", "queues")
    return [
        SiteView(
            **{**row, **{name: tuple(row[name]) for name in lists}}, jobs=dict(by_site[row["id"]])
        )
        for row in rows
    ]  # fmt: skip


def site(ctx: Context, name: str) -> SiteView:
    """One site; raises NotFound that names those there are."""
    found = sites(ctx)
    for one in found:
        if one.name == name:
            return one
    raise NotFound(f"There is no site {name!r}.", f"Known sites: {', '.join(one.name for one in found) or 'none'}.")


def workers(
    ctx: Context, queue: str | None = None, *, live: bool = True, limit: int | None = None, offset: int = 0
) -> list[WorkerView]:
    """Pilots, those heard of last first; `live` leaves out those that ended. Without `limit` all of them."""
    with ctx.engine.connect() as connection:
        rows = store.workers(connection, queue, live, limit, offset)
    return [WorkerView(**{**row, "jobs": tuple(row["jobs"])}) for row in rows]


def datasets(
    ctx: Context,
    pattern: str | None = None,
    *,
    task_id: int | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[DatasetView]:
    """Datasets whose name matches (`*` for any characters), or those a task reads and writes."""
    name = None if pattern is None else store_read.like(pattern)
    with ctx.engine.connect() as connection:
        return [DatasetView(**row) for row in store.datasets(connection, name, task_id, limit, offset)]


def task_inputs(ctx: Context, task_id: int) -> list[TaskInputView]:
    """The datasets a task reads, in the order of its streams."""
    with ctx.engine.connect() as connection:
        return [TaskInputView(**row) for row in store.task_inputs(connection, [task_id])]


def transfers(ctx: Context, task_id: int | None = None) -> list[TransferSummary]:
    """Blocks by kind, state and site, of one task or of all."""
    with ctx.engine.connect() as connection:
        return [TransferSummary(**row) for row in store.transfers(connection, task_id)]


def incidents(
    ctx: Context, *, kind: str | None = None, about: str | None = None, limit: int | None = None, offset: int = 0
) -> list[IncidentView]:
    """Incidents, the newest first, of one kind or about one object."""
    with ctx.engine.connect() as connection:
        return [IncidentView(**row) for row in store.incidents(connection, kind, about, limit, offset)]
