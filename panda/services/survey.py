"""Looking over the whole: sites with their jobs, pilots, datasets, transfers and incidents."""

from collections import defaultdict

from panda.domain.states import FINAL_JOB
from panda.domain.views.grid import IncidentView, SiteView, WorkerView
from panda.domain.views.work import DatasetView, TaskInputView, TransferSummary, WholeTask
from panda.errors import NotFound
from panda.services import read
from panda.services.context import Context
from panda.store import counters
from panda.store import read as store_read
from panda.store import survey as store

_FINAL = frozenset(one.value for one in FINAL_JOB)


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
        for one in counters.counts_by_site(connection):
            if one["status"] not in _FINAL:
                by_site[one["site_id"]][one["status"]] = one["n"]
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


def check_queue(ctx: Context, name: str) -> None:
    """Raise NotFound that names the queues there are, unless this is one of them."""
    known = sorted(queue for one in sites(ctx) for queue in one.queues)
    if name not in known:
        raise NotFound(f"There is no queue {name!r}.", f"Known queues: {', '.join(known) or 'none'}.")


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
