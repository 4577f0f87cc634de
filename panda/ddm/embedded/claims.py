"""Owns which files are copied next, from where: the claim of requests under limits, and the leases on them.

Claims of all agents follow each other under one advisory lock, so that limits hold exactly; requests that somebody is
changing are skipped. A request is claimed with a lease by the database's clock, and its lease number fences late words.

Limits count slots: what is copied at the same time. Small files that would have to wait for a slot of their link join
one and are copied one after the other, so that a thousand log files do not need a thousand claims.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from panda.ddm.embedded import attempts
from panda.ddm.embedded.attempts import Ended
from panda.ddm.embedded.faults import ActiveFaults, Fault
from panda.ddm.embedded.storage import Expected
from panda.ddm.port import Did

_CLAIM_LOCK = 0x64646D_0002
_LOOK_AHEAD = 20  # candidates per free slot: to fill it with small files, and for when sources are at their limit
SMALL_BYTES = 1 << 20
SLOT_BYTES = 8 << 20
SLOT_FILES = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How many slots there are at the same time; a link's and an RSE's own limit goes before."""

    everywhere: int
    per_link: int
    per_rse: int

    def per_rse_of(self, candidate: "Candidate") -> int:
        """How many slots copy into the candidate's RSE at the same time."""
        return self.per_rse if candidate.max_incoming is None else candidate.max_incoming


@dataclass(frozen=True, slots=True)
class Claim:
    """A file to copy now, in a slot with others or alone."""

    request_id: int
    slot: int
    lease: int
    did: Did
    expected: Expected
    source_rse: str
    source_root: str
    target_rse: str
    target_root: str
    other_sources: bool
    bytes_per_second: int | None = None
    faults: Sequence[Fault] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request that may be claimed."""

    id: int
    file_id: int
    rse: str
    root: str
    lease: int
    did: Did
    expected: Expected
    source_only: str | None
    failed_sources: Mapping[str, int]
    max_incoming: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """A copy that can be read."""

    rse: str
    root: str
    distance: int
    max_outgoing: int | None
    max_on_link: int | None
    bytes_per_second: int | None


@dataclass(slots=True)
class Running:
    """How many slots are in use: by source, by destination, by link."""

    out: Counter[str] = field(default_factory=Counter)
    into: Counter[str] = field(default_factory=Counter)
    link: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, source: str, destination: str, count: int = 1) -> None:
        """Count slots of a link."""
        self.out[source] += count
        self.into[destination] += count
        self.link[source, destination] += count


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate with its source and slot; `others` says that another source has not failed yet."""

    candidate: Candidate
    source: Source
    others: bool
    slot: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a round of claiming does: start copies, report what has no source."""

    start: list[Choice]
    sourceless: list[Candidate]


def plan(
    candidates: Sequence[Candidate],
    sources: Mapping[tuple[int, str], Sequence[Source]],
    running: Running,
    limits: Limits,
    places: int,
) -> Plan:
    """Choose sources for candidates, in their order, as long as `places` (slots) and limits allow. Pure.

    The source that failed this request least goes first, then the nearest, then the one with least to do.
    """
    planner = _Planner(running, limits, places)
    sourceless: list[Candidate] = []
    for candidate in candidates:
        possible = sources.get((candidate.file_id, candidate.rse), ())
        if candidate.source_only is not None:
            possible = [source for source in possible if source.rse == candidate.source_only]
        if possible:
            planner.consider(candidate, possible)
        else:
            sourceless.append(candidate)
    return Plan(planner.start, sourceless)


class _Planner:
    """Fills slots with candidates."""

    def __init__(self, running: Running, limits: Limits, places: int) -> None:
        self.start: list[Choice] = []
        self._running = running
        self._limits = limits
        self._places = places
        self._open: dict[tuple[str, str], list[list[Candidate]]] = {}

    def consider(self, candidate: Candidate, possible: Sequence[Source]) -> None:
        """Give a candidate a slot of its own if there is one, or let a small file join one."""
        failed = candidate.failed_sources
        ranked = sorted(possible, key=lambda s: (failed.get(s.rse, 0), s.distance, self._running.out[s.rse], s.rse))
        for source in ranked:
            slot = self._own_slot(candidate, source)
            if slot is None:
                slot = self._shared_slot(candidate, source)
            if slot is not None:
                others = any(other.rse != source.rse and other.rse not in failed for other in possible)
                self.start.append(Choice(candidate, source, others, slot))
                return

    def _own_slot(self, candidate: Candidate, source: Source) -> int | None:
        full = self._limits.per_rse_of(candidate) <= self._running.into[candidate.rse]
        if self._places <= 0 or full or not _has_room(source, candidate.rse, self._running, self._limits):
            return None
        self._places -= 1
        self._running.add(source.rse, candidate.rse)
        self._open.setdefault((source.rse, candidate.rse), []).append([candidate])
        return candidate.id

    def _shared_slot(self, candidate: Candidate, source: Source) -> int | None:
        if candidate.expected.bytes > SMALL_BYTES:
            return None
        fitting = [slot for slot in self._open.get((source.rse, candidate.rse), ()) if _fits(slot, candidate)]
        if not fitting:
            return None
        emptiest = min(fitting, key=len)
        emptiest.append(candidate)
        return emptiest[0].id


def _fits(slot: Sequence[Candidate], candidate: Candidate) -> bool:
    size = sum(other.expected.bytes for other in slot) + candidate.expected.bytes
    return len(slot) < SLOT_FILES and size <= SLOT_BYTES


def _has_room(source: Source, destination: str, running: Running, limits: Limits) -> bool:
    on_link = limits.per_link if source.max_on_link is None else source.max_on_link
    outgoing = limits.per_rse if source.max_outgoing is None else source.max_outgoing
    return running.link[source.rse, destination] < on_link and running.out[source.rse] < outgoing


# Statements ----------------------------------------------------------------------------------------------------------

_TAKE_TURN = text("SELECT pg_advisory_xact_lock(:lock)")
_RUNNING = text("""
    SELECT source_rse, rse, count(DISTINCT slot) AS n FROM ddm.request WHERE state = 'RUNNING' GROUP BY 1, 2
