"""Owns what follows from ended copies: into the catalogue, another try later, or STUCK. One transaction per batch."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, text

from panda.ddm.embedded import attempts, events, holds, replicas
from panda.ddm.embedded.attempts import Ended
from panda.ddm.embedded.claims import Candidate
from panda.ddm.embedded.copier import Outcome
from panda.ddm.embedded.holds import Pairs

SUSPICIOUS_AFTER = 3  # reads with a wrong checksum make a copy no source any more
_LONGEST_ERROR = 1000


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how late a file is tried again."""

    tries: int
    backoff_s: float
    backoff_max_s: float

    def delay(self, tries: int, chance: random.Random) -> float:
        """Seconds to wait after so many failed tries: doubling, between half and all of it by chance."""
        longest: float = min(self.backoff_max_s, self.backoff_s * 2.0 ** min(tries - 1, 30))
        return longest * (0.5 + chance.random() / 2)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed try of a claimed request."""

    request_id: int
    lease: int
    error: str
    source_rse: str | None
    at_once: bool
    seconds: float = 0.0


_LOCK_RUNNING = text("""
    SELECT r.id, r.file_id, r.rse, r.tries FROM ddm.request r
      JOIN unnest(CAST(:ids AS bigint[]), CAST(:leases AS int[])) AS w(id, lease)
           ON w.id = r.id AND w.lease = r.lease
     WHERE r.state = :state ORDER BY r.id FOR UPDATE OF r
""")
_FORGET = text("DELETE FROM ddm.request WHERE id = ANY(:ids)")
_TRY_AGAIN = text("""
    UPDATE ddm.request r SET state = w.state, tries = r.tries + 1, error = w.error, updated_at = now(),
           not_before = now() + w.delay * interval '1 second',
           failed_sources = CASE WHEN w.source IS NULL THEN r.failed_sources
               ELSE jsonb_set(r.failed_sources, ARRAY[w.source],
                              to_jsonb(coalesce(CAST(r.failed_sources ->> w.source AS int), 0) + 1)) END
      FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:errors AS text[]),
                  CAST(:delays AS double precision[]), CAST(:sources AS text[]))
           AS w(id, state, error, delay, source)
     WHERE r.id = w.id
""")
_BLAME = text("""
    UPDATE ddm.replica r SET bad_reads = r.bad_reads + 1,
           state = CASE WHEN r.bad_reads + 1 >= :limit THEN 'SUSPICIOUS' ELSE r.state END
      FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[]), CAST(:rses AS text[])) AS w(scope, name, rse)
      JOIN ddm.file f ON f.scope = w.scope AND f.name = w.name
     WHERE r.file_id = f.id AND r.rse = w.rse AND r.state = 'AVAILABLE'
""")


def record(connection: Connection, outcomes: Sequence[Outcome], patience: Patience, agent: str) -> None:
    """Write down how copies ended. What is no longer ours (cancelled, lease lost) is passed over."""
    good = [o.claim for o in outcomes if not o.error]
    rows = _lock(connection, [c.request_id for c in good], [c.lease for c in good], "RUNNING")
    by_id = {o.claim.request_id: o for o in outcomes}
    ended = [(row, by_id[row.id]) for row in rows]
    attempts.note(connection, [Ended(r.id, r.tries + 1, o.claim.source_rse, "", o.seconds) for r, o in ended])
    happenings = complete(connection, rows, agent)
    bad = [o for o in outcomes if o.error]
    failures = [
        Failure(o.claim.request_id, o.claim.lease, o.error, o.claim.source_rse, o.claim.other_sources, o.seconds)
        for o in bad
    ]
    happenings += fail(connection, failures, "RUNNING", patience)
    _blame(connection, [o for o in bad if o.wrong_content])
    events.write(connection, happenings)


def settle_present(connection: Connection, present: Sequence[Candidate]) -> list[events.Happening]:
    """Finish requests whose copy is in the catalogue already; they are locked by the claim."""
    rows = _lock(connection, [c.id for c in present], [c.lease for c in present], "QUEUED")
    return _finish(connection, rows)


def fail_sourceless(
    connection: Connection, sourceless: Sequence[Candidate], patience: Patience
) -> list[events.Happening]:
    """Count a failed try of requests that no readable copy can serve now."""
    failures = [Failure(c.id, c.lease, _no_source(c), None, at_once=False) for c in sourceless]
    return fail(connection, failures, "QUEUED", patience)


def _no_source(candidate: Candidate) -> str:
    where = f" at {candidate.source_only}" if candidate.source_only else ""
    return f"no readable copy of {candidate.did} exists{where}"


def _lock(
    connection: Connection, ids: Sequence[int], leases: Sequence[int], state: str
) -> Sequence[Row[tuple[object, ...]]]:
    if not ids:
        return []
    return connection.execute(_LOCK_RUNNING, {"ids": list(ids), "leases": list(leases), "state": state}).all()


def complete(connection: Connection, rows: Sequence[Row[tuple[object, ...]]], agent: str) -> list[events.Happening]:
    """Enter new copies into the catalogue and finish their requests."""
    replicas.place(connection, _pairs(rows), transferred=True, written_by=agent)
    return _finish(connection, rows)


def _finish(connection: Connection, rows: Sequence[Row[tuple[object, ...]]]) -> list[events.Happening]:
    if not rows:
        return []
    connection.execute(_FORGET, {"ids": [row.id for row in rows]})
    return holds.arrived(connection, _pairs(rows))


def _pairs(rows: Sequence[Row[tuple[object, ...]]]) -> Pairs:
    return Pairs([row.file_id for row in rows], [row.rse for row in rows])


def fail(connection: Connection, failures: Sequence[Failure], state: str, patience: Patience) -> list[events.Happening]:
    """Count failed tries: queued again at once (another source), later, or STUCK after the last."""
    rows = _lock(connection, [f.request_id for f in failures], [f.lease for f in failures], state)
    if not rows:
        return []
    why = {f.request_id: f for f in failures}
    attempts.note(connection, [_ended(why[row.id], row.tries + 1) for row in rows])
    chance = random.SystemRandom()
    stuck = [row for row in rows if row.tries + 1 >= patience.tries]
    again = [row for row in rows if row.tries + 1 < patience.tries]
    connection.execute(
        _TRY_AGAIN,
        {
            "ids": [row.id for row in rows],
            "states": ["STUCK" if row.tries + 1 >= patience.tries else "QUEUED" for row in rows],
            "errors": [why[row.id].error[:_LONGEST_ERROR] for row in rows],
            "delays": [0.0 if why[row.id].at_once else patience.delay(row.tries + 1, chance) for row in rows],
            "sources": [why[row.id].source_rse for row in rows],
        },
    )
    errors = {row.file_id: why[row.id].error[:_LONGEST_ERROR] for row in rows}
    holds.note_errors(connection, _pairs(again), errors)
    return holds.stuck(connection, _pairs(stuck), errors)


def _ended(failure: Failure, number: int) -> Ended:
    return Ended(failure.request_id, number, failure.source_rse, failure.error[:_LONGEST_ERROR], failure.seconds)


def _blame(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        return
    connection.execute(
        _BLAME,
        {
            "limit": SUSPICIOUS_AFTER,
            "scopes": [o.claim.did.scope for o in outcomes],
            "names": [o.claim.did.name for o in outcomes],
            "rses": [o.claim.source_rse for o in outcomes],
        },
    )
