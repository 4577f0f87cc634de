"""What has lasted too long: one query per limit of domain.md 2.9. No state can last for ever."""

from sqlalchemy import Connection, RowMapping, text


def silent_jobs(connection: Connection, state: str, limit_s: int, limit: int) -> list[int]:
    """Which jobs in a pilot's hand in this state have given no sign of life for so long? They are locked.

    Rows that are just being reported on are skipped: their pilot lives.
    """
    query = text("""
        SELECT j.id FROM in_hand h JOIN job j ON j.id = h.job_id
        WHERE j.status = CAST(:state AS job_status) AND h.last_seen < now() - make_interval(secs => :s)
        ORDER BY j.id LIMIT :limit FOR UPDATE OF j, h SKIP LOCKED
    """)
    return list(connection.execute(query, {"state": state, "s": limit_s, "limit": limit}).scalars())


def told_to_end(connection: Connection, jobs: list[int], command: str) -> list[int]:
    """Which of these jobs in a pilot's hand were told to end?"""
    query = text("SELECT job_id FROM in_hand WHERE job_id = ANY(:jobs) AND command = :command ORDER BY job_id")
    return list(connection.execute(query, {"jobs": jobs, "command": command}).scalars())


def lasting_jobs(connection: Connection, state: str, limit_s: int, urgent_s: int, limit: int) -> list[int]:
    """Which holding or transferring jobs wait too long? They are locked.

    Users' jobs and urgent production have the shorter limit.
    """
    query = text("""
        SELECT c.job_id FROM to_collect c JOIN job j ON j.id = c.job_id JOIN production_task t ON t.id = j.task_id
        WHERE c.state = CAST(:state AS job_status) AND j.status = c.state
          AND c.since < now() - make_interval(secs => CASE
              WHEN t.label IN ('user', 'panda') OR t.priority > 800 THEN :urgent ELSE :s END)
        ORDER BY c.job_id LIMIT :limit FOR UPDATE OF j SKIP LOCKED
    """)
    values = {"state": state, "s": limit_s, "urgent": urgent_s, "limit": limit}
    return list(connection.execute(query, values).scalars())


def lasting_bunches(connection: Connection, state: str, limit_s: int, limit: int) -> list[int]:
    """Which bunches are in this state for too long?"""
    query = text("""
        SELECT id FROM bunch WHERE open AND state = CAST(:state AS bunch_state)
          AND since < now() - make_interval(secs => :s) ORDER BY id LIMIT :limit
    """)
    return list(connection.execute(query, {"state": state, "s": limit_s, "limit": limit}).scalars())


def tasks_of_bunches(connection: Connection, bunches: list[int]) -> list[int]:
    """Which tasks do these bunches belong to?"""
    query = text("SELECT DISTINCT task_id FROM bunch WHERE id = ANY(:bunches)")
    return list(connection.execute(query, {"bunches": bunches}).scalars())


# First the few tasks that are old enough, then what they have, by index: the other way round is a scan of all jobs.
_OLD_JOBS = text("""
    WITH old AS MATERIALIZED (
        SELECT id FROM production_task
        WHERE stage IN ('assigned', 'running')
          AND COALESCE(retried_at, submitted_at) < now() - make_interval(secs => CASE
              WHEN label IN ('user', 'panda') THEN :users ELSE :all_ END)
    )
    SELECT j.id FROM old CROSS JOIN LATERAL (
        SELECT id FROM job
        WHERE task_id = old.id AND (status IS NULL OR status NOT IN ('finished', 'failed', 'cancelled', 'closed'))
        OFFSET 0) j
    ORDER BY j.id LIMIT :limit
""")
_QUEUED_JOBS = text("""
    WITH old AS MATERIALIZED (
        SELECT id FROM production_task
        WHERE hold IS NULL AND stage IN ('assigned', 'running') AND submitted_at < now() - make_interval(secs => :s)
    ), late AS MATERIALIZED (
        SELECT b.id FROM old CROSS JOIN LATERAL (
            SELECT b.id FROM bunch b
            WHERE b.task_id = old.id AND b.open AND (SELECT min(e.at) FROM job_event e WHERE e.bunch_id = b.id)
                                                    < now() - make_interval(secs => :s)
            OFFSET 0) b
    )
    SELECT j.id FROM late CROSS JOIN LATERAL (
        SELECT id FROM job WHERE bunch_id = late.id AND status IS NULL OFFSET 0) j
    ORDER BY j.id LIMIT :limit
""")


