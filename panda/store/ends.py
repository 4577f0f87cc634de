"""How jobs end, and what a failure leaves behind: charged files and a new attempt, in the same transaction.

A retry row takes its parent's ordinal and range; `task_file.failures` alone decides whether there is one. At most one
live row per ordinal exists at any time, because parent's end and retry's birth are one transaction (design section 4).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from panda.domain.states import FINAL_JOB, JobStatus, sources_of

_LIVE = text("""
    SELECT j.id, j.task_id, j.bunch_id, j.ordinal, j.attempt, j.status, j.site_id, j.input_first, j.input_count,
           j.explicit_input, t.cores, t.max_attempts, t.stage, t.events_per_job,
           EXISTS (SELECT 1 FROM task_input i WHERE i.task_id = t.id AND i.role = 'primary') AS has_input
    FROM job j JOIN production_task t ON t.id = j.task_id
    WHERE j.id = ANY(:jobs) AND (j.status IS NULL OR j.status = ANY(CAST(:live AS job_status[])))
    ORDER BY j.id FOR UPDATE OF j
""")

_END = text("""
    WITH old AS (
        SELECT j.id, j.status, CASE WHEN j.status IS NULL THEN b.site_id ELSE j.site_id END AS site_id,
               b.state::text::job_status AS bunch_state
        FROM job j JOIN bunch b ON b.id = j.bunch_id WHERE j.id = ANY(:jobs)
    ), done AS (
        UPDATE job j SET status = CAST(:new AS job_status), site_id = o.site_id
        FROM old o
        WHERE j.id = o.id AND (j.status IS NULL OR j.status = ANY(CAST(:sources AS job_status[])))
        RETURNING j.id, j.task_id, COALESCE(o.status, o.bunch_state) AS before, o.site_id
    ), hand AS (DELETE FROM in_hand h USING done WHERE h.job_id = done.id),
    collect AS (DELETE FROM to_collect c USING done WHERE c.job_id = done.id),
    event AS (
        INSERT INTO job_event (task_id, job_id, cores, from_site, from_state, to_site, to_state, why, who)
        SELECT d.task_id, d.id, t.cores, d.site_id, d.before, d.site_id, CAST(:new AS job_status), :why, :who
        FROM done d JOIN production_task t ON t.id = d.task_id
    )
    SELECT id FROM done ORDER BY id
""")

_LOCK_BUNCHES = text("""
    SELECT id FROM bunch WHERE id IN (SELECT bunch_id FROM job WHERE id = ANY(:jobs) AND status IS NULL)
    ORDER BY id FOR NO KEY UPDATE
