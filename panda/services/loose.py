"""Loose jobs: each has parameters, inputs and a priority of its own; those with one request share one implicit task.

Unlike a task's, their inputs are chosen by their submitter, so they are looked up and numbered at submission.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from panda.ddm.port import Did
from panda.domain.names import bare_name, scope_of
from panda.domain.work import LooseJobs, TaskRequest
from panda.errors import Refused
from panda.services.context import Context
from panda.services.prepare import file_row, files_of
from panda.services.submit import check, store_task
from panda.store import expansion, loose, work
from panda.store.loose import OwnInput


@dataclass(frozen=True, slots=True)
class SubmittedJobs:
    """The implicit production task of loose jobs, and the jobs' ids in the order given."""

    task_id: int
    job_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    wanted: LooseJobs
    files: tuple[OwnInput, ...]


def submit_jobs(ctx: Context, groups: Sequence[LooseJobs], who: str) -> list[SubmittedJobs]:
    """Store loose jobs, each group under one implicit production task (design decision 11): all of them or none.

    Raises Refused for what no task may ask, for an input that no dataset of its request holds or that is still made.
    """
    if not groups or not all(one.jobs for one in groups):
        raise Refused("no job was given", hint="at least one")
    checked = [_check(ctx, one) for one in groups]
    with ctx.engine.begin() as connection:
        return [_store(ctx, connection, one, who) for one in checked]


def _check(ctx: Context, wanted: LooseJobs) -> _Checked:
    split = replace(wanted.request.split, n_jobs=len(wanted.jobs), files_per_job=None, events_per_job=None)
    request = check(ctx, replace(wanted.request, split=split))
    checked = replace(wanted, request=request)
    return _Checked(checked, _inputs(ctx, checked) if any(job.inputs for job in wanted.jobs) else ())


def _inputs(ctx: Context, wanted: LooseJobs) -> tuple[OwnInput, ...]:
    """Find every file that a job names in the datasets of the request's one stream; numbered over all jobs."""
    request = wanted.request
    if len(request.inputs) != 1 or request.inputs[0].role != "primary":
        raise Refused(
            f"jobs name input files, but the request has {len(request.inputs)} streams of input datasets",
            hint="one primary stream with the datasets that hold the files; or submit a task",
        )
    datasets = [bare_name(one) for one in request.inputs[0].datasets]
    asked = {lfn for job in wanted.jobs for lfn in job.inputs}
    found: dict[str, tuple[int, dict[str, object]]] = {}
    for place, dataset in enumerate(datasets):
        _refuse_open(ctx, dataset)
        for file in files_of(ctx, Did(scope_of(dataset), dataset)):
            if file.did.name in asked:
                found.setdefault(file.did.name, (place, file_row(file)))
    missing = sorted(asked - found.keys())
    if missing:
        raise Refused(
            f"{len(missing)} input files are in none of the datasets {', '.join(datasets)}: {', '.join(missing[:3])}",
            hint="'panda files DATASET' lists what a dataset holds",
        )
    every = [lfn for job in wanted.jobs for lfn in job.inputs]
    return tuple(OwnInput(number, *found[lfn]) for number, lfn in enumerate(every))


def _refuse_open(ctx: Context, dataset: str) -> None:
    with ctx.engine.connect() as connection:
        row = work.dataset_by_name(connection, dataset)
    if row is not None and row["kind"] in {"output", "log"} and row["state"] == "open":
        raise Refused(
            f"dataset {dataset!r} is still being made by task {row['task_id']}",
            hint="submit the jobs when it is closed, or submit a task, which waits for it",
        )


def _store(ctx: Context, connection: Connection, checked: _Checked, who: str) -> SubmittedJobs:
    request: TaskRequest = checked.wanted.request
    jobs = checked.wanted.jobs
    task_id = store_task(ctx, connection, request, who, implicit=True)
    task = work.task_row(connection, task_id)
    plan = expansion.Plan(task_id, task["needs_id"], task["cores"], task["bunch_size"], 0, 0)
    expansion.expand_without_input(connection, plan, stop=len(jobs), events=None, total_events=None)
    ids = loose.set_own_parameters(
        connection, task_id, [job.parameters for job in jobs], [job.priority_offset for job in jobs]
    )
    if checked.files:
        loose.set_own_inputs(connection, task_id, checked.files, [len(job.inputs) for job in jobs])
    work.update_task(connection, task_id, expanded=True)
    return SubmittedJobs(task_id, tuple(ids))
