"""Owns what transfers want and have: their holds on files, the requests for missing copies, counters and state.

A hold of a transfer on a file is MOVING, OK or STUCK. While it is not OK there is a request row for (file, RSE); who
changes such a hold has locked that row before. All functions work in the caller's transaction and return what happened
instead of writing it: the feed comes last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from panda.ddm.embedded.events import REQUEST_CHANNEL, Happening, notify
from panda.ddm.port import Did, EventKind

_STEPS = 10  # progress is told in tenths


@dataclass(frozen=True, slots=True)
class Pairs:
    """Files at RSEs as two parallel lists, which is how statements take them."""

    file_ids: list[int] = field(default_factory=list)
    rses: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, rse: str, file_ids: Iterable[int]) -> "Pairs":
        """Files at one RSE."""
        ids = list(file_ids)
        return cls(ids, [rse] * len(ids))

    def values(self) -> dict[str, list[int] | list[str]]:
        """The parameters of a statement over `PAIRS`."""
        return {"file_ids": self.file_ids, "rses": self.rses}


@dataclass(slots=True)
class _Change:
    """What changes in a transfer's counters."""

    total: int = 0
    ok: int = 0
    stuck: int = 0
    bytes: int = 0
    total_bytes: int = 0
    error: str | None = None


# Holds for new contents ----------------------------------------------------------------------------------------------

# The key share lock keeps the reaper away from copies that are about to be held.
_HOLD = text("""
    WITH wanted AS (
        SELECT t.id AS transfer_id, t.rse, c.file_id
          FROM ddm.transfer t JOIN ddm.content c ON c.dataset_id = t.dataset_id
         WHERE t.id = ANY(:ids) AND c.position >= :first
    ), here AS (
        SELECT r.file_id, r.rse FROM ddm.replica r
         WHERE (r.file_id, r.rse) IN (SELECT file_id, rse FROM wanted) AND r.state = 'AVAILABLE'
         ORDER BY r.file_id, r.rse FOR KEY SHARE
    )
    INSERT INTO ddm.hold (transfer_id, file_id, rse, state)
    SELECT w.transfer_id, w.file_id, w.rse, CASE WHEN h.file_id IS NULL THEN 'MOVING' ELSE 'OK' END
      FROM wanted w LEFT JOIN here h ON h.file_id = w.file_id AND h.rse = w.rse
    ON CONFLICT DO NOTHING
""")
_ASK = text("""
    INSERT INTO ddm.request (file_id, rse, source_only, state, priority)
    SELECT DISTINCT ON (h.file_id, h.rse) h.file_id, h.rse, t.source_rse, 'QUEUED', t.priority
      FROM ddm.transfer t
      JOIN ddm.content c ON c.dataset_id = t.dataset_id
      JOIN ddm.hold h ON h.transfer_id = t.id AND h.file_id = c.file_id
     WHERE t.id = ANY(:ids) AND c.position >= :first AND h.state = 'MOVING'
     ORDER BY h.file_id, h.rse, t.priority
    ON CONFLICT (file_id, rse) DO UPDATE SET
        priority = least(request.priority, excluded.priority),
        source_only = CASE WHEN request.source_only = excluded.source_only THEN request.source_only END,
        tries = CASE WHEN request.state = 'STUCK' THEN 0 ELSE request.tries END,
        not_before = CASE WHEN request.state = 'STUCK' THEN now() ELSE request.not_before END,
        state = CASE WHEN request.state = 'STUCK' THEN 'QUEUED' ELSE request.state END
""")
_COUNT_NEW = text("""
    SELECT h.transfer_id, count(*) AS total, count(*) FILTER (WHERE h.state = 'OK') AS ok,
           sum(f.bytes) AS total_bytes, coalesce(sum(f.bytes) FILTER (WHERE h.state = 'OK'), 0) AS bytes
      FROM ddm.transfer t
      JOIN ddm.content c ON c.dataset_id = t.dataset_id
      JOIN ddm.hold h ON h.transfer_id = t.id AND h.file_id = c.file_id
      JOIN ddm.file f ON f.id = c.file_id
     WHERE t.id = ANY(:ids) AND c.position >= :first
     GROUP BY h.transfer_id
""")


