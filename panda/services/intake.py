"""From ProdDB into PanDA: takes task requests and ready jobs, and passes on what is marked TOBEABORTED.

The order of commits is always intent (ProdDB), work (PanDA), result (ProdDB); see `panda.services.bamboo`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import DataError

from panda.domain.mirror import TaskImage
from panda.domain.states import FINAL_TASK, TaskStage
from panda.domain.work import LooseJob, LooseJobs
from panda.errors import BadRequest, Conflict, NotFound, PandaError
from panda.proddb import read, write
from panda.proddb.records import Kind, OpenTask
from panda.services import control, submit
from panda.services.bamboo import WHO
from panda.services.context import Context
from panda.services.dispatch import KILL
from panda.services.loose import submit_jobs
from panda.store import outbox

PAGE = control.CHUNK
WHY = "TOBEABORTED in ProdDB"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the tasks of ProdDB that were to be taken.

    `found` were in PanDA already: an earlier round was cut off before it could write that down.
    """

    submitted: int = 0
    refused: int = 0
    waiting: int = 0
    found: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        """The sum of two rounds."""
        return Taken(
            self.submitted + other.submitted,
            self.refused + other.refused,
            self.waiting + other.waiting,
            self.found + other.found,
        )


@dataclass(frozen=True, slots=True)
class Aborts:
    """How many aborts were passed on to PanDA, and how many marked tasks PanDA never had, which end at once."""

    tasks: int
    jobs: int
    untaken: int


@dataclass(frozen=True, slots=True)
class _Round:
    """What this round did so far: the production tasks made, by TASKID, and the TASKIDs refused."""

    made: dict[int, int] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


Submit = Callable[[OpenTask, int | None], int]


def take_tasks(ctx: Context, proddb: Engine) -> Taken:
    """Make a production task of every task request that waits in ProdDB; write refusals back with their reason."""

    def submit_one(task: OpenTask, parent: int | None) -> int:
        return submit.submit_task(ctx, task.request(parent), WHO)

    return _take(ctx, proddb, "request", submit_one)


def take_job_definitions(ctx: Context, proddb: Engine) -> Taken:
    """Make a production task of the ready jobs of every such task that waits in ProdDB."""

    def submit_one(task: OpenTask, parent: int | None) -> int:
        with proddb.connect() as connection:
            found = read.definitions(connection, task.taskid)
        jobs = tuple(LooseJob(one.parameters, one.inputs, one.priority_offset) for one in found)
        if not jobs:
            raise BadRequest(f"task {task.taskid} has no job left to do")
        return submit_jobs(ctx, [LooseJobs(task.request(parent), jobs)], WHO)[0].task_id

    return _take(ctx, proddb, "jobs", submit_one)


def _take(ctx: Context, proddb: Engine, kind: Kind, submit_one: Submit) -> Taken:
    total, after = Taken(), 0
    so_far = _Round()
    while True:
        with proddb.connect() as connection:
            page = read.open_tasks(connection, kind, after=after, limit=PAGE)
        if not page:
            return total
        there = _in_panda(ctx, [one.taskid for one in page])
        for task in page:
            total += _take_one(ctx, proddb, task, there.get(task.taskid), so_far, submit_one)
        after = page[-1].taskid


def _in_panda(ctx: Context, taskids: list[int]) -> dict[int, TaskImage]:
    with ctx.engine.connect() as connection:
        return {one.taskid: one for one in outbox.task_images(connection, taskids, None)}


def _take_one(
    ctx: Context,
    proddb: Engine,
    task: OpenTask,
    there: TaskImage | None,
    so_far: _Round,
    submit_one: Submit,
) -> Taken:
    """Take one task: claim, submit, write down."""
    parent = task.parent_panda_task or so_far.made.get(task.parent or 0)
    if there is None and task.parent is not None and parent is None:
        return _without_parent(proddb, task, so_far)
    with proddb.begin() as connection:
        if not write.claim_task(connection, task.taskid):
            return Taken()
    if there is not None:
        return _note(proddb, task, there.task_id, so_far, Taken(found=1))
    try:
        task_id = submit_one(task, parent)
    except (BadRequest, NotFound, Conflict) as error:
        return _refuse(ctx, proddb, task, error, so_far)
    except DataError as error:  # a number that fits ProdDB's JSON but no column; it must not hold up the others
        reason = f"a value cannot be stored: {str(error.orig).splitlines()[0]}"
        return _say_refused(proddb, task, reason, so_far)
    return _note(proddb, task, task_id, so_far, Taken(submitted=1))


