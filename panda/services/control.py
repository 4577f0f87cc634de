"""What people order: abort, finish, pause, resume, retry, priority, kill, site on and off.

Each call is one short transaction and answers at once; where many rows follow, a `pending_action` is left that
conductor or Bamboo work off in chunks, so that dispatch never waits and a restart loses nothing (design section 5).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping

from panda.domain import pilotcommand
from panda.domain.pilotcommand import KILL
from panda.domain.states import FINAL_TASK, JobStatus, TaskStage
from panda.errors import Conflict, Forbidden, NotFound, Refused
from panda.services.assign import make_output_datasets
from panda.services.context import Context
from panda.store import actions, archive, closing, counters, ends, handover, placement, queue, unneeded, work

CHUNK = 1000
BUNCHES = 50
"""Bunches whose jobs one transaction of an order touches."""
MOST_ATTEMPTS = 50
STATUSES = ("online", "brokeroff", "test", "offline")


@dataclass(frozen=True, slots=True)
class WorkedOff:
    """How many orders were carried out, and how many rows they touched."""

    orders: int
    rows: int


# --- the calls ------------------------------------------------------------------------------------------------------
def abort_task(ctx: Context, task_id: int, who: str, why: str = "aborted") -> None:
    """Stop a task: waiting jobs are cancelled, running ones hear it with their next heartbeat; what is done stays.

    The build step that works for it alone is stopped with it.
    """
    with ctx.engine.begin() as connection:
        task = _live_task(connection, task_id)
        if task["stage"] != TaskStage.ABORTING:
            work.set_stage(connection, task_id, TaskStage.ABORTING, error=f"{why} by {who}")
        actions.order(connection, "abort", who, task_id=task_id, arguments={"why": why})
        work.add_incident(connection, "info", "control", f"task:{task_id}", f"abort by {who}: {why}")
        work.wake(connection, [task_id])
        builds = closing.live_builds(connection, task_id)
    for build in builds:
        with suppress(Conflict):  # it has just ended by itself
            abort_task(ctx, build, who, f"task {task_id} is {why}")


def finish_task(ctx: Context, task_id: int, who: str) -> None:
    """End a task with what it has: jobs that no pilot holds are cancelled, the others run to their end.

    Raises Conflict while its jobs are still to be made: those would not be cancelled.
    """
    with ctx.engine.begin() as connection:
        if not _live_task(connection, task_id)["expanded"]:
            raise Conflict(f"the jobs of task {task_id} are not made yet", hint="abort it, or finish it later")
        actions.order(connection, "finish", who, task_id=task_id)
        work.add_incident(connection, "info", "control", f"task:{task_id}", f"finish by {who}")


def pause_task(ctx: Context, task_id: int, who: str, why: str = "paused") -> None:
    """Hold a task: no further job is handed out, running ones go on."""
    with ctx.engine.begin() as connection:
        task = _live_task(connection, task_id)
        if task["hold"] is None:
            work.update_task(connection, task_id, hold=f"{why} by {who}")
            actions.order(connection, "hold", who, task_id=task_id)
            work.add_incident(connection, "info", "control", f"task:{task_id}", f"pause by {who}")


def resume_task(ctx: Context, task_id: int, who: str) -> None:
    """Let a held task go on."""
    with ctx.engine.begin() as connection:
        task = _live_task(connection, task_id)
        if task["hold"] is not None:
            work.update_task(connection, task_id, hold=None)
            actions.order(connection, "resume", who, task_id=task_id)
            work.wake(connection, [task_id])
            work.add_incident(connection, "info", "control", f"task:{task_id}", f"resume by {who}")


def retry_task(ctx: Context, task_id: int, who: str) -> int:
    """Try a task's failed ordinals again; after its end the outputs go to continuation datasets `<name>.r<n>`.

    A task that failed because its build step did begins anew behind another attempt of that step. Returns the number
    of new attempts. Raises Conflict where nothing failed, or while the task is being aborted.
    """
    with ctx.engine.begin() as connection:
        builds = closing.failed_builds(connection, task_id)
        work.lock_tasks(connection, [*builds, task_id])
        task = _retriable(connection, task_id)
        born = [job for build in builds for job in _try_again(ctx, connection, build, who)]
        if born:
            _begin_anew(connection, task, builds)
        else:
            born = _try_again(ctx, connection, task_id, who)
        if not born:
            raise Conflict(f"task {task_id} has no failed job to retry", hint="'panda jobs' lists its jobs")
        work.wake(connection, [task_id])
        work.add_incident(connection, "info", "control", f"task:{task_id}", f"retry of {len(born)} jobs by {who}")
    for one in (*builds, task_id):
        make_output_datasets(ctx, one)
    return len(born)


def _retriable(connection: Connection, task_id: int) -> RowMapping:
    task = work.lock_task(connection, task_id)
    stage = TaskStage(task["stage"])
    if stage not in FINAL_TASK and task["closed"]:
        raise Conflict(f"task {task_id} is just ending", hint="retry it again in a minute")
    if stage in {TaskStage.ABORTED, TaskStage.ABORTING, TaskStage.DONE}:
        raise Conflict(f"task {task_id} is {stage.value}", hint="only a running, finished or failed task is retried")
    return task


def _try_again(ctx: Context, connection: Connection, task_id: int, who: str) -> list[int]:
    """Make the next attempts of what failed in a task; returns their jobs, none if nothing failed."""
    task = _retriable(connection, task_id)
    if task["archived_at"] is not None:
        archive.bring_back(connection, task_id)
    failed = closing.failed_ordinals(connection, task_id, 1_000_000)
    if not failed:
        return []
    closing.forgive(connection, task_id)
    if TaskStage(task["stage"]) in FINAL_TASK:
        _continue_outputs(connection, task)
        work.set_stage(connection, task_id, TaskStage.RUNNING)
        work.update_task(connection, task_id, closed=False, error=None)
    size = ctx.settings.expansion.bunch_size
    born = ends.retry(connection, failed, why=f"retry by {who}", who=who, bunch_size=size)
    work.set_retried(connection, task_id)
    work.wake(connection, [task_id])
    return born


def _begin_anew(connection: Connection, task: RowMapping, builds: Sequence[int]) -> None:
    """Let a task that never had a job wait for what its build steps make now."""
    closing.read_continuations(connection, task["id"], builds)
    _continue_outputs(connection, task)
    work.set_stage(connection, task["id"], TaskStage.ASSIGNED)
    work.update_task(connection, task["id"], closed=False, expanded=False, error=None)
    work.set_retried(connection, task["id"])


def _continue_outputs(connection: Connection, task: RowMapping) -> None:
    new = dict(closing.open_continuations(connection, task["id"]))
    outputs = []
    for one in task["outputs"]:
        base = one.get("base", one["dataset"])
        outputs.append(one | {"dataset": new.get(base, one["dataset"]), "base": base})
    work.update_task(connection, task["id"], outputs=outputs)


def increase_attempts(ctx: Context, task_id: int, increase: int, who: str) -> int:
    """Let each part of a task fail so many times more; returns the new limit, 50 at most (wire-protocol.md 7.2)."""
    if increase < 1:
        raise Refused(f"increase is {increase}; it must be at least 1", hint="1 to 50")
    with ctx.engine.begin() as connection:
        task = _live_task(connection, task_id)
        limit = min(MOST_ATTEMPTS, task["max_attempts"] + increase)
        work.update_task(connection, task_id, max_attempts=limit)
        work.add_incident(connection, "info", "control", f"task:{task_id}", f"{limit} attempts by {who}")
    return int(limit)


def look_again(ctx: Context, task_id: int) -> None:
    """Have a task's story told now, whatever it waits for."""
    with ctx.engine.begin() as connection:
        _live_task(connection, task_id)
        work.wake(connection, [task_id])