def hold_contents(connection: Connection, transfer_ids: Sequence[int], first: int) -> list[Happening]:
    """Let transfers hold the files of their datasets from position `first` on, and ask for the missing ones."""
    if not transfer_ids:
        return []
    values = {"ids": list(transfer_ids), "first": first}
    connection.execute(_HOLD, values)
    if connection.execute(_ASK, values).rowcount:
        notify(connection, REQUEST_CHANNEL)
    changes = {transfer_id: _Change() for transfer_id in transfer_ids}
    for row in connection.execute(_COUNT_NEW, values):
        changes[row.transfer_id] = _Change(
            total=row.total, ok=row.ok, bytes=int(row.bytes), total_bytes=int(row.total_bytes)
        )
    return _count(connection, changes)


# Arrival, failure, loss ----------------------------------------------------------------------------------------------

_DROP_REQUESTS = text("""
    WITH doomed AS (
        SELECT r.id FROM ddm.request r
          JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse) USING (file_id, rse)
         ORDER BY r.id FOR UPDATE OF r
    )
    DELETE FROM ddm.request WHERE id IN (SELECT id FROM doomed)
""")
_SET_HOLDS = text("""
    UPDATE ddm.hold h SET state = :state
      FROM unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse),
           ddm.hold old, ddm.file f, ddm.transfer t
     WHERE h.file_id = p.file_id AND h.rse = p.rse AND h.state = ANY(:from_states)
       AND old.transfer_id = h.transfer_id AND old.file_id = h.file_id
       AND f.id = h.file_id AND t.id = h.transfer_id
    RETURNING h.transfer_id, h.file_id, h.rse, old.state AS old_state, f.bytes, f.scope, f.name
""")


def drop_requests(connection: Connection, pairs: Pairs) -> None:
    """Forget the requests for these copies. Comes before the copies enter the catalogue (lock order)."""
    connection.execute(_DROP_REQUESTS, pairs.values())


def arrived(connection: Connection, pairs: Pairs) -> list[Happening]:
    """Holds of copies that are in the catalogue now become OK; their requests were dropped before."""
    return _set_holds(connection, pairs, "OK", ["MOVING", "STUCK"], {}, EventKind.FILE_ARRIVED)


def stuck(connection: Connection, pairs: Pairs, errors: dict[int, str]) -> list[Happening]:
    """Holds of copies that failed for good (until repair) become STUCK; `errors` is per file."""
    return _set_holds(connection, pairs, "STUCK", ["MOVING"], errors, EventKind.FILE_FAILED)


def unstuck(connection: Connection, pairs: Pairs) -> list[Happening]:
    """Holds whose requests are queued again become MOVING."""
    return _set_holds(connection, pairs, "MOVING", ["STUCK"], {}, None)


def lost(connection: Connection, pairs: Pairs) -> list[Happening]:
    """Holds of copies that left the catalogue become MOVING, and the copies are asked for again."""
    happenings = _set_holds(connection, pairs, "MOVING", ["OK"], {}, None)
    if connection.execute(_ASK_AGAIN, pairs.values()).rowcount:
        notify(connection, REQUEST_CHANNEL)
    return happenings


_ASK_AGAIN = text("""
    INSERT INTO ddm.request (file_id, rse, source_only, state, priority)
    SELECT DISTINCT ON (h.file_id, h.rse) h.file_id, h.rse, t.source_rse, 'QUEUED', t.priority
      FROM ddm.hold h
      JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse) USING (file_id, rse)
      JOIN ddm.transfer t ON t.id = h.transfer_id
     WHERE h.state = 'MOVING'
     ORDER BY h.file_id, h.rse, t.priority
    ON CONFLICT DO NOTHING
""")


def _set_holds(
    connection: Connection,
    pairs: Pairs,
    state: str,
    from_states: list[str],
    errors: dict[int, str],
    kind: EventKind | None,
) -> list[Happening]:
    rows = connection.execute(_SET_HOLDS, {**pairs.values(), "state": state, "from_states": from_states})
    changes: dict[int, _Change] = {}
    told: dict[tuple[int, str], Happening] = {}
    for row in rows.all():
        change = changes.setdefault(row.transfer_id, _Change())
        change.ok += (state == "OK") - (row.old_state == "OK")
        change.stuck += (state == "STUCK") - (row.old_state == "STUCK")
        change.bytes += row.bytes * ((state == "OK") - (row.old_state == "OK"))
        change.error = errors.get(row.file_id, change.error)
        if kind is not None:
            detail = errors.get(row.file_id, "")
            told[row.file_id, row.rse] = Happening(kind, Did(row.scope, row.name), row.rse, row.transfer_id, detail)
    return [*told.values(), *_count(connection, changes)]


