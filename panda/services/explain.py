"""Why a task, bunch or job is where it is: one readable answer from stored facts, with what would change it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from panda.domain.states import FINAL_JOB, FINAL_TASK, IN_HAND, BunchState, JobStatus, TaskStage
from panda.domain.views.answers import Explanation, Facts
from panda.domain.views.work import BunchView, JobView, TaskView
from panda.domain.words import ago, awaited, clock, counted, lasting, span
from panda.services import read, reasons, survey
from panda.services.context import Context
from panda.services.failures import failures
from panda.services.trouble import black_holes, blame
from panda.services.verdicts import dead_site, slow_way, stuck_storage
from panda.store import causes
from panda.store import explain as store

__all__ = ["Explanation", "Facts", "why_bunch", "why_job", "why_task"]

MOST_REASONS = 5


def why_task(ctx: Context, task_id: int) -> Explanation:
    """Why a production task is where it is; raises NotFound."""
    task, now = read.task(ctx, task_id), ctx.clock()
    lines = [f"It is {task.stage.value} since {clock(task.stage_since)} ({ago(now, task.stage_since)})."]
    lines += _story(now, task)
    lines += _inputs(ctx, task)
    with ctx.engine.connect() as connection:
        choice = store.cloud_decision(connection, task_id)
        groups = store.bunch_groups(connection, task_id)
    decided = reasons.cloud_choice(now, choice) if choice is not None else None
    table = None
    if decided is not None and task.stage in {TaskStage.REGISTERED, TaskStage.ASSIGNED}:
        table = decided.table
    lines += decided.lines if decided is not None else _no_decision(task)
    lines.append(f"Jobs: {_tally(task)}.")
    for group in groups:
        lines.append(_group(now, group))
        about = _bunch_part(ctx, read.bunch(ctx, group["oldest"]), now)
        lines += [f"  {line}" for line in about.lines]
        table = table or about.table
    lines += _busy(ctx, task_id, now)
    lines += _trouble(ctx, task_id, now)
    return Explanation(f"Task {task.id} {task.name}: {task.stage.value}", tuple(lines), table)


def why_job(ctx: Context, job_id: int) -> Explanation:
    """Why a job is where it is; raises NotFound."""
    job, now = read.job(ctx, job_id), ctx.clock()
    place = f", attempt {job.attempt}" if job.attempt > 1 else ""
    title = f"Job {job.id} (number {job.ordinal + 1} of task {job.task_id} {job.task_name}{place}): {job.status.value}"
    lines, table = [_last_event(now, job)], None
    if job.status in FINAL_JOB:
        lines += _ended(ctx, job)
    elif job.status in IN_HAND:
        lines += _held_by_pilot(ctx, now, job)
    elif job.status in {JobStatus.HOLDING, JobStatus.TRANSFERRING, JobStatus.MERGING}:
        lines += _collecting(ctx, job, now)
    else:
        lines += _task_in_the_way(ctx, job.task_id)
        about = _bunch_part(ctx, read.bunch(ctx, job.bunch_id), now)
        lines, table = [*lines, *about.lines], about.table
    return Explanation(title, tuple(lines), table)


def why_bunch(ctx: Context, bunch_id: int) -> Explanation:
    """Why a bunch is where it is; raises NotFound."""
    bunch, now = read.bunch(ctx, bunch_id), ctx.clock()
    about = _bunch_part(ctx, bunch, now)
    where = f" at {bunch.site}" if bunch.site else ""
    title = f"Bunch {bunch.id} ({counted(bunch.n_jobs, 'job')} of task {bunch.task_id}): {bunch.state.value}{where}"
    since = f"It is {bunch.state.value} since {clock(bunch.since)} ({ago(now, bunch.since)})."
    return Explanation(title, (since, *_task_in_the_way(ctx, bunch.task_id), *about.lines), about.table)


@dataclass(frozen=True, slots=True)
class _Part:
    lines: tuple[str, ...]
    table: Facts | None = None


def _story(now: datetime, task: TaskView) -> list[str]:
    """Say what holds a task's story up, and when it goes on."""
    lines = []
    if task.error:
        lines.append(f"Error: {task.error}.")
    if task.hold:
        lines.append(f"It is on hold ({task.hold}): no pilot gets its jobs until `panda resume {task.id}`.")
    if task.waits_for:
        lines.append(f"It waits for {awaited(task.waits_for)}.")
    if task.stage in FINAL_TASK:
        return lines
    if task.lease_until is not None and task.lease_until > now:
        lines.append(f"A story works on it right now (its lease ends at {clock(task.lease_until)}).")
    elif task.lease_until is not None:
        lines.append(f"Its story was cut off: its lease ended at {clock(task.lease_until)}; it goes on at once.")
    elif task.due_at is not None and task.due_at <= now:
        lines.append(f"Its story is due for {lasting(now, task.due_at)}: a conductor or Bamboo has to take it.")
    elif task.due_at is not None:
        lines.append(f"Its story goes on at {clock(task.due_at)}, or as soon as something happens to it.")
    else:
        lines.append("Its story goes on as soon as something happens to it.")
    return lines


