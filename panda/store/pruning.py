"""What is too old to be looked at: history of jobs in the archive, brokerage rounds, incidents, workers, orders."""

from collections.abc import Mapping

from sqlalchemy import Connection, TextClause, text

from panda.store.schema import OF_TASK


def _of_archived_jobs(table: str) -> TextClause:
    """Delete what a table says of archived jobs; jobs' numbers grow, so that the key finds the oldest."""
    return text(f"""
        DELETE FROM {table} WHERE job_id IN (
            SELECT job_id FROM (SELECT job_id, at FROM {table} ORDER BY job_id LIMIT :limit) AS oldest
            WHERE at < now() - make_interval(days => :days)
              AND NOT EXISTS (SELECT FROM job j WHERE j.id = oldest.job_id))
    """)  # noqa: S608 - constants of this file


# One chunk each, oldest first. Events go only once they are folded and their task's jobs are in the archive: those that
# are found by their task, with each end of a job all steps of that job.
_CHUNKS: Mapping[str, TextClause] = {
    "job_event": text(f"""
        WITH folded AS (SELECT below_xid FROM fold_watermark WHERE name = 'counts'), oldest AS (
            SELECT e.xid, e.id, e.job_id FROM production_task t CROSS JOIN LATERAL (
                SELECT xid, id, job_id FROM job_event WHERE task_id = t.id AND ({OF_TASK}) ORDER BY id LIMIT :limit) e
            WHERE t.archived_at IS NOT NULL AND t.ended_at < now() - make_interval(days => :days)
              AND e.xid < (SELECT below_xid FROM folded)
            LIMIT :limit)
        DELETE FROM job_event WHERE (xid, id) IN (
            SELECT xid, id FROM oldest
          UNION
            SELECT e.xid, e.id FROM oldest o JOIN job_event e ON e.job_id = o.job_id
            WHERE e.xid < (SELECT below_xid FROM folded))
    """),  # noqa: S608 - constants
    "job_report": _of_archived_jobs("job_report"),
    "job_tail": _of_archived_jobs("job_tail"),
    "brokerage_round": text("""
        DELETE FROM brokerage_round WHERE id IN (
            SELECT id FROM brokerage_round WHERE at < now() - make_interval(days => :days) ORDER BY id LIMIT :limit)
    """),
    "incident": text("""
        DELETE FROM incident WHERE id IN (
            SELECT id FROM incident WHERE at < now() - make_interval(days => :days) ORDER BY at LIMIT :limit)
    """),
    "worker": text("""
        DELETE FROM worker WHERE (factory, worker_id) IN (
            SELECT factory, worker_id FROM worker WHERE ended_at < now() - make_interval(days => :days)
            ORDER BY ended_at LIMIT :limit)
    """),
    "pending_action": text("""
        DELETE FROM pending_action WHERE id IN (
            SELECT id FROM pending_action WHERE done_at < now() - make_interval(days => :days) ORDER BY id LIMIT :limit)
    """),
}
TABLES = tuple(_CHUNKS)


def prune(connection: Connection, table: str, days: int, limit: int) -> int:
    """Delete rows of one of `TABLES` that are older than so many days; returns how many.

    Up to `limit`, and of events with that many also the other steps of the same jobs: fewer are the last ones.
    """
    return connection.execute(_CHUNKS[table], {"days": days, "limit": limit}).rowcount