def set_priority(ctx: Context, task_id: int, priority: int, who: str) -> None:
    """Change a task's priority, for waiting jobs too."""
    if priority < 0:
        raise Refused(f"priority is {priority}; it must not be negative", hint="0 to 10000")
    with ctx.engine.begin() as connection:
        _live_task(connection, task_id)
        work.update_task(connection, task_id, priority=priority)
        actions.order(connection, "priority", who, task_id=task_id)
        work.add_incident(connection, "info", "control", f"task:{task_id}", f"priority {priority} by {who}")


def kill_jobs(ctx: Context, job_ids: Sequence[int], who: str, why: str = "killed") -> dict[int, bool]:
    """Kill jobs: those no pilot holds are cancelled at once, the others hear `tobekilled` with their next heartbeat.

    Returns for each id whether there was anything to kill.
    """
    if len(job_ids) > CHUNK:
        raise Refused(f"{len(job_ids)} jobs in one call; at most {CHUNK}", hint="kill the task, or call in chunks")
    with ctx.engine.begin() as connection:
        done = set(_kill(connection, list(job_ids), who, why))
    return {job: job in done for job in job_ids}


def set_debug(ctx: Context, job_id: int, who: str, *, on: bool) -> bool:
    """Switch a job's debug mode; its pilot hears it with its next heartbeat. False: no pilot has the job in hand.

    An order to end the job stays. Off takes the command back instead of sending `debugoff`, which pilots read as
    `debug` (wire-protocol.md 4.3).
    """
    with ctx.engine.begin() as connection:
        return handover.set_debug(connection, job_id, pilotcommand.DEBUG if on else None, who) is not None