def _inputs(ctx: Context, task: TaskView) -> list[str]:
    """Say which input datasets are not ready, and how far the tasks are that make them."""
    if task.stage in FINAL_TASK or task.expanded:
        return []
    lines = []
    for one in survey.task_inputs(ctx, task.id):
        if one.made_by is not None and one.state == "open":
            parent = read.task(ctx, one.made_by)
            made = f"task {parent.id} makes it ({parent.stage.value}; {_tally(parent)})"
            lines.append(f"Its input {one.dataset} is not closed: {made}.")
        elif one.dataset_id is None and one.state is None:
            lines.append(f"Its input {one.dataset} was not read from the catalogue yet.")
    return lines


def _no_decision(task: TaskView) -> list[str]:
    if task.cloud is not None:
        return [f"Cloud {task.cloud} was asked for with the request."]
    return [] if task.stage in FINAL_TASK else ["No cloud was looked for yet."]


def _tally(task: TaskView) -> str:
    return ", ".join(f"{n} {status}" for status, n in task.jobs.items()) or "none made yet"


def _group(now: datetime, group: RowMapping) -> str:
    where = f" at {group['site']}" if group["site"] else ""
    head = f"{counted(group['bunches'], 'bunch', 'bunches')} ({counted(group['jobs'], 'job')}) {group['state']}{where}"
    because = f": {awaited(group['waits_for'])}" if group["waits_for"] else ""
    return f"{head}, the oldest for {lasting(now, group['since'])}{because}. Bunch {group['oldest']}:"


def _bunch_part(ctx: Context, bunch: BunchView, now: datetime) -> _Part:
    parts: dict[BunchState, Callable[[Context, BunchView, datetime], _Part]] = {
        BunchState.DEFINED: _without_site,
        BunchState.WAITING: _without_site,
        BunchState.ASSIGNED: _waits_for_files,
        BunchState.ACTIVATED: _waits_for_pilot,
    }
    return parts[bunch.state](ctx, bunch, now)


def _without_site(ctx: Context, bunch: BunchView, now: datetime) -> _Part:
    with ctx.engine.connect() as connection:
        row = store.site_decision(connection, bunch.id)
    told = row is not None and row["reason"] == bunch.waits_for
    waits = (f"It waits for: {bunch.waits_for}.",) if bunch.waits_for and not told else ()
    if row is None:
        return _Part((*waits, "No site was looked for yet: the next brokerage round of its task does."))
    decided = reasons.site_choice(now, row)
    return _Part((*waits, *decided.lines), decided.table)


