"""The job as its pilot gets it: the task's common part, this job's numbers, its inputs and its outputs' names."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

from sqlalchemy import Connection, RowMapping

from panda.domain.dispatch import HandedInput, HandedJob, HandedOutput
from panda.domain.names import scope_of
from panda.domain.templates import JobNumbers, fill, lfn_of, names_outputs
from panda.services import secret
from panda.services.board import Board, Place
from panda.services.context import Context
from panda.store import facts, handover, inputs
from panda.store.pop import Popped

JobRow: TypeAlias = Mapping[str, Any] | RowMapping
"""A job's own columns and its task's common part, under the names of `panda.store.handover`."""


def handed_again(ctx: Context, connection: Connection, jobs: Sequence[int], place: Place) -> tuple[HandedJob, ...]:
    """Jobs that a pilot was answered with before, as they are now."""
    if not jobs:
        return ()
    files = _files(connection, jobs)
    rows = {row["id"]: row for row in handover.jobs_in_hand(connection, jobs)}
    secrets = _secrets(ctx, connection, rows.values())
    made = []
    for row in (rows[job] for job in jobs if job in rows):
        key = _key(row["task_id"], row["task_version"], row["cloud"], place)
        job = _with_inputs(row, files.get(row["id"], ()), place.row, _frame(ctx, row, key, place.row))
        made.append(job._replace(secrets=secrets[job.owner]) if row["use_secrets"] else job)
    return tuple(made)


def to_hand(
    ctx: Context, connection: Connection, board: Board, popped: Sequence[tuple[Popped, Place]]
) -> Callable[[Popped, Place], HandedJob]:
    """Read what jobs consist of that were popped in this transaction, each with the queue of its pilot.

    Returns what makes each of them of it, without the database.
    """
    tasks = board.tasks(connection, {one.task_id: one.task_version for one, _ in popped})
    ids = [one.job_id for one, _ in popped if one.job_id is not None and tasks[one.task_id]["has_input"]]
    files = _files(connection, ids) if ids else {}
    counted = [one.job_id for one, _ in popped if one.job_id is not None and _skips_counted(one, tasks[one.task_id])]
    counted_rows = {row["id"]: row for row in handover.jobs_in_hand(connection, counted)} if counted else {}
    secrets = _secrets(ctx, connection, tasks.values())

    def made(one: Popped, place: Place) -> HandedJob:
        task = tasks[one.task_id]
        key = _key(one.task_id, one.task_version, one.cloud, place)
        frame = board.kept(key, partial(_frame, ctx, task, key, place.row))
        if task["has_input"]:
            row = counted_rows.get(one.job_id) or _row(one, task)
            job = _with_inputs(row, files.get(row["id"], ()), place.row, frame)
        else:
            job = _without_inputs(one, cast("int", task["seed"]), frame)
        return job._replace(secrets=secrets[job.owner]) if task["use_secrets"] else job

    return made


def _secrets(ctx: Context, connection: Connection, tasks: Iterable[JobRow]) -> dict[str, str]:
    """The secrets of the owners of those tasks that asked for them, by owner."""
    owners = {task["owner"] for task in tasks if task["use_secrets"]}
    return secret.for_jobs(ctx, connection, owners) if owners else {}


def _skips_counted(job: Popped, task: JobRow) -> bool:
    """Whether the events to skip in the first input have to be counted over the files before it."""
    return task["events_per_job"] is not None and bool(job.input_first)


def _row(job: Popped, task: JobRow) -> JobRow:
    skips = task["events_per_job"] is not None and job.input_first == 0
    return {
        **task,
        "id": job.job_id,
        "task_id": job.task_id,
        "ordinal": job.ordinal,
        "attempt": job.attempt,
        "lease": job.lease,
        "first_event": job.first_event,
        "n_events": job.n_events,
        "own_parameters": job.parameters,
        "priority": job.priority,
        "cloud": job.cloud,
        "skip_events": job.first_event if skips else None,
    }


def _files(connection: Connection, jobs: Sequence[int]) -> dict[int, list[RowMapping]]:
    files: dict[int, list[RowMapping]] = {}
    for row in inputs.files_of_jobs(connection, jobs):
        files.setdefault(row["job_id"], []).append(row)
    return files


Key: TypeAlias = tuple[int, float, str | None, str, str]
"""By what a frame is known: the task, its version, its cloud, the queue, the queue's version."""


def _key(task_id: int, version: float, cloud: str | None, place: Place) -> Key:
    return task_id, version, cloud, place.facts.name, place.mark


