"""Reports and outputs: what pilots said at the end of a job, what was registered, what still has to arrive."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text

from panda.domain.states import JobStatus


def queue_for_collection(connection: Connection, jobs: Sequence[int], state: str) -> None:
    """Put jobs on the collector's list; one that is there already is looked at again now."""
    connection.execute(
        text("""
            INSERT INTO to_collect (job_id, state)
            SELECT u.job_id, CAST(:state AS job_status) FROM unnest(CAST(:jobs AS bigint[])) AS u (job_id) ORDER BY 1
            ON CONFLICT (job_id) DO UPDATE SET state = excluded.state, next_at = now(),
                since = CASE WHEN to_collect.state = excluded.state THEN to_collect.since ELSE now() END
        """),
        {"jobs": list(jobs), "state": state},
    )


_CLAIM = """
    WITH due AS (
        SELECT c.job_id FROM to_collect c {reported}
        WHERE c.state = CAST(:state AS job_status) AND c.next_at <= now()
        ORDER BY c.next_at LIMIT :limit FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE to_collect c SET next_at = now() + make_interval(secs => :again) FROM due WHERE c.job_id = due.job_id
    RETURNING c.job_id, EXTRACT(epoch FROM now() - c.since) AS age
"""
# Each job is looked up by itself (OFFSET 0): as a condition it made the planner read all reports there ever were.
_CLAIM_REPORTED = text(
    _CLAIM.format(
        reported="CROSS JOIN LATERAL (SELECT 1 FROM job_report r WHERE r.job_id = c.job_id OFFSET 0) AS report"
    )
)
_CLAIM_ANY = text(_CLAIM.format(reported=""))


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job the collector took, and for how many seconds it has been in its state."""

    job_id: int
    age_s: float


def claim(connection: Connection, state: str, limit: int, again_s: float) -> list[Claimed]:
    """Take the collector's next jobs, of the holding ones those with a report.

    If this process dies, others see them again after `again_s` seconds.
    """
    statement = _CLAIM_REPORTED if state == JobStatus.HOLDING else _CLAIM_ANY
    rows = connection.execute(statement, {"state": state, "limit": limit, "again": again_s})
    return [Claimed(row.job_id, float(row.age)) for row in rows]


def again(connection: Connection, jobs: Mapping[int, float]) -> None:
    """Look at these jobs again after so many seconds each."""
    if jobs:
        connection.execute(
            text("""
                UPDATE to_collect c SET next_at = now() + make_interval(secs => u.later)
                FROM unnest(CAST(:jobs AS bigint[]), CAST(:later AS float[])) AS u (job_id, later)
                WHERE c.job_id = u.job_id
            """),
            {"jobs": list(jobs), "later": list(jobs.values())},
        )


def hurry_transferring(connection: Connection, transfers: Sequence[str]) -> int:
    """Look at once at the transferring jobs whose sub-dataset one of these transfers carries.

    Jobs that the collector is just looking at are passed over: it would wait for us, and we for it.
    """
    return connection.execute(
        text("""
            UPDATE to_collect SET next_at = now() WHERE job_id IN (
                SELECT c.job_id FROM block k JOIN job j ON j.bunch_id = k.bunch_id JOIN to_collect c ON c.job_id = j.id
                WHERE k.transfer_id = ANY(:transfers) AND k.kind = 'sub' AND c.state = 'transferring'
                FOR UPDATE OF c SKIP LOCKED)
        """),
        {"transfers": list(transfers)},
    ).rowcount


_HOLDING = text("""
    SELECT j.id, j.task_id, j.bunch_id, j.ordinal, j.attempt, j.site_id, j.first_event, j.n_events, j.lease,
           s.rse, s.name AS site, r.verdict, r.outputs, r.errors, r.n_events AS events_done,
           t.outputs AS expected, t.ddm_mode, t.seed, t.cloud, t.stage, t.bunch_size, t1.rse AS home_rse
    FROM job j JOIN job_report r ON r.job_id = j.id
    JOIN production_task t ON t.id = j.task_id
    JOIN site s ON s.id = j.site_id
    LEFT JOIN cloud c ON c.name = t.cloud LEFT JOIN site t1 ON t1.name = c.tier1
    WHERE j.id = ANY(:jobs) AND j.status = 'holding'
    ORDER BY j.id
