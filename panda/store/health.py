"""SQL of the health probe."""

from sqlalchemy import Connection, RowMapping, text

_HEALTH = text("""
    SELECT clock_timestamp() AS at,
           (SELECT extract(epoch FROM clock_timestamp() - max(folded_at))::float8 FROM fold_watermark) AS folded_age_s
""")


def health(connection: Connection) -> RowMapping:
    """Tell the database's time and how long ago events were last folded into counters."""
    return connection.execute(_HEALTH).mappings().one()