_COMMON_FROM = HandedJob._fields.index("task_id")


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all jobs of a task have in common at one queue, worked out once."""

    outputs: tuple[HandedOutput, ...]
    """Their names are templates."""
    common: tuple[Any, ...]
    """The values of a job from `task_id` on."""
    source_url: str
    container_words: str
    template: str


def _frame(ctx: Context, task: JobRow, key: Key, place: RowMapping) -> _Frame:
    outputs = tuple(
        HandedOutput(
            kind=one["kind"],
            scope=scope_of(one["dataset"]),
            lfn=one["lfn"],
            dataset=one["dataset"],
            rse=place["rse"],
            optional=bool(one.get("optional")),
        )
        for one in task["outputs"]
    )
    pattern = HandedJob(
        job_id=0,
        task_id=key[0],
        task_name=task["name"],
        ordinal=0,
        attempt=0,
        lease=0,
        site=place["site"],
        queue=place["name"],
        cloud=key[2],
        label=task["label"],
        vo=task["vo"],
        owner=task["owner"],
        working_group=task["working_group"],
        processing_type=task["processing_type"],
        priority=0,
        transformation=task["transformation"],
        parameters="",
        release=task["release"],
        architecture=task["architecture"],
        container=task["container"],
        cores=task["cores"],
        memory_mb=task["memory_mb"],
        disk_mb=task["disk_mb"],
        max_wall_s=_wall_limit(task, place),
        max_cpu_s=0,
        first_event=0,
        n_events=0,
        inputs=(),
        outputs=outputs,
        heartbeat_s=place["heartbeat_s"] or ctx.settings.pilot.heartbeat_s,
        common=key,
    )
    return _Frame(
        outputs, pattern[_COMMON_FROM:], ctx.settings.api_url, _container_words(task, place), task["parameters"]
    )


def _container_words(task: JobRow, place: RowMapping) -> str:
    """The options by which `runGen` starts the user's command in an image, with what the site has for that."""
    if not task["container"]:
        return ""
    return " " + shlex.join([f"--container={task['container']}", f"--runtime={place['container_runtime']}"])


def _with_inputs(row: JobRow, files: Sequence[RowMapping], place: RowMapping, frame: _Frame) -> HandedJob:
    numbers = job_numbers(row, files, frame.source_url)
    inputs = tuple(_input(one, place) for one in files)
    return _filled(frame, numbers, row["lease"], row["priority"], row["own_parameters"], inputs)


def _without_inputs(job: Popped, seed: int, frame: _Frame) -> HandedJob:
    numbers = JobNumbers(
        job.task_id, job.job_id or 0, job.ordinal, job.attempt, job.first_event or 0, job.n_events or 0, 0, seed, {},
        source_url=frame.source_url,
    )  # fmt: skip
    return _filled(frame, numbers, job.lease, job.priority, job.parameters)


def _filled(
    frame: _Frame,
    numbers: JobNumbers,
    lease: int,
    priority: int,
    own_parameters: str | None,
    inputs: tuple[HandedInput, ...] = (),
) -> HandedJob:
    """The job of these numbers at the frame's queue; with parameters of its own, or the task's."""
    outputs = tuple(
        [
            HandedOutput(one.kind, one.scope, lfn_of(one.lfn, numbers), one.dataset, one.rse, one.optional)
            for one in frame.outputs
        ]
    )
    template = frame.template if own_parameters is None else own_parameters
    if names_outputs(template):
        numbers = numbers._replace(outputs=tuple([one.lfn for one in outputs if one.kind != "log"]))
    parameters = fill(template, numbers) + frame.container_words
    own = (
        numbers.job_id, numbers.ordinal, numbers.attempt, lease, priority, parameters, numbers.first_event,
        numbers.n_events, inputs, outputs,
    )  # fmt: skip
    return HandedJob._make(own + frame.common)


def _input(row: RowMapping, place: RowMapping) -> HandedInput:
    return HandedInput(
        stream=row["stream_name"],
        scope=row["scope"],
        lfn=row["lfn"],
        guid=row["guid"],
        bytes=row["bytes"],
        adler32=row["adler32"],
        dataset=row["dataset"],
        rse=place["rse"],
    )


def job_numbers(
    row: JobRow, files: Iterable[RowMapping], source_url: str = "", outputs: tuple[str, ...] = ()
) -> JobNumbers:
    """Collect the numbers that fill a job's templates; events come from the range, else from the input files."""
    streams: dict[str, list[str]] = {}
    events = 0
    first_stream = None
    for one in files:
        first_stream = first_stream if first_stream is not None else one["stream"]
        streams.setdefault(one["stream_name"], []).append(one["lfn"])
        if one["stream"] == first_stream:
            events += one["events"] or 0
    return JobNumbers(
        task_id=row["task_id"],
        job_id=row["id"],
        ordinal=row["ordinal"],
        attempt=row["attempt"],
        first_event=row["first_event"] or 0,
        n_events=row["n_events"] if row["n_events"] is not None else events,
        skip_events=row["skip_events"] or 0,
        seed=row["seed"],
        inputs={name: tuple(lfns) for name, lfns in streams.items()},
        outputs=outputs,
        source_url=source_url,
    )


def _wall_limit(row: JobRow, place: RowMapping) -> int:
    """Give the wall time (s) after which a pilot ends the payload: three times the estimate, at most the queue's."""
    needs = facts.needs_of_task(row)
    estimate = needs.wall_at(place["corepower"])
    limit = int(place["max_time_s"] or 0)
    if estimate <= 0:
        return limit
    return min(int(3 * estimate) + 600, limit) if limit else int(3 * estimate) + 600