_HOLDERS = text("""
    SELECT h.transfer_id, h.file_id FROM ddm.hold h
      JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse) USING (file_id, rse)
     WHERE h.state = 'MOVING'
""")


def note_errors(connection: Connection, pairs: Pairs, errors: dict[int, str]) -> None:
    """Show the last error of files that will be tried again at the transfers that wait for them."""
    changes = {
        row.transfer_id: _Change(error=errors.get(row.file_id))
        for row in connection.execute(_HOLDERS, pairs.values()).all()
    }
    _count(connection, changes)


# Counters and state --------------------------------------------------------------------------------------------------

_LOCK_TRANSFERS = text("SELECT id FROM ddm.transfer WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")
_APPLY = text("""
    WITH old AS (SELECT id, state, ok, total FROM ddm.transfer WHERE id = ANY(:ids))
    UPDATE ddm.transfer t SET
        total = t.total + c.total, ok = t.ok + c.ok, stuck = t.stuck + c.stuck,
        bytes = t.bytes + c.bytes, total_bytes = t.total_bytes + c.total_bytes,
        error = CASE WHEN t.ok + c.ok = t.total + c.total THEN '' ELSE coalesce(c.error, t.error) END,
        state = CASE WHEN t.ok + c.ok = t.total + c.total THEN 'OK'
                     WHEN t.stuck + c.stuck > 0 THEN 'STUCK'
                     WHEN t.state = 'QUEUED' AND t.ok + c.ok = 0 THEN 'QUEUED'
                     ELSE 'MOVING' END,
        updated_at = clock_timestamp()
      FROM unnest(CAST(:ids AS bigint[]), CAST(:totals AS bigint[]), CAST(:oks AS bigint[]), CAST(:stucks AS bigint[]),
                  CAST(:bytes AS bigint[]), CAST(:total_bytes AS bigint[]), CAST(:errors AS text[]))
           AS c(id, total, ok, stuck, bytes, total_bytes, error)
      JOIN old ON old.id = c.id
      JOIN ddm.transfer AS t0 ON t0.id = c.id
      JOIN ddm.dataset d ON d.id = t0.dataset_id
     WHERE t.id = c.id AND t.state IN ('QUEUED', 'MOVING', 'OK', 'STUCK')
    RETURNING t.id, t.rse, d.scope, d.name, old.state AS old_state, t.state, old.ok AS old_ok, t.ok, t.total, t.stuck,
              t.error
""")


def _count(connection: Connection, changes: dict[int, _Change]) -> list[Happening]:
    """Apply changes of counters; the state follows from them. Returns the state changes worth telling."""
    if not changes:
        return []
    ids = sorted(changes)
    ordered = [changes[transfer_id] for transfer_id in ids]
    connection.execute(_LOCK_TRANSFERS, {"ids": ids})
    rows = connection.execute(
        _APPLY,
        {
            "ids": ids,
            "totals": [c.total for c in ordered],
            "oks": [c.ok for c in ordered],
            "stucks": [c.stuck for c in ordered],
            "bytes": [c.bytes for c in ordered],
            "total_bytes": [c.total_bytes for c in ordered],
            "errors": [c.error for c in ordered],
        },
    )
    happenings: list[Happening] = []
    for row in rows.all():
        kind, detail = _telling(row.old_state, row.state, (row.old_ok, row.ok, row.total))
        if kind is not None:
            text_ = row.error if kind is EventKind.TRANSFER_STUCK else detail
            happenings.append(Happening(kind, Did(row.scope, row.name), row.rse, row.id, text_))
    return happenings


def _telling(old_state: str, state: str, counts: tuple[int, int, int]) -> tuple[EventKind | None, str]:
    """What to tell of a transfer: entering OK or STUCK, and each further tenth of a larger one."""
    old_ok, ok, total = counts
    detail = f"{ok} of {total} files"
    if state == "OK":
        return (EventKind.TRANSFER_OK if old_state != "OK" else None), detail
    if state == "STUCK" and old_state != "STUCK":
        return EventKind.TRANSFER_STUCK, detail
    if total >= _STEPS and ok * _STEPS // total > old_ok * _STEPS // total:
        return EventKind.TRANSFER_PROGRESS, detail
    return None, ""