def send_command(ctx: Context, job_id: int, command: str, who: str) -> None:
    """Have the pilot of a running job look at something and send what it saw with every heartbeat from now on.

    Raises BadRequest for what may not be asked (`panda.domain.pilotcommand`), Forbidden where a job has the secrets of
    somebody else, Conflict if no pilot has the job or it is being killed.
    """
    wanted = pilotcommand.debug_command(command)
    with ctx.engine.begin() as connection:
        if wanted != pilotcommand.DEBUG and handover.secrets_of_another(connection, job_id, who):
            raise Forbidden(f"job {job_id} holds its owner's secrets", hint="only the owner may look into its folder")
        heard = handover.set_debug(connection, job_id, wanted, who)
        if heard == KILL:
            raise Conflict(f"job {job_id} is being killed", hint="its pilot hears that with its next heartbeat")
        if heard is None:
            raise Conflict(f"no pilot has job {job_id} in hand", hint="commands are for jobs that run")


def set_site_status(ctx: Context, site: str, status: str, who: str, comment: str = "") -> None:
    """Set a site online, brokeroff, test or offline; running work goes on."""
    if status not in STATUSES:
        raise Refused(f"site status {status!r} is unknown", hint=f"one of {', '.join(STATUSES)}")
    with ctx.engine.begin() as connection:
        site_id = actions.set_site_status(connection, site, status, comment)
        if site_id is None:
            raise NotFound(f"there is no site {site!r}", hint="'panda sites' lists them")
        kind = "site_off" if status == "offline" else "site_on"
        actions.order(connection, kind, who, site_id=site_id, arguments={"status": status})
        work.add_incident(connection, "info", "queuecontrol", f"site:{site}", f"{status} by {who}: {comment}")


def _live_task(connection: Connection, task_id: int) -> RowMapping:
    task = work.lock_task(connection, task_id)
    stage = TaskStage(task["stage"])
    if stage in FINAL_TASK:
        raise Conflict(
            f"task {task_id} is {stage.value} already", hint="nothing can be changed after the end but retry"
        )
    return task


def _kill(connection: Connection, jobs: list[int], who: str, why: str) -> list[int]:
    """Cancel what waits and what only the collector has; tell the pilots of the rest."""
    live = ends.live_jobs(connection, jobs)
    held = [row["id"] for row in live if row["status"] in {"sent", "starting", "running"}]
    free = [row["id"] for row in live if row["id"] not in set(held)]
    ends.end_jobs(connection, free, JobStatus.CANCELLED, why=f"taskbuffer 100: {why}", who=who)
    handover.set_command(connection, held, KILL, who)
    return [row["id"] for row in live]


