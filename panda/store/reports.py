"""What pilots report, many at a time: heartbeats, steps of the state, final reports (performance.md 6).

Every statement takes arrays; whoever calls has one report per job in a batch, in the order of the jobs' ids, so that
two batches lock the same rows in the same order.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import Connection

from panda.domain.dispatch import JobUpdate
from panda.domain.states import JOB_CHANGES, JobStatus
from panda.store.prepared import Prepared, numbers, texts

# No lock on the job: a heartbeat changes nothing there, and where the job was ended meanwhile its row here is gone.
_BEAT = Prepared(
    "panda_beat",
    """
    WITH u AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:states AS job_status[]), CAST(:attempts AS int[]),
                             CAST(:leases AS int[]), CAST(:nodes AS text[]), CAST(:batches AS text[]))
            AS u (job_id, state, attempt, lease, node, batch_id)
    )
    UPDATE in_hand h
    SET last_seen = now(), node = COALESCE(u.node, h.node), batch_id = COALESCE(u.batch_id, h.batch_id)
    FROM u JOIN job j ON j.id = u.job_id
    WHERE h.job_id = u.job_id AND j.status = u.state AND j.status IN ('starting', 'running')
      AND (u.attempt IS NULL OR u.attempt = j.attempt) AND (u.lease IS NULL OR u.lease = j.lease)
      AND (u.batch_id IS NULL OR h.batch_id IS NULL OR u.batch_id = h.batch_id)
    RETURNING h.job_id, h.command, h.site_id
""",
)

_LOCK = Prepared(
    "panda_lock_jobs",
    "SELECT id FROM job WHERE id = ANY(CAST(:jobs AS bigint[])) ORDER BY id FOR UPDATE",
)

_READ = Prepared(
    "panda_read_jobs",
    """
    SELECT j.id, j.status, j.attempt, j.lease, j.site_id, h.command, r.body_hash, r.job_id IS NOT NULL, h.batch_id
    FROM job j LEFT JOIN in_hand h ON h.job_id = j.id LEFT JOIN job_report r ON r.job_id = j.id
    WHERE j.id = ANY(CAST(:jobs AS bigint[]))
""",
)

_STEP = Prepared(
    "panda_step",
    """
    WITH u AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:olds AS job_status[]), CAST(:states AS job_status[]),
                             CAST(:whys AS text[]), CAST(:pilots AS text[])) AS u (job_id, old, new, why, who)
    ), done AS (
        UPDATE job j SET status = u.new FROM u WHERE j.id = u.job_id AND j.status = u.old
        RETURNING j.id, j.task_id, j.site_id, u.old, u.new, u.why, u.who
    )
    INSERT INTO job_event (task_id, job_id, cores, from_site, from_state, to_site, to_state, why, who)
    SELECT d.task_id, d.id, t.cores, d.site_id, d.old, d.site_id, d.new, d.why, d.who
    FROM done d JOIN production_task t ON t.id = d.task_id
    RETURNING job_id
""",
)

_SEEN = Prepared(
    "panda_seen",
    """
    UPDATE in_hand h
    SET last_seen = now(), node = COALESCE(u.node, h.node), batch_id = COALESCE(u.batch_id, h.batch_id)
    FROM unnest(CAST(:jobs AS bigint[]), CAST(:nodes AS text[]), CAST(:batches AS text[])) AS u (job_id, node, batch_id)
    WHERE h.job_id = u.job_id
""",
)

_REPORT = Prepared(
    "panda_report",
    """
    WITH gone AS (
        DELETE FROM in_hand WHERE job_id = ANY(CAST(:jobs AS bigint[]))
    )
    INSERT INTO job_report (job_id, verdict, outputs, errors, wall_s, cpu_s, max_rss_kb, n_events, node,
                            started_at, ended_at, timing, body_hash)
    SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:verdicts AS text[]), CAST(:outputs AS jsonb[]),
                         CAST(:errors AS jsonb[]), CAST(:walls AS float8[]), CAST(:cpus AS float8[]),
                         CAST(:memories AS bigint[]), CAST(:events AS bigint[]), CAST(:nodes AS text[]),
                         CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]), CAST(:timings AS text[]),
                         CAST(:hashes AS text[]))
    ON CONFLICT (job_id) DO NOTHING
