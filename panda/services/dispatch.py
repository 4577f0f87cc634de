"""Dispatch: a pilot asks for work and gets jobs that fit its node, and says what became of them.

The pure rules are `panda.brokerage.matching` (which classes a pilot may take, in which order) and the table of states.
One row never has two holders: the row in `ready` is the mutex, the lease number grows with each hand-over.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Connection, RowMapping

from panda.brokerage.matching import ClassFacts, PilotFacts, QueueFacts, order, refusal
from panda.brokerage.snapshot import Release
from panda.domain.dispatch import ErrorPair, HandedInput, HandedJob, HandedOutput, JobUpdate, PilotAsk, UpdateAnswer
from panda.domain.names import scope_of
from panda.domain.states import FINAL_JOB, JobStatus
from panda.domain.templates import JobNumbers, fill, lfn_of
from panda.errors import NotFound
from panda.services.context import Context
from panda.store import collection, ends, facts, handover, inputs, queue

KILL = "tobekilled"
KILLED = ErrorPair("pilot", 1144, "killed by order")
_DEAD = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.CLOSED})


def acquire(ctx: Context, ask: PilotAsk) -> tuple[HandedJob, ...]:
    """Hand up to `ask.n_jobs` jobs to a pilot, in one transaction; the reply may leave after it returned.

    A repeated `request_id` gets the same jobs again. Raises NotFound for an unknown queue.
    """
    with ctx.engine.begin() as connection:
        place = queue.queue_by_name(connection, ask.queue)
        if place is None:
            raise NotFound(f"there is no queue {ask.queue!r}", hint="'panda sites' lists sites and queues")
        queue.note_activity(connection, place["site_id"], ask.node, update=False)
        jobs = _answered(connection, ask.request_id)
        if jobs is None:
            jobs = _choose(ctx, connection, ask, place)
            if ask.request_id is not None and jobs:
                queue.answer_request(connection, ask.request_id, jobs)
            elif ask.request_id is not None:
                queue.forget_request(connection, ask.request_id)
        return _handed(ctx, connection, jobs, place)


def _answered(connection: Connection, request_id: UUID | None) -> list[int] | None:
    return None if request_id is None else queue.remember_request(connection, request_id)


def _choose(ctx: Context, connection: Connection, ask: PilotAsk, place: RowMapping) -> list[int]:
    fitting = matching_classes(connection, ask, place)
    holder = queue.Holder(ask.queue, ask.node, ask.factory, ask.worker_id, ask.batch_id)
    wanted = min(ask.n_jobs, ctx.settings.pilot.max_jobs)
    jobs: list[int] = []
    for one, gen in fitting:
        if len(jobs) >= wanted:
            break
        jobs.extend(queue.pop(connection, one.id, gen, place["site_id"], wanted - len(jobs), holder))
    return jobs


def matching_classes(connection: Connection, ask: PilotAsk, place: RowMapping) -> list[tuple[ClassFacts, int]]:
    """Give the requirement classes a pilot may take from, the best first, each with its generation."""
    pilot, where = _pilot(ask, place), _queue(place)
    rows = queue.classes_of_site(connection, place["site_id"])
    gens = {row["id"]: row["gen"] for row in rows}
    fitting = [one for one in map(_class, rows) if refusal(pilot, one, where) is None]
    return [(one, gens[one.id]) for one in order(fitting, {})]


def _pilot(ask: PilotAsk, place: RowMapping) -> PilotFacts:
    return PilotFacts(
        site_id=place["site_id"],
        label=ask.label,
        memory_mb=ask.memory_mb,
        disk_mb=ask.disk_mb,
        cores=ask.cores,
        cpu_mhz=ask.cpu_mhz,
        remaining_s=ask.remaining_s,
        releases=ask.releases,
        vos=None if ask.vo is None else frozenset({ask.vo}),
        owner=ask.owner or "",
        working_group=ask.working_group or "",
        resource_type=ask.resource_type or "",
    )


def _known_releases(place: RowMapping) -> frozenset[Release] | None:
    names, architectures = place["releases"], place["architectures"]
    return None if names is None else frozenset(map(Release, names, architectures))


def _queue(place: RowMapping) -> QueueFacts:
    status = place["status"] if place["site_status"] == "online" else place["site_status"]
    return QueueFacts(
        site_id=place["site_id"],
        name=place["name"],
        status=status,
        corepower=place["corepower"],
        reference_mhz=place["reference_mhz"],
        releases=_known_releases(place),
        vos=frozenset(place["vos"] or place["site_vos"]) or None,
        labels=frozenset(place["labels"]),
    )


def _class(row: RowMapping) -> ClassFacts:
    return ClassFacts(
        id=row["id"],
        site_id=row["site_id"],
        needs=facts.needs_of_class(row),
        share=row["share"],
        owner=row["owner"],
        working_group=row["working_group"],
        max_priority=row["max_priority"],
        oldest=row["id"],
    )


# --- the job as its pilot gets it -----------------------------------------------------------------------------------
def _handed(ctx: Context, connection: Connection, jobs: Sequence[int], place: RowMapping) -> tuple[HandedJob, ...]:
    if not jobs:
        return ()
    files: dict[int, list[RowMapping]] = {}
    for row in inputs.files_of_jobs(connection, jobs):
        files.setdefault(row["job_id"], []).append(row)
    rows = handover.jobs_in_hand(connection, jobs)
    return tuple(_one(ctx, row, files.get(row["id"], []), place) for row in rows)


def _one(ctx: Context, row: RowMapping, files: Sequence[RowMapping], place: RowMapping) -> HandedJob:
    numbers = job_numbers(row, files, ctx.settings.api_url)
    outputs = tuple(
        HandedOutput(
            kind=one["kind"],
            scope=scope_of(one["dataset"]),
            lfn=lfn_of(one["lfn"], numbers),
            dataset=one["dataset"],
            rse=place["rse"],
            optional=bool(one.get("optional")),
        )
        for one in row["outputs"]
    )
    named = tuple(one.lfn for one in outputs if one.kind != "log")
    numbers = job_numbers(row, files, ctx.settings.api_url, named)
    template = row["own_parameters"] if row["own_parameters"] is not None else row["parameters"]
    return HandedJob(
        job_id=row["id"],
        task_id=row["task_id"],
        task_name=row["name"],
        ordinal=row["ordinal"],
        attempt=row["attempt"],
        lease=row["lease"],
        site=place["site"],
        queue=place["name"],
        cloud=row["cloud"],
        label=row["label"],
        vo=row["vo"],
        owner=row["owner"],
        working_group=row["working_group"],
        processing_type=row["processing_type"],
        priority=row["priority"],
        transformation=row["transformation"],
        parameters=fill(template, numbers),
        release=row["release"],
        architecture=row["architecture"],
        cores=row["cores"],
        memory_mb=row["memory_mb"],
        disk_mb=row["disk_mb"],
        max_wall_s=_wall_limit(row, place),
        max_cpu_s=0,
        first_event=numbers.first_event,
        n_events=numbers.n_events,
        inputs=tuple(_input(one, place) for one in files),
        outputs=outputs,
        heartbeat_s=place["heartbeat_s"] or ctx.settings.pilot.heartbeat_s,
    )


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
    row: RowMapping, files: Iterable[RowMapping], source_url: str = "", outputs: tuple[str, ...] = ()
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


def _wall_limit(row: RowMapping, place: RowMapping) -> int:
    """Give the wall time (s) after which a pilot ends the payload: three times the estimate, at most the queue's."""
    needs = facts.needs_of_task(row)
    estimate = needs.wall_at(place["corepower"])
    limit = int(place["max_time_s"] or 0)
    if estimate <= 0:
        return limit
    return min(int(3 * estimate) + 600, limit) if limit else int(3 * estimate) + 600


