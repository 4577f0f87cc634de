"""SQL of Harvester: what its instances say of themselves and their workers, and the commands that wait for them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from panda.domain.harvester import Dialog, HarvesterBeat, HarvesterOrder, ServiceMetrics, WorkerCount
from panda.store.schema import (
    harvester,
    harvester_command,
    harvester_dialog,
    harvester_metric,
    worker_statistic,
)


def note_beat(connection: Connection, beat: HarvesterBeat) -> None:
    """Keep a sign of life; what it does not say stays as it was."""
    statement = upsert(harvester).values(
        name=beat.name, owner=beat.owner, host=beat.host, version=beat.version, started_at=beat.started_at,
        details=dict(beat.details),
    )  # fmt: skip
    new = statement.excluded
    kept = {name: func.coalesce(new[name], harvester.c[name]) for name in ("version", "started_at")}
    changed = {**kept, "owner": new.owner, "host": new.host, "heard_at": func.now()}
    changed["details"] = harvester.c.details.op("||")(new.details)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed))


def replace_statistics(connection: Connection, name: str, queue: str, counts: Iterable[WorkerCount]) -> None:
    """Let these be all the numbers an instance gives of a queue.

    The lock lets two reports of one instance on one queue follow each other.
    """
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('statistics:' || :name || ':' || :queue, 0))"),
        {"name": name, "queue": queue},
    )
    mine = (worker_statistic.c.harvester == name) & (worker_statistic.c.queue == queue)
    connection.execute(delete(worker_statistic).where(mine))
    rows = [
        {
            "queue": queue, "harvester": name, "job_type": one.job_type, "resource_type": one.resource_type,
            "status": one.status, "n": one.n,
        }
        for one in counts
    ]  # fmt: skip
    if rows:
        connection.execute(insert(worker_statistic), rows)


def statistics(connection: Connection, newer_than_s: int) -> list[RowMapping]:
    """Tell the numbers of workers that were reported lately."""
    lately = worker_statistic.c.at > func.now() - text("make_interval(secs => :s)").bindparams(s=newer_than_s)
    return list(connection.execute(select(worker_statistic).where(lately).order_by(*_KEY)).mappings())


_KEY = [worker_statistic.c[name] for name in ("queue", "harvester", "job_type", "resource_type", "status")]


def add_dialogs(connection: Connection, name: str, dialogs: Sequence[Dialog]) -> None:
    """Keep messages; one that is sent again is the same message."""
    rows = [
        {
            "harvester": name, "number": one.number, "module": one.module, "about": one.about, "level": one.level,
            "text": one.text, "said_at": one.said_at,
        }
        for one in dialogs
    ]  # fmt: skip
    if rows:
        statement = upsert(harvester_dialog).values(rows)
        again = {name: statement.excluded[name] for name in ("module", "about", "level", "text", "said_at")}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["harvester", "number"], set_=again)
        )  # fmt: skip


def add_metrics(connection: Connection, name: str, metrics: Sequence[ServiceMetrics]) -> None:
    """Keep measurements; one that is sent again is not kept twice."""
    rows = [{"harvester": name, "host": one.host, "at": one.at, "metrics": dict(one.metrics)} for one in metrics]
    if rows:
        connection.execute(upsert(harvester_metric).values(rows).on_conflict_do_nothing())


def add_commands(connection: Connection, names: Sequence[str], order: HarvesterOrder, who: str) -> list[int]:
    """Leave a command for each of these instances; returns their numbers."""
    rows = [
        {
            "harvester": name, "command": order.command, "arguments": order.arguments,
            "ack_requested": order.ack_requested, "who": who,
        }
        for name in names
    ]  # fmt: skip
    return list(connection.scalars(insert(harvester_command).returning(harvester_command.c.id), rows))


def fetch_commands(connection: Connection, name: str, limit: int) -> list[RowMapping]:
    """Take the oldest commands that wait for an instance; two callers never get the same."""
    waiting = (
        select(harvester_command.c.id)
        .where(harvester_command.c.harvester == name, harvester_command.c.fetched_at.is_(None))
        .order_by(harvester_command.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(harvester_command)
        .where(harvester_command.c.id.in_(waiting.scalar_subquery()))
        .values(fetched_at=func.now())
        .returning(harvester_command)
    )
    return sorted(connection.execute(statement).mappings(), key=lambda row: int(row["id"]))


def acknowledge(connection: Connection, commands: Sequence[int]) -> int:
    """Note that commands were carried out; returns how many were waiting for that."""
    statement = (
        update(harvester_command)
        .where(harvester_command.c.id.in_(commands), harvester_command.c.fetched_at.is_not(None))
        .where(harvester_command.c.acknowledged_at.is_(None))
        .values(acknowledged_at=func.now())
    )
    return connection.execute(statement).rowcount


def serving(connection: Connection, queue: str, newer_than_s: int) -> list[str]:
    """Tell which instances spoke of workers at a queue lately."""
    query = text("""
        SELECT h.name FROM harvester h
        WHERE EXISTS (SELECT 1 FROM worker w WHERE w.factory = h.name AND w.queue = :queue
                      AND w.seen_at > now() - make_interval(secs => :s))
           OR EXISTS (SELECT 1 FROM worker_statistic t WHERE t.harvester = h.name AND t.queue = :queue
                      AND t.at > now() - make_interval(secs => :s))
        ORDER BY h.name
    """)
    return list(connection.scalars(query, {"queue": queue, "s": newer_than_s}))


def known(connection: Connection, names: Sequence[str]) -> set[str]:
    """Tell which of these instances ever gave a sign of life."""
    return set(connection.scalars(select(harvester.c.name).where(harvester.c.name.in_(names))))


def instances(connection: Connection) -> list[RowMapping]:
    """Read every instance with its live workers by status, its open commands and its last word."""
    query = text("""
        SELECT h.name, h.owner, h.host, h.version, h.started_at, h.first_heard_at, h.heard_at, h.details,
               COALESCE((SELECT jsonb_object_agg(status, n) FROM (
                   SELECT status, count(*) AS n FROM worker w WHERE w.factory = h.name AND w.ended_at IS NULL
                   GROUP BY status) s), '{}') AS workers,
               (SELECT count(*) FROM harvester_command c
                WHERE c.harvester = h.name AND c.fetched_at IS NULL) AS commands_waiting,
               said.level AS last_level, said.text AS last_text
        FROM harvester h LEFT JOIN LATERAL (
            SELECT level, text FROM harvester_dialog d WHERE d.harvester = h.name ORDER BY number DESC LIMIT 1
        ) said ON true
        ORDER BY h.name
    """)
    return list(connection.execute(query).mappings())


def commands(connection: Connection, limit: int | None, offset: int) -> list[RowMapping]:
    """Read commands, the newest first."""
    query = select(harvester_command).order_by(harvester_command.c.id.desc()).limit(limit).offset(offset)
    return list(connection.execute(query).mappings())


def dialogs(connection: Connection, limit: int | None, offset: int) -> list[RowMapping]:
    """Read messages, the newest first."""
    order = (harvester_dialog.c.said_at.desc(), harvester_dialog.c.harvester, harvester_dialog.c.number.desc())
    query = select(harvester_dialog).order_by(*order).limit(limit).offset(offset)
    return list(connection.execute(query).mappings())


def metrics(connection: Connection) -> list[RowMapping]:
    """Read the newest measurement of every host."""
    query = text("""
        SELECT DISTINCT ON (harvester, host) harvester, host, at, metrics FROM harvester_metric
        ORDER BY harvester, host, at DESC
    """)
    return list(connection.execute(query).mappings())


def forget(connection: Connection, days: int) -> int:
    """Drop messages, measurements and settled commands that are older than so many days; returns how many rows."""
    dropped = 0
    for table, when in (("harvester_dialog", "heard_at"), ("harvester_metric", "heard_at"),
                        ("harvester_command", "fetched_at"), ("worker_statistic", "at")):  # fmt: skip
        statement = text(f"DELETE FROM {table} WHERE {when} < now() - make_interval(days => :days)")  # noqa: S608
        dropped += connection.execute(statement, {"days": days}).rowcount
    return dropped