def _without_parent(proddb: Engine, task: OpenTask, so_far: _Round) -> Taken:
    """A child waits until its parent is in PanDA; if that can never be, it is refused."""
    if task.parent_status in read.UNTAKEN and task.parent not in so_far.refused:
        with proddb.begin() as connection:
            write.say_waiting(connection, task.taskid, f"waits until its parent task {task.parent} is taken")
        return Taken(waiting=1)
    return _say_refused(proddb, task, f"its parent task {task.parent} never came to PanDA; put both in again", so_far)


def _note(proddb: Engine, task: OpenTask, task_id: int, so_far: _Round, result: Taken) -> Taken:
    with proddb.begin() as connection:
        write.record_submitted(connection, task.taskid, task_id)
    so_far.made[task.taskid] = task_id
    return result


def _refuse(ctx: Context, proddb: Engine, task: OpenTask, error: PandaError, so_far: _Round) -> Taken:
    """Write a refusal back, unless the conflict is that somebody else has just submitted this very task."""
    there = _in_panda(ctx, [task.taskid]).get(task.taskid)
    if there is not None:
        return _note(proddb, task, there.task_id, so_far, Taken(found=1))
    log.info("task %d of ProdDB is refused: %s", task.taskid, error)
    return _say_refused(proddb, task, str(error), so_far)


def _say_refused(proddb: Engine, task: OpenTask, reason: str, so_far: _Round) -> Taken:
    so_far.refused.add(task.taskid)
    with proddb.begin() as connection:
        return Taken(refused=int(write.record_refused(connection, task.taskid, reason)))


def kill_to_be_aborted(ctx: Context, proddb: Engine) -> Aborts:
    """Abort in PanDA what is marked TOBEABORTED in ProdDB; `write_back` tells when it has ended.

    A mark stays until then and is obeyed again, so an attempt that was born meanwhile does not escape.
    """
    tasks, untaken = _abort_tasks(ctx, proddb)
    return Aborts(tasks, _kill_jobs(ctx, proddb), untaken)


def _abort_tasks(ctx: Context, proddb: Engine) -> tuple[int, int]:
    with proddb.connect() as connection:
        marked = read.marked_tasks(connection)
    there = _in_panda(ctx, marked)
    passed = untaken = 0
    for taskid in marked:
        image = there.get(taskid)
        if image is None:
            with proddb.begin() as connection:
                untaken += write.abort_untaken(connection, taskid)
        else:
            passed += _abort_task(ctx, proddb, image)
    return passed, untaken


def _abort_task(ctx: Context, proddb: Engine, image: TaskImage) -> int:
    with proddb.begin() as connection:  # a round that was cut off may not have written it down
        write.record_submitted(connection, image.taskid, image.task_id)
    if image.stage is TaskStage.ABORTING or image.stage in FINAL_TASK:
        return 0
    try:
        control.abort_task(ctx, image.task_id, WHO, WHY)
    except Conflict as error:  # it ended a moment ago
        log.info("task %d of ProdDB needs no abort: %s", image.taskid, error)
        return 0
    return 1


def _kill_jobs(ctx: Context, proddb: Engine) -> int:
    killed, after = 0, 0
    while True:
        with proddb.connect() as connection:
            marked = read.marked_jobs(connection, after=after, limit=PAGE)
        if not marked:
            return killed
        after = marked[-1].jobdefid
        with ctx.engine.connect() as connection:
            jobs = outbox.killable_jobs(connection, [(one.taskid, one.ordinal) for one in marked], command=KILL)
        if jobs:
            killed += sum(control.kill_jobs(ctx, jobs, WHO, WHY).values())