def _waits_for_files(ctx: Context, bunch: BunchView, now: datetime) -> _Part:
    with ctx.engine.connect() as connection:
        row = store.site_decision(connection, bunch.id)
        missing = store.missing_blocks(connection, bunch.id)
    lines = [] if row is None else [*reasons.site_choice(now, row).lines]
    if not bunch.staged:
        lines.append("Its input files were not looked for at the site yet: the task's next story does.")
    elif missing:
        lines.append(f"It waits for {counted(len(missing), 'block')} of input files at {bunch.site}:")
        lines += [*reasons.blocks(ctx, now, missing), *_ways(ctx, missing)]
    else:
        lines.append("All its input is there: the next look at it (at most a minute away) makes it ready for pilots.")
    seconds = ctx.settings.watcher.assigned_s
    lines.append(reasons.limit(now, bunch.since, seconds, "assigned_s", "it is brokered again"))
    return _Part(tuple(lines))


def _ways(ctx: Context, missing: Sequence[RowMapping]) -> list[str]:
    """Say which ways to the storages of missing blocks are blocked or slow."""
    lines = []
    with ctx.engine.connect() as connection:
        for rse in sorted({row["rse"] for row in missing}):
            lines += [*stuck_storage(rse, missing), *slow_way(connection, rse, ())]
    return lines


def _waits_for_pilot(ctx: Context, bunch: BunchView, now: datetime) -> _Part:
    with ctx.engine.connect() as connection:
        row = store.site_decision(connection, bunch.id)
        lines = [] if row is None else [*reasons.site_choice(now, row).lines]
        site = store.site_of_bunch(connection, bunch.id)
        if site is None:
            return _Part((*lines, "It has lost its site: the next round brokers it again."))
        if site["status"] != "online":
            lines.append(
                f"Site {site['name']} is {site['status']} ({site['comment'] or 'no comment'}); "
                f"`panda site {site['name']} online` would change that."
            )
        lines += _in_queue(connection, bunch, site)
        lines.append(reasons.pilots(connection, now, site["id"], site["name"]))
        lines += dead_site(ctx, connection, now, survey.site(ctx, site["name"]))
    seconds = ctx.settings.watcher.activated_s
    lines.append(reasons.limit(now, bunch.since, seconds, "activated_s", "it is brokered again"))
    return _Part(tuple(lines))


def _in_queue(connection: Connection, bunch: BunchView, site: RowMapping) -> list[str]:
    row = store.next_ready(connection, bunch.id)
    if row is None:
        return [
            "None of its jobs is ready for a pilot now: all are handed out, or its task is held or its site off.",
            "A sweep puts back what is missing within a minute.",
        ]
    more = "at least " if row["ahead"] >= store.COUNT_UP_TO else ""
    first = (
        f"Its first job {row['job_id']} (priority {row['priority']}) is ready for a pilot at {site['name']}, behind "
    )
    first += f"{more}{counted(row['ahead'], 'job')} with the same needs, of share {row['share']!r}."
    shares = causes.shares_ahead(connection, site["id"], row["priority"], store.COUNT_UP_TO)
    before = [f"{counted(one['jobs'], 'job')} of share {one['share']!r}" for one in shares]
    urgent = [f"More urgent there: {', '.join(before)}."] if before else []
    return [first, *urgent, *reasons.takers(connection, site["id"], row)]


def _task_in_the_way(ctx: Context, task_id: int) -> list[str]:
    task = read.task(ctx, task_id)
    if task.hold:
        return [f"Its task is on hold ({task.hold}): no pilot gets it until `panda resume {task.id}`."]
    if task.stage not in {TaskStage.ASSIGNED, TaskStage.RUNNING}:
        return [f"Its task is {task.stage.value}: no pilot gets its jobs."]
    return []


def _last_event(now: datetime, job: JobView) -> str:
    if job.since is None:
        return f"It is {job.status.value}."
    because = f": {job.why}" if job.why else ""
    return f"It is {job.status.value} since {clock(job.since)} ({ago(now, job.since)}){because}."


