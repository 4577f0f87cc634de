"""What Bamboo does to the tasks of ProdDB before PanDA has them: claim, say submitted or refused, end what is marked.

Every change names the old state; zero rows means that somebody else was faster, which is a normal answer.
"""

from sqlalchemy import Connection, func, select, update

from panda.domain.prodstates import ProdJobState, ProdTaskState, job_states_before, states_before
from panda.proddb.schema import ejobdef, etask

MESSAGE_LENGTH = 2000
CLAIMABLE = (*states_before(ProdTaskState.SUBMITTING), ProdTaskState.SUBMITTING)


def claim_task(connection: Connection, taskid: int) -> bool:
    """Write down the intent to submit a task, and give its ready jobs their ordinals; False if it is not ours to take.

    Jobs that are marked TOBEABORTED by then end here and never reach PanDA.
    """
    claimed = connection.execute(
        update(etask)
        .where(
            etask.c.taskid == taskid,
            etask.c.status.in_(CLAIMABLE),
        )
        .values(status=ProdTaskState.SUBMITTING, status_changed_at=func.now(), message=None)
        .returning(etask.c.taskid)
    )
    if claimed.one_or_none() is None:
        return False
    _number_definitions(connection, taskid)
    return True


def _number_definitions(connection: Connection, taskid: int) -> None:
    unnumbered = (ejobdef.c.taskid == taskid, ejobdef.c.ordinal.is_(None))
    aborted = connection.execute(
        update(ejobdef)
        .where(*unnumbered, ejobdef.c.state == ProdJobState.TOBEABORTED)
        .values(state=ProdJobState.ABORTED, message="aborted before PanDA had it", state_changed_at=func.now())
    )
    if aborted.rowcount:
        recount(connection, [taskid])
    numbered = (
        select(ejobdef.c.jobdefid, (func.row_number().over(order_by=ejobdef.c.jobdefid) - 1).label("ordinal"))
        .where(*unnumbered, ejobdef.c.state == ProdJobState.TOBEDONE)
        .subquery()
    )
    taken = select(ejobdef.c.jobdefid).where(ejobdef.c.taskid == taskid, ejobdef.c.ordinal.is_not(None)).exists()
    connection.execute(
        update(ejobdef).where(ejobdef.c.jobdefid == numbered.c.jobdefid, ~taken).values(ordinal=numbered.c.ordinal)
    )


def say_waiting(connection: Connection, taskid: int, why: str) -> None:
    """Tell why a task was not taken yet."""
    connection.execute(
        update(etask)
        .where(etask.c.taskid == taskid, etask.c.status == ProdTaskState.PENDING, etask.c.message.is_distinct_from(why))
        .values(message=why)
    )


def record_submitted(connection: Connection, taskid: int, panda_task_id: int) -> None:
    """Write down which production task a task became.

    If it was marked meanwhile the mark stays; if it was ended for want of a production task, the mark comes back.
    """
    connection.execute(
        update(etask)
        .where(etask.c.taskid == taskid)
        .values(panda_task_id=panda_task_id, submitted_at=func.coalesce(etask.c.submitted_at, func.now()))
    )
    for old, new in (
        (ProdTaskState.SUBMITTING, ProdTaskState.SUBMITTED),
        (ProdTaskState.ABORTED, ProdTaskState.TOBEABORTED),
    ):
        connection.execute(
            update(etask)
            .where(etask.c.taskid == taskid, etask.c.status == old)
            .values(status=new, status_changed_at=func.now(), message=None, ended_at=None)
        )


def record_refused(connection: Connection, taskid: int, reason: str) -> bool:
    """End a task that PanDA refused, and its ready jobs with it; False if it was marked or ended meanwhile."""
    return _end_untaken(connection, taskid, ProdTaskState.FAILED, ProdJobState.FAILED, reason)


def abort_untaken(connection: Connection, taskid: int) -> bool:
    """End a marked task that PanDA never had, and its ready jobs with it."""
    return _end_untaken(connection, taskid, ProdTaskState.ABORTED, ProdJobState.ABORTED, "aborted before PanDA had it")


def _end_untaken(
    connection: Connection, taskid: int, state: ProdTaskState, job_state: ProdJobState, message: str
) -> bool:
    changed = connection.execute(
        update(etask)
        .where(etask.c.taskid == taskid, etask.c.status.in_(states_before(state)), etask.c.panda_task_id.is_(None))
        .values(status=state, status_changed_at=func.now(), ended_at=func.now(), message=message[:MESSAGE_LENGTH])
        .returning(etask.c.taskid)
    )
    if changed.one_or_none() is None:
        return False
    connection.execute(
        update(ejobdef)
        .where(ejobdef.c.taskid == taskid, ejobdef.c.state.in_(job_states_before(job_state)))
        .values(state=job_state, state_changed_at=func.now(), message=message[:MESSAGE_LENGTH])
    )
    recount(connection, [taskid])
    return True


def recount(connection: Connection, taskids: list[int]) -> None:
    """Count the jobs of tasks by what has become of them."""
    waiting = (ProdJobState.TOBEDONE, ProdJobState.WAITINGDATA, ProdJobState.TODO)
    running = (ProdJobState.RUNNING, ProdJobState.TOBEABORTED)

    counts = (
        select(
            ejobdef.c.taskid,
            func.count().label("n_jobs"),
            func.count().filter(ejobdef.c.state.in_(waiting)).label("n_waiting"),
            func.count().filter(ejobdef.c.state.in_(running)).label("n_running"),
            func.count().filter(ejobdef.c.state == ProdJobState.DONE).label("n_done"),
            func.count().filter(ejobdef.c.state == ProdJobState.FAILED).label("n_failed"),
            func.count().filter(ejobdef.c.state == ProdJobState.ABORTED).label("n_aborted"),
        )
        .where(ejobdef.c.taskid.in_(taskids))
        .group_by(ejobdef.c.taskid)
        .subquery()
    )
    names = [one.name for one in counts.c if one.name != "taskid"]
    connection.execute(
        update(etask).where(etask.c.taskid == counts.c.taskid).values({name: counts.c[name] for name in names})
    )