# --- the heavy part -------------------------------------------------------------------------------------------------
def work_off(ctx: Context, limit: int = 20) -> WorkedOff:
    """Carry out what is due of the orders, in chunks.

    An order is repeated until a whole pass finds nothing to do and every transaction older than it has ended.
    """
    with ctx.engine.begin() as connection:
        orders = actions.due(connection, limit)
    rows = 0
    for order in orders:
        with ctx.engine.begin() as connection:
            settled = actions.settled(connection, order["id"])
        touched = _pass(ctx, order)
        rows += touched
        with ctx.engine.begin() as connection:
            if touched == 0 and settled and _is_fulfilled(connection, order):
                actions.done(connection, order["id"])
            else:
                actions.again(connection, order["id"], 0.0 if touched else 1.0)
    return WorkedOff(len(orders), rows)


def _is_fulfilled(connection: Connection, order: RowMapping) -> bool:
    """Tell whether nothing more can come that an order concerns: finishing a task concerns its later retries too."""
    if order["kind"] != "finish":
        return True
    return TaskStage(work.task_row(connection, order["task_id"])["stage"]) in FINAL_TASK


def _pass(ctx: Context, order: RowMapping) -> int:
    """Go over all rows of one order once, chunk by chunk; the row locks of a chunk are short."""
    if order["kind"] in _WALKS:
        return _walk(ctx, order)
    step = _STEPS[order["kind"]]
    touched = 0
    while True:
        with ctx.engine.begin() as connection:
            n = step(connection, order)
        touched += n
        if n < CHUNK:
            return touched


def _walk(ctx: Context, order: RowMapping) -> int:
    """Go over the activated bunches that an order concerns, a few at a time, each once."""
    step = _WALKS[order["kind"]]
    touched = after = 0
    while True:
        with ctx.engine.begin() as connection:
            bunches = queue.activated_bunches(connection, after, BUNCHES, order["task_id"])
            if not bunches:
                break
            touched += step(connection, bunches)
            after = bunches[-1]
    if order["kind"] == "site_on":
        with ctx.engine.begin() as connection:
            work.wake(connection, actions.tasks_waiting_for_site(connection))
    return touched


def _abort_chunk(connection: Connection, order: RowMapping) -> int:
    jobs = actions.jobs_to_cancel(connection, order["task_id"], CHUNK)
    ended = ends.end_jobs(connection, jobs, JobStatus.CANCELLED, why="taskbuffer 103: aborted", who=order["who"])
    held = actions.jobs_to_tell(connection, order["task_id"], CHUNK)
    told = handover.set_command(connection, held, KILL, order["who"])
    if len(jobs) < CHUNK:
        unneeded.cancel_unused(connection, CHUNK, order["task_id"])
        _end_if_nothing_lives(connection, order["task_id"])
    return len(ended) + told


def _end_if_nothing_lives(connection: Connection, task_id: int) -> None:
    """Wake an aborting task whose last job has ended, so that its story closes it."""
    live = [
        row
        for row in counters.counts_of_tasks(connection, [task_id])
        if row["status"] not in {"finished", "failed", "cancelled", "closed"}
    ]
    if not live:
        work.wake(connection, [task_id])


def _finish_chunk(connection: Connection, order: RowMapping) -> int:
    jobs = actions.jobs_without_pilot(connection, order["task_id"], CHUNK)
    ended = ends.end_jobs(connection, jobs, JobStatus.CANCELLED, why="the task was told to finish", who=order["who"])
    return len(ended)


def _refill(connection: Connection, bunches: list[int]) -> int:
    return queue.refill_ready(connection, queue.missing_in_ready(connection, bunches))


def _site_off_chunk(connection: Connection, order: RowMapping) -> int:
    bunches = actions.bunches_at_site(connection, order["site_id"], 100)
    work.wake(connection, actions.tasks_of(connection, bunches))  # first: tasks are locked before bunches
    return len(placement.rebroker(connection, bunches, why="the site is offline", who=order["who"]))


_STEPS: dict[str, Callable[[Connection, RowMapping], int]] = {
    "abort": _abort_chunk,
    "finish": _finish_chunk,
    "site_off": _site_off_chunk,
}
_WALKS: dict[str, Callable[[Connection, list[int]], int]] = {
    "hold": actions.remove_held,
    "resume": _refill,
    "priority": actions.reprioritise,
    "site_on": _refill,
}
