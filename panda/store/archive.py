"""Jobs of tasks that ended long ago: into the archive by month of end, and back for a retry (performance.md 7)."""

from datetime import datetime

from sqlalchemy import Connection, text

_COLUMNS = """id, task_id, bunch_id, parent_id, first_event, ordinal, input_first, input_count, n_events, needs_id,
    lease, status, attempt, site_id, priority_offset, explicit_input, parameters"""

_MOVE = text(f"""
    WITH gone AS (
        DELETE FROM job WHERE id IN (
            SELECT id FROM job WHERE task_id = :task AND status IN ('finished', 'failed', 'cancelled', 'closed')
            ORDER BY task_id, ordinal, attempt LIMIT :limit)
        RETURNING {_COLUMNS}
    )
    INSERT INTO job_archive (ended_at, {_COLUMNS})
    SELECT LEAST(GREATEST(COALESCE(
               (SELECT max(e.at) FROM job_event e WHERE e.job_id = g.id AND e.to_state = g.status), t.ended_at),
               t.submitted_at), t.ended_at), g.*
    FROM gone g JOIN production_task t ON t.id = g.task_id
""")  # noqa: S608 - constants of this file


def tasks_to_archive(connection: Connection, age_s: float, limit: int, after: int) -> list[int]:
    """Which tasks ended so many seconds ago and are not in the archive, by id from after `after`?"""
    query = text("""
        SELECT id FROM production_task
        WHERE archived_at IS NULL AND ended_at < now() - make_interval(secs => :age) AND id > :after
        ORDER BY id LIMIT :limit
    """)
    return list(connection.execute(query, {"age": age_s, "limit": limit, "after": after}).scalars())


def span_of(connection: Connection, task_id: int, age_s: float) -> tuple[datetime, datetime] | None:
    """Lock a task that may be archived and tell from when to when it lived; None if it may not, e.g. after a retry."""
    row = connection.execute(
        text("""
            SELECT submitted_at, ended_at FROM production_task
            WHERE id = :task AND archived_at IS NULL AND ended_at < now() - make_interval(secs => :age)
            FOR NO KEY UPDATE
        """),
        {"task": task_id, "age": age_s},
    ).one_or_none()
    return None if row is None else (row.submitted_at, row.ended_at)


def make_months(connection: Connection, since: datetime, until: datetime) -> None:
    """Make the partitions of the months (UTC) from `since` to `until` that are not there yet."""
    months = connection.execute(
        text("""
            SELECT 'job_archive_' || to_char(m, 'YYYY_MM') AS name, m::date AS first,
                   (m + interval '1 month')::date AS next
            FROM generate_series(date_trunc('month', :since AT TIME ZONE 'UTC'), :until AT TIME ZONE 'UTC',
                                 interval '1 month') AS m
            WHERE to_regclass('job_archive_' || to_char(m, 'YYYY_MM')) IS NULL ORDER BY m
        """),
        {"since": since, "until": until},
    ).all()
    if months:  # two that archive at once make a month once
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('job_archive', 0))"))
    for row in months:
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {row.name} PARTITION OF job_archive"
            f" FOR VALUES FROM ('{row.first} 00:00+00') TO ('{row.next} 00:00+00')"
        )


def move_jobs(connection: Connection, task_id: int, limit: int) -> int:
    """Move so many final jobs of a task, whose row is locked, into the archive; returns how many were left to move."""
    return connection.execute(_MOVE, {"task": task_id, "limit": limit}).rowcount


def set_archived(connection: Connection, task_id: int) -> None:
    """Note that all jobs of a task are in the archive."""
    connection.execute(text("UPDATE production_task SET archived_at = now() WHERE id = :task"), {"task": task_id})


def bring_back(connection: Connection, task_id: int) -> int:
    """Move the jobs of a task, whose row is locked, back from the archive, so that it can be retried."""
    connection.execute(text("UPDATE production_task SET archived_at = NULL WHERE id = :task"), {"task": task_id})
    return connection.execute(
        text(f"""
            WITH back AS (DELETE FROM job_archive WHERE task_id = :task RETURNING {_COLUMNS})
            INSERT INTO job ({_COLUMNS}) OVERRIDING SYSTEM VALUE SELECT * FROM back ORDER BY ordinal, attempt
        """),  # noqa: S608 - constants of this file
        {"task": task_id},
    ).rowcount
