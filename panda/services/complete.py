"""The end of a task: nothing is live, every output is in its dataset, the datasets are closed, the verdict stands.

A closed dataset holds every output of the task's finished jobs, once per ordinal (design 7.3); it is never reopened.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping

from panda.ddm.port import DdmError, Did
from panda.domain.lease import Lease
from panda.domain.states import FINAL_JOB, FINAL_TASK, IN_HAND, JobStatus, TaskStage
from panda.services.assign import make_output_datasets
from panda.services.collect import attach
from panda.services.context import Context
from panda.services.story import fenced
from panda.services.unneeded import SCOPE
from panda.store import blocks, closing, counters, work

_AWAITED: Mapping[JobStatus, str] = {
    JobStatus.ACTIVATED: "AwaitingPilots",
    JobStatus.ASSIGNED: "AwaitingTransfers",
    JobStatus.WAITING: "AwaitingSite",
    JobStatus.DEFINED: "AwaitingSite",
}


@dataclass(frozen=True, slots=True)
class Completed:
    """The final stage of a task, or what it still waits for."""

    stage: TaskStage | None
    waits_for: str | None = None


def complete(ctx: Context, lease: Lease) -> Completed:
    """End the task if it can end now; a second call changes nothing."""
    with fenced(ctx, lease) as connection:
        task = work.task_row(connection, lease.task_id)
        stage = TaskStage(task["stage"])
        if stage in FINAL_TASK:
            return Completed(stage)
        waiting = still_live(connection, lease.task_id, stage)
        if waiting is not None:
            return Completed(None, waiting)
        work.update_task(connection, lease.task_id, closed=True)  # the intent: from here on no retry can come between
    problem = _make_datasets(ctx, lease.task_id)
    if problem is not None:
        return Completed(None, problem)
    while attach(ctx, limit=2000, task_id=lease.task_id):
        pass
    with ctx.engine.begin() as connection:
        left = closing.outputs_not_attached(connection, lease.task_id)
        rows = work.datasets_of(connection, lease.task_id)
        subs = [row["name"] for row in blocks.blocks_of_task(connection, lease.task_id) if row["kind"] == "sub"]
    if left:
        return Completed(None, f"AwaitingDatasets: {left} outputs are not in their datasets yet")
    problem = _close_in_ddm(ctx, task, rows, subs)
    if problem is not None:
        return Completed(None, problem)
    with fenced(ctx, lease) as connection:
        return Completed(_finish(connection, lease.task_id))


def still_live(connection: Connection, task_id: int, stage: TaskStage) -> str | None:
    """Say what a task's end waits for; None when all its jobs are final and no more will come."""
    if stage not in {TaskStage.RUNNING, TaskStage.ABORTING}:
        return f"AwaitingStage: the task is {stage.value}"
    live: Counter[str] = Counter()
    for row in counters.counts_of_tasks(connection, [task_id]):
        if JobStatus(row["status"]) not in FINAL_JOB:
            live[row["status"]] += row["n"]
    if not live:
        return None
    words = ", ".join(f"{n} {state}" for state, n in sorted(live.items()))
    return f"{_awaited({JobStatus(state) for state in live})}: {words}"


def _awaited(live: set[JobStatus]) -> str:
    """Name what jobs in these states wait for: what works now, else what can be worked on first."""
    if live & IN_HAND:
        return "AwaitingJobs"
    for state, name in _AWAITED.items():
        if state in live:
            return name
    return "AwaitingOutputs"


def _make_datasets(ctx: Context, task_id: int) -> str | None:
    """Make the output datasets that the DDM lacks: of a task that ended early, or was cut off in a retry."""
    try:
        make_output_datasets(ctx, task_id)
    except DdmError as error:
        return f"AwaitingDdm: datasets could not be made: {error}"
    return None


def _close_in_ddm(ctx: Context, task: RowMapping, rows: list[RowMapping], subs: list[str]) -> str | None:
    if task["ddm_mode"] == "none":
        return None
    try:
        ctx.ddm.close([Did(row["scope"], row["name"]) for row in rows if row["state"] == "open"]).raise_first()
        ctx.ddm.close([Did(SCOPE, name) for name in subs]).raise_first()
    except DdmError as error:
        return f"AwaitingDdm: datasets could not be closed: {error}"
    return None


def close_empty_datasets(ctx: Context, task_id: int) -> None:
    """Close the datasets of a task that will never have a job; raises DdmError when the DDM is away."""
    make_output_datasets(ctx, task_id)
    with ctx.engine.begin() as connection:
        task, rows = work.task_row(connection, task_id), work.datasets_of(connection, task_id)
    if task["ddm_mode"] != "none":
        ctx.ddm.close([Did(row["scope"], row["name"]) for row in rows]).raise_first()


def end_without_jobs(connection: Connection, task_id: int, error: str) -> None:
    """Fail a task that has no job, and wake the tasks that wait for its output."""
    closing.close_datasets(connection, task_id)
    work.set_stage(connection, task_id, TaskStage.FAILED, error=error)
    work.wake(connection, closing.children(connection, task_id))


def _finish(connection: Connection, task_id: int) -> TaskStage:
    """Close the datasets, give the verdict and wake the children, in one transaction."""
    task = work.task_row(connection, task_id)
    finished = closing.finished_ordinals(connection, task_id)
    stage = verdict(TaskStage(task["stage"]), finished, task["next_ordinal"])
    words = f"{finished} of {task['next_ordinal']} jobs finished"
    if stage is TaskStage.ABORTED and task["error"]:
        words = f"{task['error']}; {words}"
    error = None if stage is TaskStage.DONE else words
    closing.close_datasets(connection, task_id)
    work.set_stage(connection, task_id, stage, error=error)
    children = closing.children(connection, task_id)
    work.wake(connection, children)
    return stage


def verdict(stage: TaskStage, finished: int, jobs: int) -> TaskStage:
    """Give a task's final stage: all ordinals finished -> done, some -> finished, none -> failed."""
    if stage is TaskStage.ABORTING:
        return TaskStage.ABORTED
    if finished >= jobs > 0:
        return TaskStage.DONE
    return TaskStage.FINISHED if finished else TaskStage.FAILED