""")

_LOCK_READY = text("SELECT job_id FROM ready WHERE job_id = ANY(:jobs) ORDER BY job_id FOR UPDATE")


@dataclass(frozen=True, slots=True)
class Ended:
    """The jobs that really ended now, and the new attempts that were made for them."""

    jobs: tuple[int, ...]
    retries: tuple[int, ...] = ()


def live_jobs(connection: Connection, jobs: list[int]) -> list[RowMapping]:
    """Lock those of the jobs that are not final, in order of id; their bunches and rows in `ready` first."""
    connection.execute(_LOCK_BUNCHES, {"jobs": jobs})
    connection.execute(_LOCK_READY, {"jobs": jobs})
    live = [one.value for one in JobStatus if one not in FINAL_JOB]
    return list(connection.execute(_LIVE, {"jobs": jobs, "live": live}).mappings())


def end_jobs(connection: Connection, jobs: list[int], new: JobStatus, *, why: str, who: str) -> list[int]:
    """Give jobs a final state along the table of transitions; returns those that changed.

    A job that still waited loses its row in `ready` first, so that no pilot gets it meanwhile.
    """
    if not jobs:
        return []
    connection.execute(_LOCK_BUNCHES, {"jobs": jobs})
    connection.execute(_LOCK_READY, {"jobs": jobs})
    connection.execute(text("DELETE FROM ready WHERE job_id = ANY(:jobs)"), {"jobs": jobs})
    connection.execute(text("SELECT id FROM job WHERE id = ANY(:jobs) ORDER BY id FOR UPDATE"), {"jobs": jobs})
    sources = [one.value for one in sources_of(new)]
    ended = connection.execute(
        _END, {"jobs": jobs, "new": new.value, "sources": sources, "why": why[:500], "who": who[:200]}
    )
    changed = list(ended.scalars())
    if changed:
        _close_bunches(connection, changed)
    return changed


def _close_bunches(connection: Connection, jobs: list[int]) -> None:
    connection.execute(
        text("""
            UPDATE bunch b SET open = false
            WHERE b.id IN (SELECT bunch_id FROM job WHERE id = ANY(:jobs)) AND b.open
              AND NOT EXISTS (SELECT 1 FROM job j WHERE j.bunch_id = b.id AND j.status IS NULL)
        """),
        {"jobs": jobs},
    )


def charge(connection: Connection, jobs: list[int], reason: str, files: dict[int, list[int]] | None = None) -> None:
    """Count one failure against the inputs of these jobs: those that `files` names per job, otherwise every one.

    A task without input, or split by events, has a pseudo-input per ordinal (stream 0).
    """
    connection.execute(
        text("""
            INSERT INTO task_file (task_id, stream, ordinal, failures, reason)
            SELECT u.task_id, u.stream, u.ordinal, count(*), :reason FROM (
                SELECT j.task_id, 0 AS stream, j.ordinal FROM job j JOIN production_task t ON t.id = j.task_id
                WHERE j.id = ANY(:jobs) AND (j.input_first IS NULL OR t.events_per_job IS NOT NULL)
                  AND COALESCE(j.explicit_input, false) = false
              UNION ALL
                SELECT j.task_id, 1, f FROM job j JOIN production_task t ON t.id = j.task_id
                CROSS JOIN LATERAL generate_series(j.input_first, j.input_first + j.input_count - 1) AS f
                WHERE j.id = ANY(:jobs) AND j.input_first IS NOT NULL AND t.events_per_job IS NULL
                  AND COALESCE(j.explicit_input, false) = false
              UNION ALL
                SELECT j.task_id, i.stream, i.ordinal FROM job j JOIN job_input i ON i.job_id = j.id
                WHERE j.id = ANY(:jobs) AND COALESCE(j.explicit_input, false)
            ) u
            GROUP BY u.task_id, u.stream, u.ordinal
            ORDER BY u.task_id, u.stream, u.ordinal
            ON CONFLICT (task_id, stream, ordinal) DO UPDATE
            SET failures = task_file.failures + excluded.failures, reason = excluded.reason
        """)
        if files is None
        else _CHARGE_NAMED,
        {"jobs": jobs, "reason": reason[:500]}
        if files is None
        else {
            "owners": [job for job, ordinals in files.items() for _ in ordinals],
            "ordinals": [ordinal for ordinals in files.values() for ordinal in ordinals],
            "reason": reason[:500],
        },
    )


_CHARGE_NAMED = text("""
    INSERT INTO task_file (task_id, stream, ordinal, failures, reason)
    SELECT j.task_id, 1, u.ordinal, count(*), :reason
    FROM unnest(CAST(:owners AS bigint[]), CAST(:ordinals AS int[])) AS u (job_id, ordinal)
    JOIN job j ON j.id = u.job_id
    GROUP BY j.task_id, u.ordinal ORDER BY j.task_id, u.ordinal
    ON CONFLICT (task_id, stream, ordinal) DO UPDATE
    SET failures = task_file.failures + excluded.failures, reason = excluded.reason
""")

_RETRY = text("""
    WITH parent AS (
        SELECT j.*, t.cores, t.max_attempts, t.events_per_job
        FROM job j JOIN production_task t ON t.id = j.task_id
        WHERE j.id = ANY(:jobs) AND t.stage IN ('assigned', 'running')
    ), range_left AS (
        SELECT p.id, count(*) AS n, count(*) FILTER (WHERE COALESCE(f.failures, 0) < p.max_attempts) AS n_left
        FROM parent p
        CROSS JOIN LATERAL (
            SELECT 0 AS stream, p.ordinal AS ordinal
            WHERE (p.input_first IS NULL OR p.events_per_job IS NOT NULL) AND COALESCE(p.explicit_input, false) = false
          UNION ALL
            SELECT 1, o FROM generate_series(p.input_first, p.input_first + p.input_count - 1) AS o
            WHERE p.events_per_job IS NULL AND COALESCE(p.explicit_input, false) = false
          UNION ALL
            SELECT i.stream, i.ordinal FROM job_input i WHERE i.job_id = p.id AND COALESCE(p.explicit_input, false)
        ) u
        LEFT JOIN task_file f ON f.task_id = p.task_id AND f.stream = u.stream AND f.ordinal = u.ordinal
        GROUP BY p.id
    ), counted AS (
        SELECT p.*, (l.n_left < l.n OR COALESCE(p.explicit_input, false)) AS explicit_now,
               (row_number() OVER (PARTITION BY p.task_id ORDER BY p.ordinal) - 1) / :bunch_size AS batch
        FROM parent p JOIN range_left l ON l.id = p.id WHERE l.n_left > 0
    ), chosen AS (
        SELECT *, min(ordinal) OVER (PARTITION BY task_id, batch) AS first_ordinal FROM counted
    ), new_bunch AS (
        INSERT INTO bunch (task_id, first_ordinal, n_jobs)
        SELECT task_id, first_ordinal, count(*) FROM chosen GROUP BY task_id, first_ordinal
        RETURNING id, task_id, first_ordinal, n_jobs
    ), placed AS (
        SELECT c.*, b.id AS new_bunch_id
        FROM chosen c JOIN new_bunch b ON b.task_id = c.task_id AND b.first_ordinal = c.first_ordinal
    ), born AS (
        INSERT INTO job (task_id, bunch_id, parent_id, ordinal, attempt, input_first, input_count, first_event,
                         n_events, needs_id, priority_offset, parameters, explicit_input)
        SELECT task_id, new_bunch_id, id, ordinal, attempt + 1, input_first, input_count, first_event,
               n_events, needs_id, priority_offset, parameters, NULLIF(explicit_now, false)
        FROM placed
        RETURNING id, task_id, bunch_id, parent_id, explicit_input
    ), event AS (
        INSERT INTO job_event (task_id, bunch_id, n, cores, to_state, why, who)
        SELECT b.task_id, b.id, b.n_jobs, t.cores, 'defined', :why, :who
        FROM new_bunch b JOIN production_task t ON t.id = b.task_id
    )
    SELECT id, parent_id, explicit_input FROM born