def old_jobs(connection: Connection, users_s: int, all_s: int, limit: int) -> list[int]:
    """Which live jobs belong to tasks that were submitted, or last retried, too long ago?"""
    return list(connection.execute(_OLD_JOBS, {"users": users_s, "all_": all_s, "limit": limit}).scalars())


def queued_jobs(connection: Connection, limit_s: int, limit: int) -> list[int]:
    """Which jobs have waited for a pilot for so long since they were made? Those of held tasks do not count."""
    return list(connection.execute(_QUEUED_JOBS, {"s": limit_s, "limit": limit}).scalars())


def note_up(connection: Connection, name: str, gap_s: int) -> float:
    """Note that a service works; returns for how many seconds (since its last outage longer than `gap_s`)."""
    row: RowMapping = (
        connection.execute(
            text("""
                INSERT INTO outage (name) VALUES (:name) ON CONFLICT (name) DO UPDATE
                SET up_since = CASE WHEN outage.seen_at < now() - make_interval(secs => :gap) THEN now()
                                    ELSE outage.up_since END,
                    seen_at = now()
                RETURNING EXTRACT(epoch FROM now() - up_since) AS up
            """),
            {"name": name, "gap": gap_s},
        )
        .mappings()
        .one()
    )
    return float(row["up"])


def up_for(connection: Connection, name: str, gap_s: int) -> float:
    """For how long has a service worked without an outage longer than `gap_s`? 0 while it is away."""
    query = text("""
        SELECT CASE WHEN seen_at < now() - make_interval(secs => :gap) THEN 0
                    ELSE EXTRACT(epoch FROM now() - up_since) END FROM outage WHERE name = :name
    """)
    return float(connection.scalar(query, {"name": name, "gap": gap_s}) or 0.0)


def clean_requests(connection: Connection) -> int:
    """Drop the answers to pilots' requests of more than a day ago; no pilot repeats a request that late."""
    return connection.execute(text("DELETE FROM pilot_request WHERE at < now() - interval '1 day'")).rowcount


def lost_workers(connection: Connection, silent_s: int) -> int:
    """Mark pilots that no factory has spoken of for long as ended; returns how many."""
    return connection.execute(
        text("""
            UPDATE worker SET status = 'missed', ended_at = now(), diag = 'no word from its factory'
            WHERE ended_at IS NULL AND seen_at < now() - make_interval(secs => :s)
        """),
        {"s": silent_s},
    ).rowcount


def old_snapshots(connection: Connection, age_s: int) -> list[RowMapping]:
    """Which transactions of this database have been open for so long? Dead rows cannot be cleaned up while they are."""
    query = text(r"""
        SELECT pid, COALESCE(NULLIF(application_name, ''), 'unknown') AS application, xact_start, state,
               left(regexp_replace(query, '\s+', ' ', 'g'), 200) AS query
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
          AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
          AND xact_start < clock_timestamp() - make_interval(secs => :s)
        ORDER BY xact_start
    """)
    return list(connection.execute(query, {"s": age_s}).mappings())


def tasks_never_begun(connection: Connection, users_s: int, all_s: int, limit: int) -> list[tuple[int, str | None]]:
    """Which tasks were submitted, or last retried, too long ago and never got a job, and what did they wait for?"""
    query = text("""
        SELECT id, waits_for FROM production_task
        WHERE stage IN ('registered', 'assigned') AND next_ordinal = 0
          AND COALESCE(retried_at, submitted_at) < now() - make_interval(secs => CASE
              WHEN label IN ('user', 'panda') THEN :users ELSE :all_ END)
          AND (lease_until IS NULL OR lease_until < now())
        ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
    """)
    rows = connection.execute(query, {"users": users_s, "all_": all_s, "limit": limit})
    return [(row.id, row.waits_for) for row in rows]