# --- what pilots report ---------------------------------------------------------------------------------------------
def update(ctx: Context, news: JobUpdate) -> UpdateAnswer:
    """Take a pilot's report on one job. Twice, late or of the wrong attempt: it changes nothing and is answered so."""
    with ctx.engine.begin() as connection:
        row = collection.lock_job(connection, news.job_id)
        if row is None:
            return UpdateAnswer(accepted=False, command=KILL, note="unknown job", known=False)
        refused = _refused(row, news)
        if refused is not None:
            return refused
        if row["site_id"] is not None and news.node:
            queue.note_activity(connection, row["site_id"], news.node, update=True)
        return _take(connection, row, news)


def update_many(ctx: Context, news: Sequence[JobUpdate]) -> list[UpdateAnswer]:
    """Take many reports, each in a transaction of its own: one that fails does so alone."""
    return [update(ctx, one) for one in news]


def _refused(row: RowMapping, news: JobUpdate) -> UpdateAnswer | None:
    status = None if row["status"] is None else JobStatus(row["status"])
    if news.attempt is not None and news.attempt != row["attempt"]:
        return UpdateAnswer(accepted=False, command=KILL, note="badattemptnr")
    if news.lease is not None and news.lease != row["lease"]:
        return UpdateAnswer(accepted=False, command=KILL, note="the job was handed out again since")
    if status is None:
        return UpdateAnswer(accepted=False, command=KILL, note="the job is not in a pilot's hand")
    if status in FINAL_JOB:
        again = bool(row["reported"]) and bool(news.body_hash) and row["body_hash"] == news.body_hash
        return UpdateAnswer(accepted=again, command=KILL if status in _DEAD and not again else None, note="alreadydone")
    return None


