"""Writes PanDA's state into ProdDB: one chunk of images and the place it ends at, in one transaction.

Theory. The place is kept here, with the rows, and moves only from where its reader found it. A crash before the commit
loses nothing, because the same events are read again; a crash after it doubles nothing; of two writers the second finds
the place moved and writes nothing. Images show what PanDA's rows say *now*, so reading an event twice is harmless.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    case,
    cast,
    column,
    func,
    or_,
    select,
    text,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import insert

from panda.domain.mirror import START, JobImage, Position, TaskImage
from panda.domain.prodstates import (
    FINAL_PROD_JOB,
    FINAL_PROD_TASK,
    PROD_JOB_CHANGES,
    PROD_TASK_CHANGES,
    ProdJobState,
    ProdTaskState,
)
from panda.errors import Conflict
from panda.proddb.schema import When, etask, mirror_cursor, task_state
from panda.proddb.write import MESSAGE_LENGTH, recount

State = TypeVar("State", ProdJobState, ProdTaskState)


def _pairs(changes: Mapping[State, Iterable[State]]) -> str:
    return ", ".join(f"('{old.value}', '{new.value}')" for old, news in changes.items() for new in sorted(news))


# Many rows go in one statement as one array per column; the words of the guards are made of the tables of changes.
_DEFINITIONS = text(f"""
    INSERT INTO proddb.ejobdef (taskid, ordinal, state, attempt, maxattempt, message, state_changed_at)
    SELECT * FROM unnest(
        CAST(:taskid AS bigint[]), CAST(:ordinal AS int[]), CAST(:state AS proddb.job_state[]),
        CAST(:attempt AS smallint[]), CAST(:maxattempt AS smallint[]), CAST(:message AS text[]),
        CAST(:changed_at AS timestamptz[]))
    ON CONFLICT (taskid, ordinal) DO UPDATE
    SET state = excluded.state, attempt = excluded.attempt, message = excluded.message,
        state_changed_at = excluded.state_changed_at
    WHERE excluded.attempt >= ejobdef.attempt AND (
        (ejobdef.state, excluded.state) IN ({_pairs(PROD_JOB_CHANGES)})
        OR ejobdef.state = excluded.state AND ejobdef.attempt < excluded.attempt)
""")  # noqa: S608 - words of our own enumeration
_EXECUTIONS = text("""
    INSERT INTO proddb.ejobexe (jobdefid, attempt, pandaid, state, panda_status, site, node, error, started_at,
                                ended_at, wall_s, cpu_s, n_events, state_changed_at)
    SELECT d.jobdefid, i.attempt, i.pandaid, i.state, i.panda_status, i.site, i.node, i.error, i.started_at,
           i.ended_at, i.wall_s, i.cpu_s, i.n_events, i.changed_at
    FROM unnest(
        CAST(:taskid AS bigint[]), CAST(:ordinal AS int[]), CAST(:attempt AS smallint[]), CAST(:pandaid AS bigint[]),
        CAST(:state AS proddb.job_state[]), CAST(:panda_status AS text[]), CAST(:site AS text[]),
        CAST(:node AS text[]), CAST(:error AS text[]), CAST(:started_at AS timestamptz[]),
        CAST(:ended_at AS timestamptz[]), CAST(:wall_s AS double precision[]), CAST(:cpu_s AS double precision[]),
        CAST(:n_events AS bigint[]), CAST(:changed_at AS timestamptz[])
    ) AS i (taskid, ordinal, attempt, pandaid, state, panda_status, site, node, error, started_at, ended_at, wall_s,
            cpu_s, n_events, changed_at)
    JOIN proddb.ejobdef d ON d.taskid = i.taskid AND d.ordinal = i.ordinal
    ON CONFLICT (jobdefid, attempt) DO UPDATE
    SET state = excluded.state, panda_status = excluded.panda_status, pandaid = excluded.pandaid,
        site = COALESCE(excluded.site, ejobexe.site), node = COALESCE(excluded.node, ejobexe.node),
        error = COALESCE(excluded.error, ejobexe.error),
        started_at = COALESCE(excluded.started_at, ejobexe.started_at),
        ended_at = COALESCE(excluded.ended_at, ejobexe.ended_at),
        wall_s = COALESCE(excluded.wall_s, ejobexe.wall_s), cpu_s = COALESCE(excluded.cpu_s, ejobexe.cpu_s),
        n_events = COALESCE(excluded.n_events, ejobexe.n_events),
        state_changed_at = GREATEST(excluded.state_changed_at, ejobexe.state_changed_at)
    WHERE ejobexe.state = 'RUNNING'
