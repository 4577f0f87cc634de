"""What producers do with ProdDB: put work in, mark it TOBEABORTED or obsolete, look at it. Bamboo does the rest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.exc import DataError

from panda.domain.names import check_name
from panda.domain.prodstates import ProdJobState, ProdTaskState, job_states_before, states_before
from panda.domain.work import TaskRequest, check_request
from panda.errors import BadRequest, Conflict, NotFound, Refused
from panda.proddb.records import (
    ExecutionView,
    JobDefinition,
    JobView,
    Kind,
    Marked,
    ReadyJobs,
    TaskView,
    actualpars,
)
from panda.proddb.schema import ejobdef, ejobexe, etask

MAX_DEFINITIONS = 1_000_000
MAX_PRIORITY_OFFSET = 10_000


def add_task(engine: Engine, request: TaskRequest, *, parent: int | None = None) -> int:
    """Put in a task request that PanDA shall expand into jobs; returns its TASKID. `parent` is a TASKID, too.

    Raises Refused or BadRequest with what is wrong, NotFound for an unknown parent; then nothing is stored.
    """
    checked = _checked(request, parent)
    with _storing(engine) as connection:
        return _insert_task(connection, checked, "request", parent)


def add_job_definitions(
    engine: Engine, request: TaskRequest, definitions: Sequence[JobDefinition], *, parent: int | None = None
) -> ReadyJobs:
    """Put in ready jobs that share everything but parameters, inputs and priority; all of them or none are stored.

    The attempt limit of each definition is the request's `max_attempts`. Raises like `add_task`.
    """
    if not 0 < len(definitions) <= MAX_DEFINITIONS:
        raise BadRequest(f"{len(definitions)} job definitions were given", hint=f"1 to {MAX_DEFINITIONS} make a task")
    for place, definition in enumerate(definitions):
        _check_definition(definition, place)
    checked = _checked(replace(request, split=replace(request.split, n_jobs=len(definitions))), parent)
    with _storing(engine) as connection:
        taskid = _insert_task(connection, checked, "jobs", parent)
        made = connection.scalars(
            insert(ejobdef).returning(ejobdef.c.jobdefid, sort_by_parameter_order=True),
            [
                {
                    "taskid": taskid,
                    "maxattempt": checked.max_attempts,
                    "jobpars": one.parameters,
                    "inputs": list(one.inputs),
                    "priority_offset": one.priority_offset,
                }
                for one in definitions
            ],
        )
        ready = ReadyJobs(taskid, tuple(made))
        connection.execute(
            update(etask)
            .where(etask.c.taskid == taskid)
            .values(n_jobs=len(ready.jobdefids), n_waiting=len(ready.jobdefids))
        )
    return ready


@contextmanager
def _storing(engine: Engine) -> Iterator[Connection]:
    """A transaction in which a value that no column can hold is the caller's mistake, not ours."""
    try:
        with engine.begin() as connection:
            yield connection
    except DataError as error:
        raise BadRequest(f"a value cannot be stored: {str(error.orig).splitlines()[0]}") from error
    except ValueError as error:  # the driver's word for a text with a NUL character
        raise BadRequest(f"a value cannot be stored: {error}") from error


def _checked(request: TaskRequest, parent: int | None) -> TaskRequest:
    if request.proddb_task is not None or request.parent_task is not None:
        raise BadRequest(
            "a request for ProdDB names a task of PanDA or a TASKID of its own",
            hint="give the parent as TASKID of ProdDB; the own TASKID is chosen by ProdDB",
        )
    check_request(replace(request, parent_task=parent))
    return request


def _check_definition(definition: JobDefinition, place: int) -> None:
    for lfn in definition.inputs:
        check_name(f"input file of job definition {place}", lfn.split(":", 1)[-1])
    if len(set(definition.inputs)) < len(definition.inputs):
        raise Refused(f"job definition {place} names an input file twice", hint="name each file once")
    if abs(definition.priority_offset) > MAX_PRIORITY_OFFSET:
        raise BadRequest(
            f"the priority offset of job definition {place} is {definition.priority_offset}",
            hint=f"at most {MAX_PRIORITY_OFFSET} up or down",
        )


def _insert_task(connection: Connection, request: TaskRequest, kind: Kind, parent: int | None) -> int:
    if parent is not None:
        _lock_parent(connection, parent)
    taskid: int = connection.execute(
        insert(etask)
        .values(
            name=request.name,
            kind=kind,
            transuses=request.release,
            priority=request.priority,
            vo=request.vo,
            parent=parent,
            actualpars=actualpars(request),
        )
        .returning(etask.c.taskid)
    ).scalar_one()
    return taskid