def _held_by_pilot(ctx: Context, now: datetime, job: JobView) -> Iterable[str]:
    pilot = f"pilot {job.factory or 'unknown'}:{job.worker_id if job.worker_id is not None else '-'}"
    place = f"on node {job.node or 'unknown'} (queue {job.queue})"
    yield f"It is held by {pilot} {place}, last heard of {ago(now, job.last_seen)}."
    if job.command:
        yield f"The command {job.command!r} goes to the pilot with the answer to its next update."
    if job.status is JobStatus.SENT:
        yield "The pilot has not confirmed it yet; if it never does, a new row takes its place and nobody is charged."
    if job.last_seen is not None:
        name = f"{job.status.value}_s"
        what = "a new row takes its place" if job.status is JobStatus.SENT else "it is failed as lost and tried again"
        yield reasons.limit(now, job.last_seen, getattr(ctx.settings.watcher, name), name, what)


def _collecting(ctx: Context, job: JobView, now: datetime) -> list[str]:
    with ctx.engine.connect() as connection:
        row = store.collected(connection, job.id)
        under_way = store.output_blocks(connection, job.task_id, job.bunch_id)
    if row is None:
        return ["It is not on the collector's list; the watcher ends it when its time is over."]
    lines = []
    if job.status is JobStatus.HOLDING and not row["reported"]:
        lines.append("Its pilot fell silent without a final report; a late first report is still taken.")
    elif job.status is JobStatus.HOLDING:
        lines.append(f"Its report ({job.verdict}) is there; its outputs are registered at {clock(row['next_at'])}.")
    else:
        lines.append("Its outputs are on their way home:")
        lines += [f"  {one.lfn}: {one.state}" for one in read.outputs_of(ctx, job.id)]
        lines += reasons.blocks(ctx, now, under_way)
    return lines


def _ended(ctx: Context, job: JobView) -> Iterable[str]:
    for one in job.errors:
        yield f"Error of {one.component}, code {one.code}: {one.text or 'no text'}."
    if job.wall_s is not None:
        yield f"It ran {span(job.wall_s)} on {job.node or 'an unknown node'} at {job.site}."
    others = [one for one in read.attempts(ctx, job.task_id, job.ordinal) if one.id != job.id]
    later = [one for one in others if one.attempt > job.attempt]
    if later:
        yield f"Attempt {later[-1].attempt} took its place: job {later[-1].id} is {later[-1].status.value}."
    elif job.status in {JobStatus.FAILED, JobStatus.CLOSED, JobStatus.CANCELLED}:
        yield f"No attempt took its place; `panda retry {job.task_id}` tries what failed again."


def _busy(ctx: Context, task_id: int, now: datetime) -> list[str]:
    """Say what pilots, collector and transfers do for a task."""
    with ctx.engine.connect() as connection:
        hands = store.in_hand_of(connection, task_id)
        waiting = store.to_collect_of(connection, task_id)
        under_way = store.output_blocks(connection, task_id, None)
    lines = [
        f"Pilots of queue {row['queue']} hold {counted(row['n'], 'job')}, the quietest was heard of "
        f"{ago(now, row['quietest'])}."
        for row in hands
    ]
    for row in waiting:
        silent = f", {row['without_report']} without a report" if row["without_report"] else ""
        lines.append(f"{counted(row['n'], 'job')} {row['state']}, the oldest for {lasting(now, row['since'])}{silent}.")
    if under_way:
        lines.append(f"{counted(len(under_way), 'sub-dataset')} of outputs not at home yet:")
        lines += reasons.blocks(ctx, now, under_way)
    return lines


def _trouble(ctx: Context, task_id: int, now: datetime) -> list[str]:
    """Say what went wrong most often."""
    with ctx.engine.connect() as connection:
        charged = store.charged_files(connection, task_id)
        failed = store.failures(connection, task_id, MOST_REASONS)
    lines = [
        f"{counted(row['n'], 'job')} {row['status']}: {row['why']} (last {ago(now, row['last'])})." for row in failed
    ]
    if charged["failed"]:
        lines.append(f"{counted(charged['failed'], 'input')} failed before, {charged['given_up']} given up.")
    if any(row["status"] == JobStatus.FAILED.value for row in failed):
        found = failures(ctx, hours=ctx.settings.watcher.lifetime_s / 3600, task_id=task_id)
        lines += [*black_holes(found), *blame(found)]
    return lines
