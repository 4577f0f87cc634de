"""Owns the outbox: events written in the transaction that changes a state, and the feed that reads them back."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from panda.ddm.port import DdmEvent, Did, EventKind

REQUEST_CHANNEL = "ddm_request"
EVENT_CHANNEL = "ddm_event"
_FEED_LOCK = 0x64646D_0001


@dataclass(frozen=True, slots=True)
class Happening:
    """An event before it has its place in the feed."""

    kind: EventKind
    did: Did
    rse: str = ""
    transfer_id: int | None = None
    detail: str = ""


_TAKE_TURN = text("SELECT pg_advisory_xact_lock(:lock)")
_WRITE = text("""
    INSERT INTO ddm.event (at, kind, transfer_id, scope, name, rse, detail)
    SELECT clock_timestamp(), e.kind, e.transfer_id, e.scope, e.name, e.rse, e.detail
      FROM unnest(CAST(:kinds AS text[]), CAST(:transfer_ids AS bigint[]), CAST(:scopes AS text[]),
                  CAST(:names AS text[]), CAST(:rses AS text[]), CAST(:details AS text[]))
           WITH ORDINALITY AS e(kind, transfer_id, scope, name, rse, detail, n)
     ORDER BY e.n
""")
_READ = text("""
    SELECT seq, at, kind, transfer_id, scope, name, rse, detail
      FROM ddm.event WHERE seq > :since ORDER BY seq LIMIT :limit
""")
_NOTIFY = text("SELECT pg_notify(:channel, '')")


def notify(connection: Connection, channel: str) -> None:
    """Wake who listens, when this transaction commits."""
    connection.execute(_NOTIFY, {"channel": channel})


def write(connection: Connection, happenings: Sequence[Happening]) -> None:
    """Append to the feed. To be the last step of a transaction: from here to its commit the feed is locked.

    So `seq` grows in commit order, and a reader that has seen one seq has seen all before it.
    """
    if not happenings:
        return
    connection.execute(_TAKE_TURN, {"lock": _FEED_LOCK})
    connection.execute(
        _WRITE,
        {
            "kinds": [h.kind.value for h in happenings],
            "transfer_ids": [h.transfer_id for h in happenings],
            "scopes": [h.did.scope for h in happenings],
            "names": [h.did.name for h in happenings],
            "rses": [h.rse for h in happenings],
            "details": [h.detail[:1000] for h in happenings],
        },
    )
    notify(connection, EVENT_CHANNEL)


def read(connection: Connection, since: int, limit: int) -> list[DdmEvent]:
    """Events after `since`, in order."""
    return [
        DdmEvent(
            seq=row.seq,
            at=row.at,
            kind=EventKind(row.kind),
            transfer_id="" if row.transfer_id is None else str(row.transfer_id),
            did=Did(row.scope, row.name),
            rse=row.rse,
            detail=row.detail,
        )
        for row in connection.execute(_READ, {"since": since, "limit": limit})
    ]
