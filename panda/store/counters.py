"""Counters by folding: every change of state is an event; sums are `job_count` plus the events not folded yet.

The watermark is a transaction id below which every transaction has ended, so that no event committed late is
skipped. A reader adds up in one statement and is exact at any moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text

NAME = "counts"

# Where nothing was ever folded, every event counts.
_MARK = "COALESCE((SELECT below_xid FROM fold_watermark WHERE name = 'counts'), '0'::xid8)"
# Both ends of the range are said: of one end alone the planner thinks that it lets through a third of all events, and
# reads every event of the tasks instead of the few that are not folded.
_FRESH = f"xid >= {_MARK} AND xid <= '18446744073709551615'::xid8"
# Sums of whole numbers as float8 are exact up to 2^53, and cost half of what sums of bigint do.
EXACT = """
    SELECT task_id, site_id, status, sum(n::float8)::bigint AS n, sum(cores::float8)::bigint AS cores FROM (
        SELECT task_id, site_id, status, n, cores FROM job_count WHERE {where}
      UNION ALL
        SELECT task_id, COALESCE(to_site, 0), to_state, n, n * cores FROM job_event
        WHERE to_state IS NOT NULL AND {where} AND {fresh}
      UNION ALL
        SELECT task_id, COALESCE(from_site, 0), from_state, -n, -n * cores FROM job_event
        WHERE from_state IS NOT NULL AND {where} AND {fresh}
    ) u GROUP BY task_id, site_id, status HAVING sum(n::float8) <> 0
""".replace("{fresh}", _FRESH)

_FOLD = text("""
    WITH mark AS (
        SELECT below_xid AS low, pg_snapshot_xmin(pg_current_snapshot()) AS high FROM fold_watermark
        WHERE name = 'counts'
    ), fresh AS MATERIALIZED (
        SELECT e.* FROM job_event e, mark WHERE e.xid >= mark.low AND e.xid < mark.high
    ), delta AS (
        SELECT task_id, site_id, status, sum(n) AS n, sum(cores) AS cores FROM (
            SELECT task_id, COALESCE(to_site, 0) AS site_id, to_state AS status, n, n * cores AS cores
            FROM fresh WHERE to_state IS NOT NULL
          UNION ALL
            SELECT task_id, COALESCE(from_site, 0), from_state, -n, -n * cores FROM fresh WHERE from_state IS NOT NULL
        ) u GROUP BY task_id, site_id, status HAVING sum(n) <> 0 OR sum(cores) <> 0
    ), folded AS (
        INSERT INTO job_count (task_id, site_id, status, n, cores)
        SELECT task_id, site_id, status, n, cores FROM delta ORDER BY task_id, site_id, status
        ON CONFLICT (task_id, site_id, status) DO UPDATE
        SET n = job_count.n + excluded.n, cores = job_count.cores + excluded.cores
    ), moved AS (
        UPDATE fold_watermark w SET below_xid = mark.high, folded_at = clock_timestamp()
        FROM mark WHERE w.name = 'counts'
    )
    SELECT task_id, count(*) AS events,
           bool_or(to_state = ANY(CAST('{finished,failed,cancelled,closed}' AS job_status[]))) AS ended,
           bool_or(to_state = 'defined') AS defined, bool_or(to_state = 'sent') AS started
    FROM fresh GROUP BY task_id ORDER BY task_id
""")


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold saw of one task: whether jobs ended, bunches wait for a site again, pilots took jobs."""

    task_id: int
    events: int
    ended: bool
    defined: bool
    started: bool


def fold(connection: Connection) -> list[Folded]:
    """Add all settled events to the counters and move the watermark; two folders wait for each other."""
    connection.execute(
        text("""
            INSERT INTO fold_watermark (name, below_xid) VALUES ('counts', '0'::xid8) ON CONFLICT (name) DO NOTHING
        """)
    )
    connection.execute(text("SELECT 1 FROM fold_watermark WHERE name = 'counts' FOR UPDATE"))
    return [Folded(row.task_id, row.events, row.ended, row.defined, row.started) for row in connection.execute(_FOLD)]


def counts_of_tasks(connection: Connection, tasks: Sequence[int]) -> list[RowMapping]:
    """How many jobs has each of these tasks in each state at each site (0: no site yet), exactly now?"""
    ensure_watermark(connection)
    return list(
        connection.execute(text(EXACT.format(where="task_id = ANY(:tasks)")), {"tasks": list(tasks)}).mappings()
    )


def tasks_without_site(connection: Connection, tasks: Sequence[int]) -> list[int]:
    """Which of these tasks have bunches that wait for a site?"""
    query = text("""
        SELECT t FROM unnest(CAST(:tasks AS bigint[])) AS t WHERE EXISTS (
            SELECT 1 FROM bunch b WHERE b.task_id = t AND b.open AND b.state IN ('defined', 'waiting')) ORDER BY t
    """)
    return list(connection.execute(query, {"tasks": list(tasks)}).scalars())


_BY_SITE = text(f"""
    SELECT site_id, status, sum(n)::bigint AS n FROM ({EXACT.format(where="true")}) e
    GROUP BY site_id, status HAVING sum(n) <> 0
""")  # noqa: S608 - constants of this file


def counts_by_site(connection: Connection) -> list[RowMapping]:
    """How many jobs are in each state at each site (0: no site yet), exactly now?"""
    ensure_watermark(connection)
    return list(connection.execute(_BY_SITE).mappings())


_USED = text("""
    SELECT t.share, t.vo, sum(c.cores)::float8 AS cores FROM job_count c JOIN production_task t ON t.id = c.task_id
    WHERE c.status IN ('sent', 'starting', 'running') AND c.cores > 0 GROUP BY t.share, t.vo
""")


def used_by_share(connection: Connection) -> list[RowMapping]:
    """How many cores do the jobs in pilots' hands have per share and organisation, as of the last fold?"""
    return list(connection.execute(_USED).mappings())


def ensure_watermark(connection: Connection) -> None:
    """Make the watermark's row where nothing was ever folded."""
    if connection.scalar(text("SELECT 1 FROM fold_watermark WHERE name = 'counts'")) is None:
        connection.execute(
            text("INSERT INTO fold_watermark (name, below_xid) VALUES ('counts', '0'::xid8) ON CONFLICT DO NOTHING")
        )


def differences(connection: Connection) -> list[RowMapping]:
    """Where do the counters differ from a live count of all jobs? Empty unless something is broken (invariant 1)."""
    ensure_watermark(connection)
    exact = EXACT.format(where="true")
    return list(
        connection.execute(
            text(f"""
                WITH counted AS ({exact}), live AS (
                    SELECT j.task_id,
                           COALESCE(CASE WHEN j.status IS NULL THEN b.site_id ELSE j.site_id END, 0) AS site_id,
                           COALESCE(j.status, b.state::text::job_status) AS status, count(*) AS n
                    FROM job_all j JOIN bunch b ON b.id = j.bunch_id GROUP BY 1, 2, 3
                )
                SELECT COALESCE(c.task_id, l.task_id) AS task_id, COALESCE(c.site_id, l.site_id) AS site_id,
                       COALESCE(c.status, l.status) AS status, c.n AS counted, l.n AS live
                FROM counted c FULL JOIN live l USING (task_id, site_id, status)
                WHERE c.n IS DISTINCT FROM l.n
            """)  # noqa: S608 - constants of this file
        ).mappings()
    )
