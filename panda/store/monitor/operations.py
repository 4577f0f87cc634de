"""What operators look at beside jobs and data: pilots, shares, incidents, decisions, orders, health of the loops."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from panda.domain.pattern import Pattern
from panda.store import counters
from panda.store.monitor.snapshot import Clauses, Row, Span, rows

WORKER_ATTRIBUTES: Mapping[str, str] = {
    "status": "w.status",
    "queue": "w.queue",
    "site": "COALESCE(s.name, '')",
    "cloud": "COALESCE(s.cloud, '')",
    "factory": "w.factory",
    "node": "COALESCE(w.node, '')",
}
INCIDENT_ATTRIBUTES: Mapping[str, str] = {"type": "i.kind", "level": "i.level", "about": "i.object"}


def _listed(
    connection: Connection, columns: str, source: str, order: str, values: Mapping[str, object],
    attributes: Mapping[str, str], page: tuple[int, int],
) -> tuple[int, list[Row], list[Row]]:  # fmt: skip
    """Read how many rows there are, a page (limit, offset) of them, and how many by attribute."""
    total = rows(connection, f"SELECT count(*) AS n {source}", values)[0]["n"]
    found = rows(
        connection,
        f"SELECT {columns} {source} ORDER BY {order} LIMIT :limit OFFSET :offset",
        {**values, "limit": page[0], "offset": page[1]},
    )
    parts = " UNION ALL ".join(
        f"SELECT '{name}' AS attribute, {column} AS value, count(*) AS n {source} GROUP BY 2"
        for name, column in attributes.items()
    )
    summary = rows(
        connection,
        f"""WITH ranked AS (SELECT *, count(*) OVER (PARTITION BY attribute) AS "values",
                row_number() OVER (PARTITION BY attribute ORDER BY n DESC, value) AS place FROM ({parts}) u)
            SELECT * FROM ranked WHERE place <= 40 ORDER BY attribute, place""",
        values,
    )
    return total, found, summary


def workers(
    connection: Connection, span: Span, filters: Mapping[str, Pattern], limit: int, offset: int
) -> tuple[int, list[Row], list[Row]]:
    """Which pilots live or ended in the span, as their factories say, and which jobs do they hold?"""
    clauses = Clauses()
    clauses.those_of(WORKER_ATTRIBUTES, filters)
    total, found, summary = _listed(
        connection,
        """w.factory, w.worker_id, w.queue, s.name AS site, s.cloud, w.status, w.batch_id, w.node, w.cores, w.n_jobs,
           w.submitted_at, w.started_at, w.ended_at, w.seen_at, w.diag""",
        f"""FROM worker w LEFT JOIN queue q ON q.name = w.queue LEFT JOIN site s ON s.id = q.site_id
            WHERE (w.ended_at IS NULL OR (w.ended_at >= :since AND w.ended_at < :until)) AND {clauses.both}""",
        "w.ended_at IS NOT NULL, w.seen_at DESC, w.factory, w.worker_id DESC",
        clauses.values | {"since": span.since, "until": span.until},
        WORKER_ATTRIBUTES,
        (limit, offset),
    )
    held = _held(connection, found)
    return total, [{**one, "jobs": held.get((one["factory"], one["worker_id"]), [])} for one in found], summary


def _held(connection: Connection, workers: Sequence[Row]) -> dict[tuple[str, int], list[int]]:
    """Read the jobs in the hands of these pilots, in one walk over all that are held."""
    of = {"factories": [one["factory"] for one in workers], "workers": [one["worker_id"] for one in workers]}
    query = """
        SELECT h.factory, h.worker_id, array_agg(h.job_id ORDER BY h.job_id) AS jobs
        FROM unnest(CAST(:factories AS text[]), CAST(:workers AS bigint[])) AS w (factory, worker_id)
        JOIN in_hand h ON h.factory = w.factory AND h.worker_id = w.worker_id GROUP BY 1, 2"""
    return {(one["factory"], one["worker_id"]): one["jobs"] for one in rows(connection, query, of)}


def factories(connection: Connection) -> list[Row]:
    """How many pilots does each factory have, by state, and when was it last heard of?"""
    return rows(
        connection,
        """
        SELECT factory, count(*) FILTER (WHERE status IN ('submitted', 'ready') AND ended_at IS NULL) AS submitted,
               count(*) FILTER (WHERE status IN ('running', 'idle') AND ended_at IS NULL) AS running,
               count(*) FILTER (WHERE status = 'finished') AS finished,
               count(*) FILTER (WHERE status IN ('failed', 'missed', 'cancelled')) AS failed,
               count(DISTINCT queue) AS queues, max(seen_at) AS last_seen
        FROM worker GROUP BY factory ORDER BY factory
        """,
    )


def incidents(
    connection: Connection, span: Span, filters: Mapping[str, Pattern], limit: int, offset: int
) -> tuple[int, list[Row], list[Row]]:
    """What had operators to know in the span?"""
    clauses = Clauses()
    clauses.those_of(INCIDENT_ATTRIBUTES, filters)
    return _listed(
        connection,
        "i.id, i.at, i.level, i.kind, i.object AS about, i.text",
        f"FROM incident i WHERE i.at >= :since AND i.at < :until AND {clauses.both}",
        "i.at DESC, i.id DESC",
        clauses.values | {"since": span.since, "until": span.until},
        {name: column for name, column in INCIDENT_ATTRIBUTES.items() if name != "about"},
        (limit, offset),
    )


def decisions(connection: Connection, span: Span, task_id: int | None, limit: int) -> tuple[int, list[Row]]:
    """What did brokerage decide in the span, newest first?"""
    where = "d.at >= :since AND d.at < :until AND (CAST(:task AS bigint) IS NULL OR d.task_id = :task)"
    values = {"since": span.since, "until": span.until, "task": task_id}
    total = rows(connection, f"SELECT count(*) AS n FROM brokerage_decision d WHERE {where}", values)[0]["n"]
    found = rows(
        connection,
        f"""SELECT d.id, d.at, CASE WHEN d.bunch_id IS NULL THEN 'cloud of a task' ELSE 'site of a bunch' END AS what,
                   d.task_id, d.bunch_id, d.chosen, d.reason
            FROM brokerage_decision d WHERE {where} ORDER BY d.id DESC LIMIT :limit""",
        values | {"limit": limit},
    )
    return total, found


def shares(connection: Connection) -> list[Row]:
    """How many cores does each share use, how many jobs of it wait, and how many of its tasks have not ended?"""
    return rows(
        connection,
        f"""
        SELECT t.share, t.vo,
               COALESCE(sum(u.cores) FILTER (WHERE u.status IN ('sent', 'starting', 'running')), 0)::bigint AS cores,
               COALESCE(sum(u.n) FILTER (WHERE u.status IN ('sent', 'starting', 'running')), 0)::bigint AS running,
               COALESCE(sum(u.n) FILTER (WHERE u.status = 'activated'), 0)::bigint AS activated,
               COALESCE(sum(u.n) FILTER (WHERE u.status IN ('defined', 'waiting', 'assigned')), 0)::bigint AS queued,
               (SELECT count(*) FROM production_task l
                WHERE l.ended_at IS NULL AND l.share = t.share AND l.vo = t.vo) AS tasks
        FROM ({counters.EXACT.format(where="true")}) u JOIN production_task t ON t.id = u.task_id
        WHERE u.status NOT IN ('finished', 'failed', 'cancelled', 'closed')
        GROUP BY t.share, t.vo ORDER BY cores DESC, t.share, t.vo
        """,
    )


def backlogs(connection: Connection) -> list[Row]:
    """What waits for each of the system's own loops, how much, and since when?"""
    return rows(
        connection,
        """
        SELECT 'events that are not folded into counters' AS what,
               (SELECT count(*) FROM job_event WHERE xid >= COALESCE(
                   (SELECT below_xid FROM fold_watermark WHERE name = 'counts'), '0'::xid8)) AS n,
               (SELECT folded_at FROM fold_watermark WHERE name = 'counts') AS since, 60 AS limit_s
      UNION ALL
        SELECT 'stories that are due', count(*), min(due_at), 120 FROM production_task
        WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
      UNION ALL
        SELECT 'reports to be collected', count(*), min(next_at), 120 FROM to_collect WHERE next_at <= now()
      UNION ALL
        SELECT 'orders to be worked off', count(*), min(created_at), 300 FROM pending_action WHERE done_at IS NULL
      UNION ALL
        SELECT 'blocks not asked of the data management', count(*), min(since), 300 FROM block WHERE state = 'planned'
      UNION ALL
        SELECT 'blocks that are stuck', count(*), min(since), 3600 FROM block WHERE state = 'stuck'
        """,
    )


def services(connection: Connection) -> list[Row]:
    """Which services give signs of life, since when, and when did they last?"""
    return rows(connection, "SELECT name, up_since, seen_at FROM outage ORDER BY name")


def orders(connection: Connection, limit: int) -> list[Row]:
    """What was ordered by people last, and is it done?"""
    return rows(
        connection,
        """
        SELECT a.id, a.kind, a.task_id, s.name AS site, a.who, a.created_at, a.done_at, a.outcome
        FROM pending_action a LEFT JOIN site s ON s.id = a.site_id ORDER BY a.id DESC LIMIT :limit
        """,
        {"limit": limit},
    )