""",
)

# All that the usual end of a job changes, in one statement: what `_LOCK`, `_READ`, `_REPORT`, `_STEP` and `_COLLECT` do
# of a job that runs and has no report, where attempt, lease and batch job are those it was handed out with.
_FINISH = Prepared(
    "panda_finish",
    """
    WITH u AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:attempts AS int[]), CAST(:leases AS int[]),
                             CAST(:batches AS text[]), CAST(:pilots AS text[]), CAST(:verdicts AS text[]),
                             CAST(:outputs AS jsonb[]), CAST(:errors AS jsonb[]), CAST(:walls AS float8[]),
                             CAST(:cpus AS float8[]), CAST(:memories AS bigint[]), CAST(:events AS bigint[]),
                             CAST(:nodes AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]),
                             CAST(:timings AS text[]), CAST(:hashes AS text[]))
            AS u (job_id, attempt, lease, batch_id, who, verdict, outputs, errors, wall_s, cpu_s, max_rss_kb, n_events,
                  node, started_at, ended_at, timing, body_hash)
    ), done AS (
        UPDATE job j SET status = 'holding' FROM u
        WHERE j.id = u.job_id AND j.status = 'running' AND (u.attempt IS NULL OR u.attempt = j.attempt)
          AND (u.lease IS NULL OR u.lease = j.lease)
          AND NOT EXISTS (SELECT FROM in_hand h WHERE h.job_id = u.job_id AND h.batch_id <> u.batch_id)
          AND NOT EXISTS (SELECT FROM job_report r WHERE r.job_id = u.job_id)
        RETURNING j.task_id, j.site_id, u.*
    ), gone AS (
        DELETE FROM in_hand h USING done d WHERE h.job_id = d.job_id
    ), kept AS (
        INSERT INTO job_report (job_id, verdict, outputs, errors, wall_s, cpu_s, max_rss_kb, n_events, node,
                                started_at, ended_at, timing, body_hash)
        SELECT job_id, verdict, outputs, errors, wall_s, cpu_s, max_rss_kb, n_events, node, started_at, ended_at,
               timing, body_hash FROM done
        ON CONFLICT (job_id) DO NOTHING
    ), listed AS (
        INSERT INTO to_collect (job_id, state) SELECT job_id, 'holding' FROM done
        ON CONFLICT (job_id) DO UPDATE SET state = excluded.state, next_at = now(),
            since = CASE WHEN to_collect.state = excluded.state THEN to_collect.since ELSE now() END
    ), told AS (
        INSERT INTO job_event (task_id, job_id, cores, from_site, from_state, to_site, to_state, why, who)
        SELECT d.task_id, d.job_id, t.cores, d.site_id, 'running', d.site_id, 'holding', 'reported ' || d.verdict, d.who
        FROM done d JOIN production_task t ON t.id = d.task_id
    )
    SELECT job_id, site_id FROM done
""",
)

_TAILS = Prepared(
    "panda_tails",
    """
    INSERT INTO job_tail (job_id, text)
    SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:tails AS text[]))
    ON CONFLICT (job_id) DO UPDATE SET at = now(), text = excluded.text
""",
)

_COLLECT = Prepared(
    "panda_collect",
    """
    INSERT INTO to_collect (job_id, state)
    SELECT u.job_id, 'holding' FROM unnest(CAST(:jobs AS bigint[])) AS u (job_id) ORDER BY 1
    ON CONFLICT (job_id) DO UPDATE SET state = excluded.state, next_at = now(),
        since = CASE WHEN to_collect.state = excluded.state THEN to_collect.since ELSE now() END
""",
)


class Held(NamedTuple):
    """A job as a report finds it, locked."""

    id: int
    status: str | None
    attempt: int
    lease: int
    site_id: int | None
    command: str | None
    body_hash: str | None
    reported: bool
    batch_id: str | None


class Beat(NamedTuple):
    """The answer to a heartbeat that changed nothing but the time of the last sign of life."""

    job_id: int
    command: str | None
    site_id: int


class Step(NamedTuple):
    """A change of one job's state from the one it was read in, with its reason."""

    job_id: int
    old: JobStatus
    new: JobStatus
    why: str
    who: str

    @property
    def is_allowed(self) -> bool:
        """Whether the table of states has it."""
        return self.new in JOB_CHANGES.get(self.old, frozenset())