""")
_CANDIDATES = text("""
    SELECT q.id, q.file_id, q.rse, e.root, q.lease, f.scope, f.name, f.bytes, f.adler32, q.source_only,
           q.failed_sources, e.max_incoming
      FROM ddm.rse e
      LEFT JOIN (SELECT rse, count(DISTINCT slot) AS n FROM ddm.request
                  WHERE state = 'RUNNING' GROUP BY rse) busy
             ON busy.rse = e.name
      CROSS JOIN LATERAL (
          SELECT r.* FROM ddm.request r
           WHERE r.rse = e.name AND r.state = 'QUEUED' AND r.not_before <= now()
           ORDER BY r.priority, r.id
           LIMIT least(greatest(coalesce(e.max_incoming, :per_rse) - coalesce(busy.n, 0), 0), :places) * :look_ahead
           FOR UPDATE OF r SKIP LOCKED
      ) q
      JOIN ddm.file f ON f.id = q.file_id
     WHERE e.available_write
     ORDER BY q.priority, q.id
""")
_HERE = text("""
    SELECT r.file_id, r.rse, r.state FROM ddm.replica r
      JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse) USING (file_id, rse)
     WHERE r.state IN ('AVAILABLE', 'DELETING')
""")
_SOURCES = text("""
    SELECT p.file_id, p.rse AS destination, r.rse, e.root, e.max_outgoing, l.max_running, l.bytes_per_second,
           coalesce(l.distance, 1) AS distance
      FROM unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse)
      JOIN ddm.replica r ON r.file_id = p.file_id AND r.state = 'AVAILABLE' AND r.rse <> p.rse
      JOIN ddm.rse e ON e.name = r.rse AND e.available_read
      LEFT JOIN ddm.link l ON l.source = r.rse AND l.destination = p.rse
""")
_START = text("""
    UPDATE ddm.request r SET state = 'RUNNING', lease = r.lease + 1, agent_id = :agent_id, source_rse = w.source,
           slot = w.slot,
           lease_until = now() + CAST(:lease_seconds AS double precision) * interval '1 second', updated_at = now()
      FROM unnest(CAST(:ids AS bigint[]), CAST(:sources AS text[]), CAST(:slots AS bigint[]))
           AS w(id, source, slot)
     WHERE r.id = w.id
""")
_MOVING = text("""
    UPDATE ddm.transfer SET state = 'MOVING', updated_at = now()
     WHERE id IN (SELECT id FROM ddm.transfer
                   WHERE state = 'QUEUED' AND id IN (
                       SELECT h.transfer_id FROM ddm.hold h
                         JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse)
                              USING (file_id, rse))
                   ORDER BY id FOR NO KEY UPDATE)
""")


@dataclass(frozen=True, slots=True)
class Claimer:
    """Who claims: an agent, for how long, with which limits; `with_faults` in tests only."""

    agent_id: int
    lease_seconds: float
    limits: Limits
    with_faults: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """What a round of claiming found: files to copy, files that are there already, files without a source."""

    claims: list[Claim]
    present: list[Candidate]
    sourceless: list[Candidate]


def claim(connection: Connection, claimer: Claimer, places: int) -> Round:
    """Claim files for up to `places` slots in the caller's transaction."""
    connection.execute(_TAKE_TURN, {"lock": _CLAIM_LOCK})
    running = Running()
    for row in connection.execute(_RUNNING):
        running.add(row.source_rse, row.rse, row.n)
    places = min(places, claimer.limits.everywhere - running.into.total())
    candidates = _candidates(connection, claimer.limits, places) if places > 0 else []
    if not candidates:
        return Round([], [], [])
    pairs = {"file_ids": [c.file_id for c in candidates], "rses": [c.rse for c in candidates]}
    here = {(row.file_id, row.rse): row.state for row in connection.execute(_HERE, pairs)}
    present = [c for c in candidates if here.get((c.file_id, c.rse)) == "AVAILABLE"]
    missing = [c for c in candidates if (c.file_id, c.rse) not in here]
    chosen = plan(missing, _sources(connection, missing), running, claimer.limits, places)
    return Round(_start(connection, claimer, chosen.start), present, chosen.sourceless)