""")
_TASK_MAY_CHANGE = text(f"(etask.status, CAST(image.status AS proddb.task_state)) IN ({_pairs(PROD_TASK_CHANGES)})")


def write_chunk(
    connection: Connection,
    source: str,
    old: Position,
    new: Position,
    jobs: Sequence[JobImage],
    tasks: Sequence[TaskImage],
) -> None:
    """Write images of jobs and tasks and move the place from `old` to `new`; raises Conflict if it is not at `old`."""
    _move(connection, source, old, new)
    known = _known_tasks(connection, {one.taskid for one in jobs})
    kept = sorted((one for one in jobs if one.taskid in known), key=lambda one: (one.taskid, one.ordinal, one.attempt))
    if kept:
        _write_definitions(connection, kept)
        _write_executions(connection, kept)
    write_tasks(connection, tasks)
    if kept:
        recount(connection, sorted(known))


def _move(connection: Connection, source: str, old: Position, new: Position) -> None:
    statement = insert(mirror_cursor).values(source=source, xid=new.xid, event_id=new.event_id)
    if old == START:
        statement = statement.on_conflict_do_nothing()
        moved = connection.execute(statement.returning(mirror_cursor.c.xid)).one_or_none()
    else:
        moved = connection.execute(
            update(mirror_cursor)
            .where(
                mirror_cursor.c.source == source,
                mirror_cursor.c.xid == old.xid,
                mirror_cursor.c.event_id == old.event_id,
            )
            .values(xid=new.xid, event_id=new.event_id, at=func.now())
            .returning(mirror_cursor.c.xid)
        ).one_or_none()
    if moved is None:
        raise Conflict("another Bamboo wrote to ProdDB meanwhile", hint="nothing was written; the next round goes on")


def _known_tasks(connection: Connection, taskids: set[int]) -> set[int]:
    """A task that was deleted from ProdDB must not stop the others' mirror."""
    return set(connection.scalars(select(etask.c.taskid).where(etask.c.taskid.in_(taskids))))


def _write_definitions(connection: Connection, jobs: Sequence[JobImage]) -> None:
    """One row per ordinal, showing its newest attempt; with only older ones told of it is at least there."""
    rows = {(one.taskid, one.ordinal): _definition(one) for one in sorted(jobs, key=lambda one: one.newest)}
    connection.execute(_DEFINITIONS, _by_column(sorted(rows.values(), key=itemgetter("taskid", "ordinal"))))


def _definition(image: JobImage) -> dict[str, object]:
    ended_badly = image.newest and image.state in FINAL_PROD_JOB - {ProdJobState.DONE}
    return {
        "taskid": image.taskid,
        "ordinal": image.ordinal,
        "state": image.state.value if image.newest else ProdJobState.TOBEDONE.value,
        "attempt": image.attempt if image.newest else 0,
        "maxattempt": image.max_attempts,
        "message": _shortened(image.error) if ended_badly else None,
        "changed_at": image.changed_at,
    }


def _write_executions(connection: Connection, jobs: Sequence[JobImage]) -> None:
    """One row per attempt; a final one never changes, and the time of its change never goes back."""
    rows = {(one.taskid, one.ordinal, one.attempt): _execution(one) for one in jobs if one.own}
    if rows:
        connection.execute(_EXECUTIONS, _by_column([*rows.values()]))


def _execution(image: JobImage) -> dict[str, object]:
    return {
        "taskid": image.taskid,
        "ordinal": image.ordinal,
        "attempt": image.attempt,
        "pandaid": image.pandaid,
        "state": image.state.value,
        "panda_status": image.status.value,
        "site": image.site,
        "node": image.node,
        "error": _shortened(image.error),
        "started_at": image.started_at,
        "ended_at": image.ended_at,
        "wall_s": image.wall_s,
        "cpu_s": image.cpu_s,
        "n_events": image.n_events,
        "changed_at": image.changed_at,
    }


def _by_column(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def write_tasks(connection: Connection, tasks: Sequence[TaskImage]) -> None:
    """Write what has become of tasks: state (only along the table of changes), cloud, message, end."""
    if not tasks:
        return
    image = values(
        column("taskid", BigInteger),
        column("panda_task_id", BigInteger),
        column("status", Text),
        column("tier", Text),
        column("message", Text),
        column("ended_at", When),
        name="image",
    ).data(
        [
            (one.taskid, one.task_id, one.state.value, one.cloud, _shortened(one.says), one.ended_at)
            for one in sorted(tasks, key=lambda one: one.taskid)
        ]
    )
    status = case((_TASK_MAY_CHANGE, cast(image.c.status, task_state)), else_=etask.c.status)
    ended = case((status.in_(FINAL_PROD_TASK), cast(image.c.ended_at, When)), else_=None)
    message = cast(image.c.message, Text)
    connection.execute(
        update(etask)
        .where(
            etask.c.taskid == cast(image.c.taskid, BigInteger),
            or_(
                etask.c.status != status,
                etask.c.tier.is_distinct_from(image.c.tier),
                etask.c.message.is_distinct_from(message),
            ),
        )
        .values(
            status=status,
            tier=func.coalesce(image.c.tier, etask.c.tier),
            message=message,
            panda_task_id=image.c.panda_task_id,
            ended_at=ended,
            status_changed_at=case((etask.c.status != status, func.now()), else_=etask.c.status_changed_at),
        )
    )


def _shortened(words: str | None) -> str | None:
    return words[:MESSAGE_LENGTH] if words else None