""")


def holding_jobs(connection: Connection, jobs: Sequence[int]) -> list[RowMapping]:
    """Read reports of holding jobs with what their task expects of them."""
    return list(connection.execute(_HOLDING, {"jobs": list(jobs)}).mappings())


@dataclass(frozen=True, slots=True)
class OutputRow:
    """One output of a job as it is registered."""

    job_id: int
    place: int
    dataset_id: int
    scope: str
    lfn: str
    guid: str | None
    bytes: int | None
    adler32: str | None
    events: int | None
    rse: str | None
    state: str


def add_outputs(connection: Connection, rows: Sequence[OutputRow]) -> None:
    """Store the outputs of jobs that ended; a repetition changes nothing."""
    if rows:
        connection.execute(
            text("""
                INSERT INTO job_output (job_id, place, dataset_id, scope, lfn, guid, bytes, adler32, events, rse, state)
                SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS u (job_id bigint, place smallint,
                    dataset_id int, scope text, lfn text, guid text, bytes bigint, adler32 text, events int,
                    rse text, state text)
                ON CONFLICT (job_id, place) DO NOTHING
            """),
            {"rows": json.dumps([{name: getattr(one, name) for name in one.__slots__} for one in rows])},
        )


def outputs_of(connection: Connection, jobs: Sequence[int]) -> list[RowMapping]:
    """Read the registered outputs of jobs with the home RSE of their cloud."""
    return list(
        connection.execute(
            text("""
                SELECT o.*, t1.rse AS home_rse FROM job_output o JOIN job j ON j.id = o.job_id
                JOIN production_task t ON t.id = j.task_id
                LEFT JOIN cloud c ON c.name = t.cloud LEFT JOIN site t1 ON t1.name = c.tier1
                WHERE o.job_id = ANY(:jobs) ORDER BY o.job_id, o.place
            """),
            {"jobs": list(jobs)},
        ).mappings()
    )


def set_output_state(connection: Connection, jobs: Sequence[int], old: str, new: str) -> None:
    """Move the outputs of jobs on: transferring -> ready (arrived) -> attached (in the output dataset)."""
    connection.execute(
        text("UPDATE job_output SET state = :new WHERE job_id = ANY(:jobs) AND state = :old"),
        {"jobs": list(jobs), "old": old, "new": new},
    )


_TO_ATTACH = text("""
    SELECT o.job_id, o.place, o.scope, o.lfn, o.guid, o.bytes, o.adler32, o.events,
           o.dataset_id, d.name AS dataset, d.scope AS dataset_scope
    FROM job_output o JOIN job j ON j.id = o.job_id JOIN dataset d ON d.id = o.dataset_id
    WHERE o.state = 'ready' AND d.state = 'open'
      AND j.status = ANY(CAST('{finished,failed,cancelled,closed}' AS job_status[]))
      AND (CAST(:task AS bigint) IS NULL OR j.task_id = :task) AND o.dataset_id > :after
    ORDER BY o.dataset_id, j.ordinal, o.place LIMIT :limit
""")


def outputs_to_attach(
    connection: Connection, limit: int, task_id: int | None = None, *, after: int = 0
) -> list[RowMapping]:
    """Which outputs of ended jobs are where they belong, but not yet in their dataset, from after one of these on?"""
    return list(connection.execute(_TO_ATTACH, {"limit": limit, "task": task_id, "after": after}).mappings())


def set_attached(connection: Connection, outputs: Sequence[tuple[int, int]]) -> None:
    """Note that outputs (job, place) are in their datasets."""
    connection.execute(
        text("""
            UPDATE job_output o SET state = 'attached'
            FROM unnest(CAST(:jobs AS bigint[]), CAST(:places AS int[])) AS u (job_id, place)
            WHERE o.job_id = u.job_id AND o.place = u.place AND o.state = 'ready'
        """),
        {"jobs": [job for job, _ in outputs], "places": [place for _, place in outputs]},
    )