def _candidates(connection: Connection, limits: Limits, places: int) -> list[Candidate]:
    values = {"per_rse": limits.per_rse, "places": places, "look_ahead": _LOOK_AHEAD}
    return [
        Candidate(
            id=row.id,
            file_id=row.file_id,
            rse=row.rse,
            root=row.root,
            lease=row.lease,
            did=Did(row.scope, row.name),
            expected=Expected(row.bytes, row.adler32),
            source_only=row.source_only,
            failed_sources=row.failed_sources,
            max_incoming=row.max_incoming,
        )
        for row in connection.execute(_CANDIDATES, values)
    ]


def _sources(connection: Connection, missing: Sequence[Candidate]) -> dict[tuple[int, str], list[Source]]:
    found: dict[tuple[int, str], list[Source]] = {}
    pairs = {"file_ids": [c.file_id for c in missing], "rses": [c.rse for c in missing]}
    for row in connection.execute(_SOURCES, pairs):
        source = Source(row.rse, row.root, row.distance, row.max_outgoing, row.max_running, row.bytes_per_second)
        found.setdefault((row.file_id, row.destination), []).append(source)
    return found


def _start(connection: Connection, claimer: Claimer, chosen: Sequence[Choice]) -> list[Claim]:
    if not chosen:
        return []
    connection.execute(
        _START,
        {
            "agent_id": claimer.agent_id,
            "lease_seconds": claimer.lease_seconds,
            "ids": [choice.candidate.id for choice in chosen],
            "sources": [choice.source.rse for choice in chosen],
            "slots": [choice.slot for choice in chosen],
        },
    )
    started = [choice.candidate for choice in chosen]
    connection.execute(_MOVING, {"file_ids": [c.file_id for c in started], "rses": [c.rse for c in started]})
    faults = ActiveFaults(connection) if claimer.with_faults else None
    return [_claim_of(choice, faults) for choice in chosen]


def _claim_of(choice: Choice, faults: ActiveFaults | None) -> Claim:
    candidate, source = choice.candidate, choice.source
    return Claim(
        request_id=candidate.id,
        slot=choice.slot,
        lease=candidate.lease + 1,
        did=candidate.did,
        expected=candidate.expected,
        source_rse=source.rse,
        source_root=source.root,
        target_rse=candidate.rse,
        target_root=candidate.root,
        other_sources=choice.others,
        bytes_per_second=source.bytes_per_second,
        faults=faults.of_copy(candidate.did.name, source.rse, candidate.rse) if faults else (),
    )


# Leases --------------------------------------------------------------------------------------------------------------

_RENEW = text("""
    UPDATE ddm.request r
       SET lease_until = now() + CAST(:lease_seconds AS double precision) * interval '1 second'
      FROM unnest(CAST(:ids AS bigint[]), CAST(:leases AS int[])) AS w(id, lease)
     WHERE r.id = w.id AND r.lease = w.lease AND r.state = 'RUNNING'
    RETURNING r.id
""")
_OTHERS = text("SELECT DISTINCT agent_id FROM ddm.request WHERE state = 'RUNNING' AND agent_id <> :agent_id")
_IS_DEAD = text("SELECT pg_try_advisory_xact_lock(:space, CAST(:agent_id AS int))")
_RECOVER = text("""
    UPDATE ddm.request SET state = 'QUEUED', tries = tries + 1, not_before = now(), updated_at = now(),
           error = 'the agent that copied it ended'
     WHERE id IN (SELECT id FROM ddm.request
                   WHERE state = 'RUNNING' AND (lease_until < now() OR agent_id = ANY(:dead))
                   ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id, source_rse, tries, error
""")
AGENT_LOCKS = 0x64646D


def renew(connection: Connection, claims: Sequence[Claim], lease_seconds: float) -> set[int]:
    """Keep leases; returns the requests that are still ours, the others were cancelled or taken."""
    values = {
        "ids": [claim.request_id for claim in claims],
        "leases": [claim.lease for claim in claims],
        "lease_seconds": lease_seconds,
    }
    return set(connection.execute(_RENEW, values).scalars())


def recover(connection: Connection, agent_id: int) -> int:
    """Queue again what dead agents left: expired leases at the latest, at once where the agent's lock is free."""
    others = connection.execute(_OTHERS, {"agent_id": agent_id}).scalars().all()
    dead = [
        other
        for other in others
        if connection.execute(_IS_DEAD, {"space": AGENT_LOCKS, "agent_id": other}).scalar_one()
    ]
    left = connection.execute(_RECOVER, {"dead": dead}).all()
    attempts.note(connection, [Ended(row.id, row.tries, row.source_rse, row.error) for row in left])
    return len(left)
