"""Expansion: inputs are numbered, then jobs and bunches are made in chunks, each one transaction (domain.md 2.7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, RowMapping

from panda.ddm.port import Did, FileInfo
from panda.domain.lease import Lease
from panda.domain.names import scope_of
from panda.domain.states import TaskStage
from panda.services.complete import close_empty_datasets, end_without_jobs
from panda.services.context import Context
from panda.services.control import abort_task
from panda.services.story import fenced
from panda.store import expansion, selection, work
from panda.store.expansion import Chunk, Plan, StreamTotals

COPY_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class Expanded:
    """How many jobs this call made, and what the task waits for if it cannot be expanded yet."""

    jobs: int
    waits_for: str | None = None
    failed: str | None = None


def expand(ctx: Context, lease: Lease) -> Expanded:
    """Make all jobs of an assigned task; a crash between chunks loses nothing, a second call makes nothing twice."""
    with ctx.engine.begin() as connection:
        task = work.task_row(connection, lease.task_id)
    if task["stage"] != TaskStage.ASSIGNED:
        return Expanded(0)
    waiting = _number_inputs(ctx, lease)
    if waiting is not None:
        return Expanded(0, waits_for=waiting)
    made = 0
    totals: list[StreamTotals] = []
    while True:
        with fenced(ctx, lease) as connection:
            task = work.task_row(connection, lease.task_id)
            if task["stage"] != TaskStage.ASSIGNED:  # an abort came between two chunks
                return Expanded(made)
            problem, chunk = (None, None) if task["expanded"] else _next_chunk(ctx, connection, task, totals)
            if problem is None and (chunk is None or chunk.jobs == 0):
                work.update_task(connection, lease.task_id, expanded=True)
                work.set_stage(connection, lease.task_id, TaskStage.RUNNING)
                return Expanded(made)
            made += chunk.jobs if chunk is not None else 0
        if problem is not None:
            return _give_up(ctx, lease, made, problem)


def _give_up(ctx: Context, lease: Lease, made: int, problem: str) -> Expanded:
    """End a task that can never be expanded: its datasets are closed, so that nobody waits for them."""
    if made or _has_jobs(ctx, lease):
        abort_task(ctx, lease.task_id, "expand", problem)
        return Expanded(made, waits_for=f"AwaitingJobs: {problem}")
    close_empty_datasets(ctx, lease.task_id)
    with fenced(ctx, lease) as connection:
        end_without_jobs(connection, lease.task_id, problem)
    return Expanded(made, failed=problem)


def _has_jobs(ctx: Context, lease: Lease) -> bool:
    with ctx.engine.begin() as connection:
        return int(work.task_row(connection, lease.task_id)["next_ordinal"]) > 0


def _number_inputs(ctx: Context, lease: Lease) -> str | None:
    """Take the contents of every input dataset once and number them; says what is missing, or None."""
    with ctx.engine.begin() as connection:
        inputs = work.inputs_of(connection, lease.task_id)
        if work.task_row(connection, lease.task_id)["expanded"] and all(row["dataset_id"] for row in inputs):
            return None  # loose jobs: theirs were numbered with them
    for row in inputs:
        if row["dataset_id"] is None:
            problem = _take_contents(ctx, lease, row)
            if problem is not None:
                return problem
    with fenced(ctx, lease) as connection:
        selection.choose(connection, lease.task_id)
        expansion.number_inputs(connection, lease.task_id)
    return None


def _take_contents(ctx: Context, lease: Lease, row: RowMapping) -> str | None:
    with fenced(ctx, lease) as connection:
        known = work.dataset_by_name(connection, row["dataset"])
        if known is not None and known["kind"] in {"output", "log"}:
            if known["state"] == "open":
                return f"AwaitingInput: dataset {row['dataset']} of task {known['task_id']} is not closed yet"
            if not expansion.has_contents(connection, known["id"]):
                expansion.snapshot_own_dataset(connection, known["id"])
            expansion.set_input_dataset(connection, row, known["id"])
            return None
        if known is None:
            info = ctx.ddm.dataset(Did(scope_of(row["dataset"]), row["dataset"]))
            if info is None:
                return f"AwaitingInput: dataset {row['dataset']} is not in the catalogue (any more)"
            number = work.insert_dataset(connection, row["dataset"], "input", None)
            _copy_contents(connection, number, files_of(ctx, info.did))
        else:
            number = known["id"]
        expansion.set_input_dataset(connection, row, number)
    return None


def files_of(ctx: Context, did: Did) -> Iterator[FileInfo]:
    """The files of a dataset, or of all datasets of a container, as the data management knows them."""
    for part in ctx.ddm.expand(did):
        yield from ctx.ddm.files(part)


def _copy_contents(connection: Connection, dataset_id: int, files: Iterator[FileInfo]) -> None:
    start = 0
    while chunk := list(islice(files, COPY_CHUNK)):
        expansion.add_files(connection, dataset_id, start, [file_row(one) for one in chunk])
        start += len(chunk)
    expansion.sum_dataset(connection, dataset_id)


def file_row(one: FileInfo) -> dict[str, object]:
    """A file's facts as `dataset_file` keeps them."""
    return {
        "scope": one.did.scope,
        "lfn": one.did.name,
        "guid": one.guid,
        "bytes": one.bytes,
        "adler32": one.adler32,
        "events": one.events,
    }