def _take(connection: Connection, row: RowMapping, news: JobUpdate) -> UpdateAnswer:
    who = f"pilot on {news.node or 'unknown node'}"
    command = row["command"]
    if news.status in {JobStatus.FINISHED, JobStatus.FAILED}:
        return _final(connection, row, news, who)
    if news.status in {JobStatus.HOLDING, JobStatus.TRANSFERRING}:
        if ends.set_status(connection, [news.job_id], JobStatus.HOLDING, why="the pilot keeps its outputs", who=who):
            collection.queue_for_collection(connection, [news.job_id], JobStatus.HOLDING.value)
        collection.seen(connection, news.job_id, news.node, news.batch_id)
        return UpdateAnswer(accepted=True, command=command)
    if news.status in {JobStatus.STARTING, JobStatus.RUNNING}:
        ends.set_status(connection, [news.job_id], news.status, why="reported", who=who)
        collection.seen(connection, news.job_id, news.node, news.batch_id)
        return UpdateAnswer(accepted=True, command=command)
    return UpdateAnswer(accepted=False, command=command, note=f"a pilot cannot report {news.status.value}")


def _final(connection: Connection, row: RowMapping, news: JobUpdate, who: str) -> UpdateAnswer:
    """Store the first final report with the step to holding; a second one changes nothing.

    A job that failed after it was told to end was killed, whatever its pilot calls it: it is not tried again.
    """
    if JobStatus(row["status"]) in {JobStatus.TRANSFERRING, JobStatus.MERGING} or row["reported"]:
        return UpdateAnswer(accepted=True, note="a final report is there already")
    if row["command"] == KILL and news.status is JobStatus.FAILED:
        news = replace(news, errors=(*news.errors, KILLED))
    collection.add_report(connection, news)
    ends.set_status(connection, [news.job_id], JobStatus.HOLDING, why=f"reported {news.status.value}", who=who)
    handover.give_back(connection, news.job_id)
    collection.queue_for_collection(connection, [news.job_id], JobStatus.HOLDING.value)
    return UpdateAnswer(accepted=True)


def set_command(ctx: Context, job_ids: Sequence[int], command: str, who: str) -> int:
    """Leave a command for the pilots that hold these jobs; they hear it with their next heartbeat."""
    with ctx.engine.begin() as connection:
        return handover.set_command(connection, list(job_ids), command, json.dumps({"by": who}))
