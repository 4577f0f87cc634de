"""Bunches on their way to a site: what brokerage sees of them, the site they get, and the way back (re-brokerage)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB


def lock_cloud(connection: Connection, cloud: str) -> None:
    """Hold a cloud's brokerage from snapshot to commit (design section 4, "Brokerage rounds")."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('cloud:' || :cloud, 0))"), {"cloud": cloud})


def bunches_to_place(connection: Connection, task_id: int, limit: int) -> list[RowMapping]:
    """Which bunches of a task have no site yet, and what do they hold and need?"""
    rows = connection.execute(
        text("""
            SELECT b.id, b.task_id, b.generation, count(j.id) AS n_jobs, sum(COALESCE(j.input_count, 0)) AS n_files,
                   min(j.input_first) AS input_first, max(j.input_first + j.input_count) AS input_end,
                   bool_or(COALESCE(j.explicit_input, false)) AS explicit
            FROM bunch b JOIN job j ON j.bunch_id = b.id AND j.status IS NULL
            WHERE b.task_id = :task AND b.open AND b.state IN ('defined', 'waiting')
            GROUP BY b.id ORDER BY b.id LIMIT :limit
        """),
        {"task": task_id, "limit": limit},
    )
    return list(rows.mappings())


@dataclass(frozen=True, slots=True)
class Placed:
    """A bunch and the site brokerage chose for it, with the decision's row."""

    bunch_id: int
    site_id: int
    decision_id: int


_ASSIGN = text("""
    WITH p AS (
        SELECT * FROM unnest(CAST(:bunches AS bigint[]), CAST(:sites AS int[]), CAST(:decisions AS bigint[]))
            AS u (bunch_id, site_id, decision_id)
    ), a AS (
        UPDATE bunch b SET state = 'assigned', since = now(), site_id = p.site_id, decision_id = p.decision_id,
               staged = false, waits_for = NULL
        FROM p, bunch old WHERE b.id = p.bunch_id AND old.id = b.id AND b.state IN ('defined', 'waiting')
        RETURNING b.id, b.task_id, b.site_id, old.state AS before
    ), e AS (
        INSERT INTO job_event (task_id, bunch_id, n, cores, from_state, to_site, to_state, why, who)
        SELECT a.task_id, a.id, count(j.id), t.cores, a.before::text::job_status, a.site_id, 'assigned', :why,
               'brokerage'
        FROM a JOIN production_task t ON t.id = a.task_id JOIN job j ON j.bunch_id = a.id AND j.status IS NULL
        GROUP BY a.id, a.task_id, a.before, a.site_id, t.cores
    )
    SELECT id FROM a
""")


def assign(connection: Connection, placed: Sequence[Placed], why: str) -> list[int]:
    """Give bunches their sites; returns those that still waited for one.

    The locks are taken by a statement of its own, so that the jobs counted are those that live once they are held.
    """
    if not placed:
        return []
    bunches = [one.bunch_id for one in placed]
    connection.execute(
        text("SELECT id FROM bunch WHERE id = ANY(:bunches) ORDER BY id FOR NO KEY UPDATE"), {"bunches": bunches}
    )
    rows = connection.execute(
        _ASSIGN,
        {
            "bunches": bunches,
            "sites": [one.site_id for one in placed],
            "decisions": [one.decision_id for one in placed],
            "why": why,
        },
    )
    return list(rows.scalars())


def waits_for(connection: Connection, bunches: Sequence[int]) -> dict[int, str | None]:
    """What do these bunches wait for, by what their last rounds said?"""
    rows = connection.execute(text("SELECT id, waits_for FROM bunch WHERE id = ANY(:ids)"), {"ids": list(bunches)})
    return {row.id: row.waits_for for row in rows}


def set_waiting(connection: Connection, reasons: dict[int, str]) -> None:
    """Say of bunches without a site what they wait for; their state stays (a later round tries again)."""
    for bunch, reason in sorted(reasons.items()):
        connection.execute(
            text("UPDATE bunch SET waits_for = :reason WHERE id = :bunch AND state IN ('defined', 'waiting')"),
            {"bunch": bunch, "reason": reason[:1000]},
        )


_REBROKER = text("""
    WITH a AS (
        UPDATE bunch b SET state = 'defined', since = now(), site_id = NULL, generation = generation + 1,
               staged = false, decision_id = NULL, waits_for = :why
        FROM (SELECT id, state, site_id FROM bunch WHERE id = ANY(:bunches)) o
        WHERE b.id = o.id AND b.state IN ('assigned', 'activated')
        RETURNING b.id, b.task_id, o.state AS before, o.site_id AS from_site
    )
    INSERT INTO job_event (task_id, bunch_id, n, cores, from_site, from_state, to_state, why, who)
    SELECT a.task_id, a.id, count(j.id), t.cores, a.from_site, a.before::text::job_status, 'defined', :why, :who
    FROM a JOIN production_task t ON t.id = a.task_id JOIN job j ON j.bunch_id = a.id AND j.status IS NULL
    GROUP BY a.id, a.task_id, a.before, a.from_site, t.cores
    RETURNING bunch_id
""")


def rebroker(connection: Connection, bunches: Sequence[int], *, why: str, who: str) -> list[int]:
    """Take bunches back from their site; jobs that a pilot already holds go on, the others get a new decision."""
    wanted = {"bunches": sorted(bunches)}
    connection.execute(text("SELECT id FROM bunch WHERE id = ANY(:bunches) ORDER BY id FOR UPDATE"), wanted)
    connection.execute(
        text("DELETE FROM ready WHERE job_id IN (SELECT id FROM job WHERE bunch_id = ANY(:bunches))"), wanted
    )
    return list(connection.execute(_REBROKER, wanted | {"why": why[:500], "who": who[:200]}).scalars())


def add_round(
    connection: Connection, *, kind: str, cloud: str | None, seed: int, snapshot: object, thresholds: object
) -> int:
    """Store the snapshot of one brokerage round, so that its decisions can be replayed."""
    statement = text("""
        INSERT INTO brokerage_round (kind, cloud, seed, snapshot, thresholds)
        VALUES (:kind, :cloud, :seed, :snapshot, :thresholds) RETURNING id
    """).bindparams(bindparam("snapshot", type_=JSONB), bindparam("thresholds", type_=JSONB))
    values = {"kind": kind, "cloud": cloud, "seed": seed, "snapshot": snapshot, "thresholds": thresholds}
    number: int = connection.execute(statement, values).scalar_one()
    return number


def add_decision(
    connection: Connection,
    round_id: int,
    *,
    task_id: int,
    bunch_id: int | None,
    chosen: str | None,
    reason: str,
    decision: object,
) -> int:
    """Store one decision with every candidate's refusal."""
    statement = text("""
        INSERT INTO brokerage_decision (round_id, task_id, bunch_id, chosen, reason, decision)
        VALUES (:round, :task, :bunch, :chosen, :reason, :decision) RETURNING id
    """).bindparams(bindparam("decision", type_=JSONB))
    values = {
        "round": round_id,
        "task": task_id,
        "bunch": bunch_id,
        "chosen": chosen,
        "reason": reason[:2000],
        "decision": decision,
    }
    number: int = connection.execute(statement, values).scalar_one()
    return number


def jobs_without_pilot(connection: Connection, bunch_id: int) -> list[int]:
    """Which jobs of a bunch has no pilot got yet?"""
    query = text("SELECT id FROM job WHERE bunch_id = :bunch AND status IS NULL ORDER BY id")
    return list(connection.execute(query, {"bunch": bunch_id}).scalars())
