"""Which attempts ended at a site without finishing: what their pilots may have left there is nobody's."""

from sqlalchemy import Connection, RowMapping, text

_LOST = text("""
    SELECT e.id AS event_id, e.job_id, s.rse
    FROM job_event e JOIN site s ON s.id = e.from_site
    JOIN production_task t ON t.id = e.task_id
    WHERE e.id > :after AND e.at < now() - make_interval(secs => :age) AND e.job_id IS NOT NULL
      AND e.to_state IN ('failed', 'cancelled', 'closed')
      AND e.from_state NOT IN ('defined', 'waiting', 'assigned', 'activated') AND t.ddm_mode <> 'none'
    ORDER BY e.id LIMIT :limit
""")


def lost_attempts(connection: Connection, after: int, age_s: float, limit: int) -> list[RowMapping]:
    """Read attempts that a pilot held and that ended otherwise than finished, `age_s` seconds ago, by their event."""
    return list(connection.execute(_LOST, {"after": after, "age": age_s, "limit": limit}).mappings())
