"""Owns injected faults: what a test wants to go wrong, as rows that an agent started with `--faults` reads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, text

from panda.ddm.embedded.transactions import run


class FaultKind(StrEnum):
    """What goes wrong with a copy (or, the last two, with a notification)."""

    FAIL = "fail"
    CORRUPT = "corrupt"
    TRUNCATE = "truncate"
    DELAY = "delay"
    DISK_FULL = "disk_full"
    RSE_DOWN = "rse_down"
    CRASH = "crash"
    DUPLICATE_EVENT = "duplicate_event"
    LOST_EVENT = "lost_event"


EVENT_FAULTS = frozenset({FaultKind.DUPLICATE_EVENT, FaultKind.LOST_EVENT})


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault for files whose name matches, from and to these RSEs (None: any), `remaining` times (None: always).

    `amount` is seconds per block of a DELAY. RSE_DOWN hits the RSE it names as source or as destination.
    """

    kind: FaultKind
    source_rse: str | None = None
    destination_rse: str | None = None
    name_pattern: str = ".*"
    remaining: int | None = None
    amount: float = 0.0


_INJECT = text("""
    INSERT INTO ddm.fault (kind, source_rse, destination_rse, name_pattern, remaining, amount)
    VALUES (:kind, :source_rse, :destination_rse, :name_pattern, :remaining, :amount) RETURNING id
""")
_LIFT = text("DELETE FROM ddm.fault WHERE CAST(:id AS bigint) IS NULL OR id = :id")
_ACTIVE = text("SELECT * FROM ddm.fault WHERE remaining IS NULL OR remaining > 0 ORDER BY id")
_USE = text("UPDATE ddm.fault SET remaining = remaining - 1 WHERE id = :id")


def inject(engine: Engine, fault: Fault) -> int:
    """Let something go wrong from now on; returns the id to lift it."""
    values = {
        "kind": fault.kind.value,
        "source_rse": fault.source_rse,
        "destination_rse": fault.destination_rse,
        "name_pattern": fault.name_pattern,
        "remaining": fault.remaining,
        "amount": fault.amount,
    }
    return run(engine, lambda connection: int(connection.execute(_INJECT, values).scalar_one()))


def lift(engine: Engine, fault_id: int | None = None) -> None:
    """Take back one fault, or all."""
    run(engine, lambda connection: connection.execute(_LIFT, {"id": fault_id}))


class ActiveFaults:
    """The faults of one claiming transaction; using one counts it down there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left = {row.id: row.remaining for row in connection.execute(_ACTIVE)}
        self._faults = {
            row.id: Fault(
                FaultKind(row.kind), row.source_rse, row.destination_rse, row.name_pattern, row.remaining, row.amount
            )
            for row in connection.execute(_ACTIVE)
        }

    def of_copy(self, name: str, source: str, destination: str) -> Sequence[Fault]:
        """Faults that hit this copy."""
        return [f for i, f in self._faults.items() if _hits(f, name, source, destination) and self._use(i)]

    def of_events(self) -> Sequence[Fault]:
        """Faults that hit the next notification."""
        return [f for i, f in self._faults.items() if f.kind in EVENT_FAULTS and self._use(i)]

    def _use(self, fault_id: int) -> bool:
        left = self._left[fault_id]
        if left is None:
            return True
        if left <= 0:
            return False
        self._left[fault_id] = left - 1
        self._connection.execute(_USE, {"id": fault_id})
        return True


def _hits(fault: Fault, name: str, source: str, destination: str) -> bool:
    if fault.kind in EVENT_FAULTS or not re.search(fault.name_pattern, name):
        return False
    from_here = fault.source_rse == source
    to_here = fault.destination_rse == destination
    if fault.kind is FaultKind.RSE_DOWN:
        return from_here or to_here
    return (fault.source_rse is None or from_here) and (fault.destination_rse is None or to_here)