def _lock_parent(connection: Connection, parent: int) -> None:
    found = connection.execute(select(etask.c.status).where(etask.c.taskid == parent).with_for_update(key_share=True))
    status = found.scalar_one_or_none()
    if status is None:
        raise NotFound(f"ProdDB has no task {parent} that could be the parent", hint="put the parent in first")
    if status in {ProdTaskState.ABORTED, ProdTaskState.TOBEABORTED, ProdTaskState.OBSOLETE}:
        raise Conflict(f"the parent task {parent} is {status.value}", hint="choose a parent whose output is to come")


def mark_to_be_aborted(engine: Engine, *, tasks: Sequence[int] = (), jobdefs: Sequence[int] = ()) -> Marked:
    """Ask for tasks (TASKID) and jobs (JOBDEFID) to be aborted by Bamboo's next round, running ones included.

    Marking twice is the same as once. Raises NotFound for a number that does not exist; then nothing is marked.
    """
    with engine.begin() as connection:
        _check_known(connection, "task", etask.c.taskid, tasks)
        _check_known(connection, "job definition", ejobdef.c.jobdefid, jobdefs)
        n_tasks = connection.execute(
            update(etask)
            .where(etask.c.taskid.in_(tasks), etask.c.status.in_(states_before(ProdTaskState.TOBEABORTED)))
            .values(status=ProdTaskState.TOBEABORTED, status_changed_at=func.now())
        ).rowcount
        n_jobs = connection.execute(
            update(ejobdef)
            .where(
                ejobdef.c.jobdefid.in_(jobdefs),
                ejobdef.c.state.in_(job_states_before(ProdJobState.TOBEABORTED)),
            )
            .values(state=ProdJobState.TOBEABORTED, state_changed_at=func.now())
        ).rowcount
    return Marked(n_tasks, n_jobs)


def mark_obsolete(engine: Engine, taskid: int) -> None:
    """Withdraw a task that was not taken yet, or say that an ended one's results are not wanted any more.

    Raises NotFound, or Conflict while PanDA works on it.
    """
    with engine.begin() as connection:
        _check_known(connection, "task", etask.c.taskid, [taskid])
        changed = connection.execute(
            update(etask)
            .where(etask.c.taskid == taskid, etask.c.status.in_(states_before(ProdTaskState.OBSOLETE)))
            .values(status=ProdTaskState.OBSOLETE, status_changed_at=func.now())
        )
        if changed.rowcount == 0:
            raise Conflict(f"task {taskid} is neither pending nor ended", hint="mark it TOBEABORTED first")


def _check_known(connection: Connection, what: str, key: Any, numbers: Sequence[int]) -> None:
    """Lock the rows in order of their numbers, so that two markers never wait for each other in a circle."""
    wanted = sorted(set(numbers))
    found = set(connection.scalars(select(key).where(key.in_(wanted)).order_by(key).with_for_update()))
    missing = [number for number in wanted if number not in found]
    if missing:
        raise NotFound(f"ProdDB has no {what} {', '.join(map(str, missing[:10]))}", hint="look at the list of tasks")


def task_states(engine: Engine, taskids: Sequence[int] | None = None) -> list[TaskView]:
    """The given tasks, or all, in order of TASKID. Numbers that do not exist are left out."""
    query = select(*(etask.c[one.name] for one in fields(TaskView))).order_by(etask.c.taskid)
    if taskids is not None:
        query = query.where(etask.c.taskid.in_(taskids))
    with engine.connect() as connection:
        return [TaskView(**row) for row in connection.execute(query).mappings()]


def job_states(engine: Engine, taskid: int) -> list[JobView]:
    """Every job definition of a task, in the order of definition."""
    query = select(*(ejobdef.c[one.name] for one in fields(JobView))).where(ejobdef.c.taskid == taskid)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(ejobdef.c.ordinal, ejobdef.c.jobdefid)).mappings()
        return [JobView(**row) for row in rows]


def executions(engine: Engine, taskid: int) -> list[ExecutionView]:
    """Every attempt of every job of a task, in order of ordinal and attempt."""
    columns = [(ejobdef if one.name == "ordinal" else ejobexe).c[one.name] for one in fields(ExecutionView)]
    query = (
        select(*columns)
        .join_from(ejobexe, ejobdef, ejobexe.c.jobdefid == ejobdef.c.jobdefid)
        .where(ejobdef.c.taskid == taskid)
        .order_by(ejobdef.c.ordinal, ejobexe.c.attempt)
    )
    with engine.connect() as connection:
        return [ExecutionView(**row) for row in connection.execute(query).mappings()]
