"""What Bamboo asks of ProdDB: work to take, marks to obey, and how far the mirror has come."""

from sqlalchemy import Connection, select

from panda.domain.mirror import START, Position
from panda.domain.prodstates import ProdJobState, ProdTaskState
from panda.proddb.records import JobDefinition, Kind, MarkedJob, OpenTask
from panda.proddb.schema import ejobdef, etask, mirror_cursor

EXECUTOR = "panda"
UNTAKEN = (ProdTaskState.PENDING, ProdTaskState.SUBMITTING)
IN_PANDA = (ProdTaskState.SUBMITTED, ProdTaskState.RUNNING, ProdTaskState.TOBEABORTED)


def open_tasks(connection: Connection, kind: Kind, *, after: int, limit: int) -> list[OpenTask]:
    """Which tasks of this kind are ours to take, parents first? Page by page: `after` is the last TASKID seen."""
    parent = etask.alias("parent_task")
    query = (
        select(
            etask.c.taskid,
            etask.c.status,
            etask.c.name,
            etask.c.transuses.label("release"),
            etask.c.priority,
            etask.c.vo,
            etask.c.actualpars,
            etask.c.parent,
            parent.c.panda_task_id.label("parent_panda_task"),
            parent.c.status.label("parent_status"),
        )
        .outerjoin_from(etask, parent, parent.c.taskid == etask.c.parent)
        .where(etask.c.status.in_(UNTAKEN), etask.c.grid == EXECUTOR, etask.c.kind == kind, etask.c.taskid > after)
        .order_by(etask.c.taskid)
        .limit(limit)
    )
    return [OpenTask(**row) for row in connection.execute(query).mappings()]


def definitions(connection: Connection, taskid: int) -> list[JobDefinition]:
    """The ready jobs of a task that was claimed, in the order of their ordinals."""
    query = (
        select(ejobdef.c.jobpars, ejobdef.c.inputs, ejobdef.c.priority_offset)
        .where(ejobdef.c.taskid == taskid, ejobdef.c.ordinal.is_not(None))
        .order_by(ejobdef.c.ordinal)
    )
    return [JobDefinition(row.jobpars, tuple(row.inputs), row.priority_offset) for row in connection.execute(query)]


def tasks_in_panda(connection: Connection) -> list[int]:
    """Which tasks has PanDA taken and not ended, as far as ProdDB knows?"""
    query = select(etask.c.taskid).where(etask.c.status.in_(IN_PANDA), etask.c.panda_task_id.is_not(None))
    return list(connection.scalars(query.order_by(etask.c.taskid)))


def marked_tasks(connection: Connection) -> list[int]:
    """Which tasks are marked TOBEABORTED?"""
    query = select(etask.c.taskid).where(etask.c.status == ProdTaskState.TOBEABORTED, etask.c.grid == EXECUTOR)
    return list(connection.scalars(query.order_by(etask.c.taskid)))


def marked_jobs(connection: Connection, *, after: int, limit: int) -> list[MarkedJob]:
    """Which jobs of tasks that PanDA has are marked TOBEABORTED? Page by page: `after` is the last JOBDEFID seen."""
    query = (
        select(ejobdef.c.jobdefid, ejobdef.c.taskid, ejobdef.c.ordinal)
        .join_from(ejobdef, etask, etask.c.taskid == ejobdef.c.taskid)
        .where(
            ejobdef.c.state == ProdJobState.TOBEABORTED,
            ejobdef.c.ordinal.is_not(None),
            ejobdef.c.jobdefid > after,
            etask.c.panda_task_id.is_not(None),
            etask.c.grid == EXECUTOR,
        )
        .order_by(ejobdef.c.jobdefid)
        .limit(limit)
    )
    return [MarkedJob(row.jobdefid, row.taskid, row.ordinal) for row in connection.execute(query)]


def position(connection: Connection, source: str) -> Position:
    """How far have the events of this PanDA been written?"""
    query = select(mirror_cursor.c.xid, mirror_cursor.c.event_id).where(mirror_cursor.c.source == source)
    row = connection.execute(query).one_or_none()
    return START if row is None else Position(row.xid, row.event_id)
