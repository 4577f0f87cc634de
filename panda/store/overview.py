"""SQL of the overview: how much there is of everything now, in one snapshot."""

from sqlalchemy import Connection, RowMapping, text


def tasks_by_stage(connection: Connection) -> dict[str, int]:
    """Tell how many production tasks are in each stage, those on hold under `on hold`."""
    rows = connection.execute(
        text("""
            SELECT CASE WHEN hold IS NOT NULL AND ended_at IS NULL THEN 'on hold' ELSE stage::text END AS stage,
                   count(*) AS n
            FROM production_task GROUP BY 1 ORDER BY 1
        """)
    )
    return {row.stage: row.n for row in rows}


def pilots_by_status(connection: Connection) -> dict[str, int]:
    """Tell how many pilots that have not ended are in each status."""
    rows = connection.execute(
        text("SELECT status, count(*) AS n FROM worker WHERE ended_at IS NULL GROUP BY status ORDER BY status")
    )
    return {row.status: row.n for row in rows}


def blocks_under_way(connection: Connection) -> list[RowMapping]:
    """Tell how many blocks are on their way to which storage, since when, and the last error that one of them met."""
    return list(
        connection.execute(
            text("""
                SELECT kind, rse, state, count(*) AS n, min(since) AS oldest, max(error) AS error
                FROM block WHERE state IN ('planned', 'requested', 'stuck') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
            """)
        ).mappings()
    )
