"""SQL of `why`: the stored facts that explain where a task, bunch or job stands; changes nothing and locks nothing."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from panda.store.files import CONTENTS

COUNT_UP_TO = 10_000
"""Whether ten thousand jobs or more are in front makes no difference to a reader, but to the database."""


def cloud_decision(connection: Connection, task_id: int) -> RowMapping | None:
    """Read the last decision on a task's cloud."""
    return _first(
        connection,
        """
        SELECT d.at, d.chosen, d.reason, d.decision FROM brokerage_decision d
        WHERE d.task_id = :id AND d.bunch_id IS NULL ORDER BY d.id DESC LIMIT 1
        """,
        id=task_id,
    )


def site_decision(connection: Connection, bunch_id: int) -> RowMapping | None:
    """Read the last decision on a bunch's site."""
    return _first(
        connection,
        """
        SELECT d.at, d.chosen, d.reason, d.decision FROM brokerage_decision d
        WHERE d.bunch_id = :id ORDER BY d.id DESC LIMIT 1
        """,
        id=bunch_id,
    )


def last_site_decision(connection: Connection, task_id: int) -> RowMapping | None:
    """What did the last brokerage of any bunch of a task decide?"""
    return _first(
        connection,
        """
        SELECT bunch_id, chosen, decision, at FROM brokerage_decision
        WHERE task_id = :task AND bunch_id IS NOT NULL ORDER BY id DESC LIMIT 1
        """,
        task=task_id,
    )


def last_round(connection: Connection, task_id: int, at: datetime | None = None) -> RowMapping | None:
    """What did the last brokerage of a task or of its bunches look at, or the last one until `at`?"""
    return _first(
        connection,
        """
        SELECT r.kind, r.at, r.snapshot FROM brokerage_decision d JOIN brokerage_round r ON r.id = d.round_id
        WHERE d.task_id = :id AND (CAST(:at AS timestamptz) IS NULL OR r.at <= :at) ORDER BY d.id DESC LIMIT 1
        """,
        id=task_id,
        at=at,
    )


def bunch_groups(connection: Connection, task_id: int) -> list[RowMapping]:
    """Group a task's open bunches by state, site and what they wait for; the oldest of each stands for its group."""
    return _all(
        connection,
        """
        SELECT b.state, s.name AS site, b.waits_for, count(*) AS bunches, sum(waiting.n)::bigint AS jobs,
               min(b.since) AS since, (array_agg(b.id ORDER BY b.since, b.id))[1] AS oldest
        FROM bunch b LEFT JOIN site s ON s.id = b.site_id
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM job j WHERE j.bunch_id = b.id AND j.status IS NULL) waiting
        WHERE b.task_id = :id AND b.open AND waiting.n > 0
        GROUP BY b.state, s.name, b.waits_for ORDER BY b.state, s.name, min(b.id)
        """,
        id=task_id,
    )


def missing_blocks(connection: Connection, bunch_id: int) -> list[RowMapping]:
    """Tell which blocks of its generation a bunch still waits for."""
    return _all(
        connection,
        """
        SELECT k.id, k.name, k.rse, k.state, k.created_at, k.since, k.n_files, k.bytes, k.transfer_id, k.error
        FROM bunch b JOIN bunch_block bb ON bb.bunch_id = b.id AND bb.generation = b.generation
        JOIN block k ON k.id = bb.block_id
        WHERE b.id = :id AND k.kind = 'dis' AND k.state <> 'complete' ORDER BY k.id
        """,
        id=bunch_id,
    )


def output_blocks(connection: Connection, task_id: int, bunch_id: int | None) -> list[RowMapping]:
    """Tell which sub-datasets of a task (or of one bunch) have not arrived at the cloud's T1."""
    return _all(
        connection,
        f"""
        SELECT k.id, k.name, k.rse, k.state, k.created_at, k.since, contents.n_files, contents.bytes, k.transfer_id,
               k.error
        FROM block k {CONTENTS}
        WHERE k.task_id = :id AND k.kind = 'sub' AND k.state IN ('planned', 'requested', 'stuck')
          AND (CAST(:bunch AS bigint) IS NULL OR k.bunch_id = :bunch) ORDER BY k.id
        """,  # noqa: S608 - a constant
        id=task_id,
        bunch=bunch_id,
    )