""")

_EXPLICIT = text("""
    INSERT INTO job_input (job_id, stream, ordinal)
    SELECT n.id, u.stream, u.ordinal
    FROM job n JOIN job p ON p.id = n.parent_id JOIN production_task t ON t.id = n.task_id
    CROSS JOIN LATERAL (
        SELECT 1 AS stream, o AS ordinal FROM generate_series(p.input_first, p.input_first + p.input_count - 1) AS o
        WHERE COALESCE(p.explicit_input, false) = false
      UNION ALL
        SELECT i.stream, i.ordinal FROM job_input i WHERE i.job_id = p.id AND COALESCE(p.explicit_input, false)
    ) u
    LEFT JOIN task_file f ON f.task_id = n.task_id AND f.stream = u.stream AND f.ordinal = u.ordinal
    WHERE n.id = ANY(:jobs) AND COALESCE(f.failures, 0) < t.max_attempts
""")


def retry(connection: Connection, jobs: list[int], *, why: str, who: str, bunch_size: int) -> list[int]:
    """Make the next attempt of jobs that just ended, with the inputs that may still be tried, if any is left."""
    born = connection.execute(
        _RETRY, {"jobs": jobs, "why": why[:500], "who": who[:200], "bunch_size": bunch_size}
    ).all()
    explicit = [row.id for row in born if row.explicit_input]
    if explicit:
        connection.execute(_EXPLICIT, {"jobs": explicit})
    return [row.id for row in born]


_SET = text("""
    WITH old AS (SELECT id, status FROM job WHERE id = ANY(:jobs)
    ), done AS (
        UPDATE job j SET status = CAST(:new AS job_status) FROM old
        WHERE j.id = old.id AND j.status = ANY(CAST(:sources AS job_status[]))
        RETURNING j.id, j.task_id, j.site_id, old.status AS before
    ), event AS (
        INSERT INTO job_event (task_id, job_id, cores, from_site, from_state, to_site, to_state, why, who)
        SELECT d.task_id, d.id, t.cores, d.site_id, d.before, d.site_id, CAST(:new AS job_status), :why, :who
        FROM done d JOIN production_task t ON t.id = d.task_id
    )
    SELECT id FROM done ORDER BY id
""")


def set_status(connection: Connection, jobs: list[int], new: JobStatus, *, why: str, who: str) -> list[int]:
    """Move jobs that pilots or the collector hold along the table; returns those whose state allowed it."""
    connection.execute(text("SELECT id FROM job WHERE id = ANY(:jobs) ORDER BY id FOR UPDATE"), {"jobs": jobs})
    sources = [one.value for one in sources_of(new)]
    moved = connection.execute(
        _SET, {"jobs": jobs, "new": new.value, "sources": sources, "why": why[:500], "who": who[:200]}
    )
    return list(moved.scalars())


def add_errors(connection: Connection, jobs: list[int], errors: list[dict[str, object]]) -> None:
    """Keep the errors with which jobs ended, beside what their pilots reported."""
    if jobs and errors:
        connection.execute(
            text("""
                INSERT INTO job_report (job_id, verdict, errors) SELECT j, 'failed', :errors
                FROM unnest(CAST(:jobs AS bigint[])) AS j
                ON CONFLICT (job_id) DO UPDATE SET errors = excluded.errors
            """).bindparams(bindparam("errors", type_=JSONB)),
            {"jobs": jobs, "errors": errors},
        )