def beat(connection: Connection, news: Sequence[JobUpdate]) -> list[Beat]:
    """Note the signs of life of jobs whose state, attempt and lease are what their pilots say; the others are left out.

    Two such batches take their rows in the order of the jobs' ids: a nested loop keeps the order it is given.
    """
    rows = _BEAT.run(
        connection,
        jobs=numbers([one.job_id for one in news]),
        states=texts([one.status for one in news]),
        attempts=numbers([one.attempt for one in news]),
        leases=numbers([one.lease for one in news]),
        nodes=texts([one.node for one in news]),
        batches=texts([one.batch_id for one in news]),
    )
    return list(map(Beat._make, rows))


def lock(connection: Connection, jobs: Sequence[int]) -> dict[int, Held]:
    """Lock jobs, in the order of their ids, to look at reports on them; one that never was is not among them.

    They are read by a statement of its own after the lock: a kill that held the lock before has left its command.
    """
    ids = numbers(jobs)
    _LOCK.run(connection, jobs=ids)
    return {row[0]: Held._make(row) for row in _READ.run(connection, jobs=ids)}


def step(connection: Connection, steps: Sequence[Step]) -> set[int]:
    """Move jobs along the table of states; returns those whose state allowed it."""
    good = [one for one in steps if one.is_allowed]
    if not good:
        return set()
    rows = _STEP.run(
        connection,
        jobs=numbers(one.job_id for one in good),
        olds=texts(one.old.value for one in good),
        states=texts(one.new.value for one in good),
        whys=texts(one.why[:500] for one in good),
        pilots=texts(one.who[:200] for one in good),
    )
    return {row[0] for row in rows}


def seen(connection: Connection, news: Sequence[JobUpdate]) -> None:
    """Note signs of life of the pilots that hold jobs."""
    if news:
        _SEEN.run(
            connection,
            jobs=numbers(one.job_id for one in news),
            nodes=texts(one.node for one in news),
            batches=texts(one.batch_id for one in news),
        )


def keep(connection: Connection, news: Sequence[JobUpdate]) -> None:
    """Store the first final report of each of these jobs; no pilot holds them any more."""
    if news:
        _REPORT.run(connection, **_columns(news))


def finish(connection: Connection, news: Sequence[JobUpdate], who: Sequence[str]) -> dict[int, int]:
    """Take reports that running jobs finished, as their pilots `who` say; returns the sites of those that ran.

    The others are left as they are: another statement looks at why.
    """
    rows = _FINISH.run(
        connection,
        attempts=numbers([one.attempt for one in news]),
        leases=numbers([one.lease for one in news]),
        batches=texts([one.batch_id for one in news]),
        pilots=texts([one[:200] for one in who]),
        **_columns(news),
    )
    return dict(rows)


def _columns(news: Sequence[JobUpdate]) -> dict[str, str]:
    """Final reports as the columns of the table."""
    return {
        "jobs": numbers([one.job_id for one in news]),
        "verdicts": texts([one.status.value for one in news]),
        "outputs": texts([orjson.dumps(_outputs(one)).decode() for one in news]),
        "errors": texts([orjson.dumps(_errors(one)).decode() for one in news]),
        "walls": numbers([one.wall_s for one in news]),
        "cpus": numbers([one.cpu_s for one in news]),
        "memories": numbers([one.max_rss_kb for one in news]),
        "events": numbers([one.n_events for one in news]),
        "nodes": texts([one.node for one in news]),
        "starts": texts([None if one.started_at is None else one.started_at.isoformat() for one in news]),
        "ends": texts([None if one.ended_at is None else one.ended_at.isoformat() for one in news]),
        "timings": texts([one.timing for one in news]),
        "hashes": texts([one.body_hash for one in news]),
    }


def keep_tails(connection: Connection, news: Sequence[JobUpdate]) -> None:
    """Store what payloads printed last, in place of what was told before."""
    if news:
        _TAILS.run(connection, jobs=numbers(one.job_id for one in news), tails=texts(one.stdout for one in news))


def collect(connection: Connection, jobs: Collection[int]) -> None:
    """Put holding jobs on the collector's list; one that is there already is looked at again now."""
    if jobs:
        _COLLECT.run(connection, jobs=numbers(jobs))


def _outputs(update: JobUpdate) -> Mapping[str, object]:
    return {
        one.lfn: {
            "guid": one.guid,
            "bytes": one.bytes,
            "adler32": one.adler32,
            "rse": one.rse,
            "events": one.events,
        }
        for one in update.outputs or ()
    }


def _errors(update: JobUpdate) -> list[dict[str, object]]:
    return [{"component": one.component, "code": one.code, "text": one.text[:500]} for one in update.errors]