def _next_chunk(
    ctx: Context, connection: Connection, task: RowMapping, totals: list[StreamTotals]
) -> tuple[str | None, Chunk]:
    """Make the next chunk by the first rule that is set: events, files, bytes per job, then the number of jobs.

    `totals` keeps what the primary stream holds, which is numbered once and for all, from the first chunk on.
    """
    limits = ctx.settings.expansion
    start = task["next_ordinal"]
    plan = Plan(task["id"], task["needs_id"], task["cores"], task["bunch_size"], start, task["next_input"])
    nothing = Chunk(0, start, task["next_input"])
    inputs = work.inputs_of(connection, task["id"])
    primary = [row for row in inputs if row["role"] == "primary"]
    empty = _empty_stream(inputs)
    if empty is not None:
        return empty, nothing
    room = min(limits.chunk_jobs, limits.max_jobs_per_task - start)
    if primary:
        if not totals:
            stream = primary[0]["stream"]
            totals.append(expansion.stream_totals(connection, task["id"], stream, most=task["max_files"]))
        return _chunk_with_input(ctx, connection, task, plan, primary[0], totals[0], room)
    stop = _jobs_without_input(task)
    if start >= stop:
        return None, nothing
    if stop > limits.max_jobs_per_task:
        return _too_many(ctx), nothing
    return None, expansion.expand_without_input(
        connection,
        plan,
        stop=min(stop, start + room),
        events=task["events_per_job"],
        total_events=task["n_events"],
    )


def _empty_stream(inputs: Sequence[RowMapping]) -> str | None:
    """Name a secondary stream without any file: no job could have what it asks for; None if each has some."""
    for stream in dict.fromkeys(row["stream"] for row in inputs if row["role"] != "primary"):
        rows = [row for row in inputs if row["stream"] == stream]
        if not sum(row["n_files"] or 0 for row in rows):
            return f"input stream {rows[0]['name']} is empty: {', '.join(row['dataset'] for row in rows)}"
    return None


def _too_many(ctx: Context) -> str:
    most = ctx.settings.expansion.max_jobs_per_task
    return f"the task has more than {most} jobs; split it, or raise PANDA_EXPANSION__MAX_JOBS_PER_TASK"


def _jobs_without_input(task: RowMapping) -> int:
    if task["n_events"] and task["events_per_job"]:
        return -(-int(task["n_events"]) // int(task["events_per_job"]))
    return int(task["n_jobs"] or 0)


def _chunk_with_input(
    ctx: Context,
    connection: Connection,
    task: RowMapping,
    plan: Plan,
    primary: RowMapping,
    totals: StreamTotals,
    room: int,
) -> tuple[str | None, Chunk]:
    limits = ctx.settings.expansion
    stream = totals.stream
    n_files = totals.n_files
    nothing = Chunk(0, plan.start, plan.next_input)
    events = task["events_per_job"]
    if n_files == 0:
        chosen = "" if primary["selection"] is None else ", or no file of theirs is chosen"
        return f"the input datasets are empty{chosen}", nothing
    if events and totals.unknown_events:
        return f"{totals.unknown_events} input files do not say their number of events; use files_per_job", nothing
    total = min(totals.events, task["n_events"] or totals.events)
    if (plan.start * events >= total) if events else (plan.next_input >= n_files):
        return None, nothing
    if room <= 0:
        return _too_many(ctx), nothing
    if events:
        return None, expansion.expand_by_events(
            connection, plan, stream=stream, events=events, total_events=total, n_files=n_files, max_jobs=room
        )
    per_job = _files_per_job(task, n_files)
    if per_job is not None:
        per_job = min(per_job, limits.max_files_per_job)
        return None, expansion.expand_by_files(connection, plan, per_job=per_job, n_files=n_files, max_jobs=room)
    return None, expansion.expand_by_bytes(
        connection,
        plan,
        stream=stream,
        limit=task["bytes_per_job"] or limits.max_input_mb_per_job * 1_000_000,
        max_files=min(limits.max_files_per_job, n_files - plan.next_input),
        n_files=n_files,
        max_jobs=room,
    )


def _files_per_job(task: RowMapping, n_files: int) -> int | None:
    """How many files each job takes, where the request says it or the number of jobs; None: bytes decide."""
    if task["files_per_job"] is not None:
        return int(task["files_per_job"])
    if task["bytes_per_job"] is None and task["n_jobs"]:
        return -(-n_files // int(task["n_jobs"]))
    return None
