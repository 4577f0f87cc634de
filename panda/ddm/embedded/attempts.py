"""Owns what is written down of each try to copy a file: from where, how long it took, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Ended:
    """A try of a request that ended; no source: there was none. An empty error means well."""

    request_id: int
    number: int
    source_rse: str | None
    error: str
    seconds: float = 0.0


# The transfer is one of those that wait for the file; a file may be wanted by several.
_NOTE = text("""
    INSERT INTO ddm.attempt (transfer_id, file_id, source_rse, rse, number, bytes, seconds, error, queued_at)
    SELECT (SELECT min(h.transfer_id) FROM ddm.hold h
             WHERE h.file_id = r.file_id AND h.rse = r.rse AND h.state <> 'OK'),
           r.file_id, coalesce(w.source, ''), r.rse, w.number, f.bytes, w.seconds, w.error, r.created_at
      FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS int[]), CAST(:sources AS text[]),
                  CAST(:seconds AS double precision[]), CAST(:errors AS text[]))
           AS w(id, number, source, seconds, error)
      JOIN ddm.request r ON r.id = w.id JOIN ddm.file f ON f.id = r.file_id
""")


def note(connection: Connection, ended: Sequence[Ended]) -> None:
    """Write down how tries ended, while their requests are still there and locked by the caller."""
    if not ended:
        return
    connection.execute(
        _NOTE,
        {
            "ids": [one.request_id for one in ended],
            "numbers": [one.number for one in ended],
            "sources": [one.source_rse for one in ended],
            "seconds": [one.seconds for one in ended],
            "errors": [one.error for one in ended],
        },
    )
