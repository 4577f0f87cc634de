"""Reading production tasks, their jobs and bunches: what they are, what they do now, how they came there."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, RowMapping

from panda.domain.dispatch import ErrorPair
from panda.domain.states import BunchState, JobStatus, TaskStage
from panda.domain.views.work import BunchView, Happened, InputView, JobView, OutputView, Tail, TaskView, WholeJob
from panda.errors import NotFound
from panda.services.context import Context
from panda.services.filled import parameters_of
from panda.store import counters, inputs
from panda.store import read as store
from panda.store.read import TaskFilter

__all__ = [
    "TaskFilter",
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