def next_ready(connection: Connection, bunch_id: int) -> RowMapping | None:
    """Read the first job of a bunch that is ready for a pilot, its class, and how many of its class go before it."""
    return _first(
        connection,
        f"""
        SELECT r.job_id, r.class_id, r.priority, n.label, n.share, n.vo, n.processing_type, n.release, n.architecture,
               n.memory_mb, n.disk_mb, n.cores, n.work_hs23_s, n.wall_s, n.in_container, ahead.n AS ahead
        FROM ready r JOIN job j ON j.id = r.job_id
        JOIN requirement_class c ON c.id = r.class_id JOIN needs n ON n.id = c.needs_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS n FROM (
                SELECT 1 FROM ready x
                WHERE x.class_id = r.class_id AND (-x.priority, x.job_id) < (-r.priority, r.job_id)
                LIMIT {COUNT_UP_TO}
            ) few
        ) ahead
        WHERE j.bunch_id = :id ORDER BY r.priority DESC, r.job_id LIMIT 1
        """,  # noqa: S608 - the number is a constant
        id=bunch_id,
    )


def pilots_seen(connection: Connection, site_id: int) -> RowMapping:
    """Tell when a pilot last asked for work at a site, and how many nodes did so in 3 hours (domain.md 2.2)."""
    return connection.execute(
        text("""
            SELECT max(last_get_job) AS last_get_job, max(last_update_job) AS last_update_job,
                   count(*) FILTER (WHERE GREATEST(last_get_job, last_update_job) > now() - interval '3 h') AS nodes
            FROM pilot_activity WHERE site_id = :id
        """),
        {"id": site_id},
    ).mappings().one()  # fmt: skip


def site_of_bunch(connection: Connection, bunch_id: int) -> RowMapping | None:
    """Read the site a bunch was brokered to."""
    return _first(
        connection,
        "SELECT s.id, s.name, s.status, s.comment FROM bunch b JOIN site s ON s.id = b.site_id WHERE b.id = :id",
        id=bunch_id,
    )


def in_hand_of(connection: Connection, task_id: int) -> list[RowMapping]:
    """Tell how many of a task's jobs pilots hold, per queue, and when the quietest was last heard of."""
    return _all(
        connection,
        """
        SELECT h.queue, count(*) AS n, min(h.last_seen) AS quietest
        FROM in_hand h JOIN job j ON j.id = h.job_id WHERE j.task_id = :id GROUP BY h.queue ORDER BY h.queue
        """,
        id=task_id,
    )


def to_collect_of(connection: Connection, task_id: int) -> list[RowMapping]:
    """Tell how many of a task's jobs are holding or transferring, and since when the oldest."""
    return _all(
        connection,
        """
        SELECT c.state, count(*) AS n, min(c.since) AS since,
               count(*) FILTER (WHERE r.job_id IS NULL) AS without_report
        FROM to_collect c JOIN job j ON j.id = c.job_id LEFT JOIN job_report r ON r.job_id = c.job_id
        WHERE j.task_id = :id GROUP BY c.state ORDER BY c.state
        """,
        id=task_id,
    )


def failures(connection: Connection, task_id: int, limit: int) -> list[RowMapping]:
    """Tell the commonest reasons why jobs of a task failed or were replaced."""
    return _all(
        connection,
        """
        SELECT e.to_state AS status, COALESCE(e.why, 'no reason given') AS why, sum(e.n)::bigint AS n, max(e.at) AS last
        FROM job_event e WHERE e.task_id = :id AND e.to_state IN ('failed', 'closed', 'cancelled')
        GROUP BY e.to_state, e.why ORDER BY sum(e.n) DESC, max(e.at) DESC LIMIT :limit
        """,
        id=task_id,
        limit=limit,
    )


def charged_files(connection: Connection, task_id: int) -> RowMapping:
    """Tell how many inputs of a task have failed before, and how many are given up."""
    return connection.execute(
        text("""
            SELECT count(*) FILTER (WHERE f.failures > 0) AS failed,
                   count(*) FILTER (WHERE f.failures >= t.max_attempts OR f.state <> 'live') AS given_up
            FROM task_file f JOIN production_task t ON t.id = f.task_id WHERE f.task_id = :id
        """),
        {"id": task_id},
    ).mappings().one()  # fmt: skip


def collected(connection: Connection, job_id: int) -> RowMapping | None:
    """Read where a job stands on the collector's list."""
    return _first(
        connection,
        """
        SELECT c.state, c.since, c.next_at, r.job_id IS NOT NULL AS reported
        FROM to_collect c LEFT JOIN job_report r ON r.job_id = c.job_id WHERE c.job_id = :id
        """,
        id=job_id,
    )


def _first(connection: Connection, statement: str, **values: object) -> RowMapping | None:
    return connection.execute(text(statement), values).mappings().first()


def _all(connection: Connection, statement: str, **values: object) -> list[RowMapping]:
    return list(connection.execute(text(statement), values).mappings())
