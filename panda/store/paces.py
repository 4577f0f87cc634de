"""SQL of how fast blocks reach the storages, and how pilots of a site end: what marks a slow link and a dead site.

A block that is still under way counts with the pace it would have if all of it came now: it cannot have been faster.
"""

from sqlalchemy import Connection, RowMapping, text

_LATELY = """
    SELECT k.rse, date_part('epoch', CASE WHEN k.state = 'complete' THEN k.since ELSE now() END - k.created_at) AS took,
           k.bytes::float8 AS bytes
    FROM block k
    WHERE k.kind = 'dis' AND k.bytes > 0 AND k.created_at > now() - make_interval(secs => :seconds)
      AND k.state IN ('complete', 'requested')
"""
_MEDIANS = """
    count(*) AS blocks, (percentile_cont(0.5) WITHIN GROUP (ORDER BY took))::float8 AS seconds,
    (percentile_cont(0.5) WITHIN GROUP (ORDER BY bytes / GREATEST(took, 0.001)))::float8 AS bytes_per_s,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY took)::float8 AS least_s
"""


def to_storages(connection: Connection, hours: float) -> list[RowMapping]:
    """How fast did blocks of input files come to each storage, and in how many seconds (medians)?

    No median over several of them is below the smallest of their `least_s`.
    """
    query = f"SELECT rse, {_MEDIANS} FROM ({_LATELY}) b GROUP BY rse ORDER BY rse"  # noqa: S608 - constants
    return list(connection.execute(text(query), {"seconds": hours * 3600}).mappings())


def to_others(connection: Connection, rse: str, hours: float) -> RowMapping:
    """How fast did blocks come to all storages but one (medians)?"""
    query = f"SELECT {_MEDIANS} FROM ({_LATELY}) b WHERE rse <> :rse"  # noqa: S608 - constants
    return connection.execute(text(query), {"seconds": hours * 3600, "rse": rse}).mappings().one()


def ended_pilots(connection: Connection, site_id: int, hours: float) -> RowMapping:
    """How many of a site's pilots ended lately, and how many of them badly: killed, failed, never started?"""
    query = text("""
        SELECT count(*) AS ended, count(*) FILTER (WHERE w.status IN ('failed', 'missed')) AS badly
        FROM worker w JOIN queue q ON q.name = w.queue
        WHERE q.site_id = :site AND w.ended_at > now() - make_interval(secs => :seconds)
    """)
    return connection.execute(query, {"site": site_id, "seconds": hours * 3600}).mappings().one()
