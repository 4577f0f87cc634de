"""Owns transfers of datasets as their askers see them: request, change, cancel, state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Row, TextClause, text

from panda.ddm.embedded import cancelling, events, holds, topology
from panda.ddm.embedded.events import REQUEST_CHANNEL
from panda.ddm.embedded.holds import Pairs
from panda.ddm.embedded.transactions import chunks, run
from panda.ddm.errors import DdmError, Denied, NoTarget, NotFound, QuotaExceeded
from panda.ddm.port import (
    BulkResult,
    Did,
    RequestResult,
    TransferId,
    TransferRequest,
    TransferState,
    TransferStatus,
)

_HIGHEST, _LOWEST = 1, 5
_DIGITS = 18  # of the largest id that fits a bigint

# Request -------------------------------------------------------------------------------------------------------------

_DATASETS = text("""
    SELECT d.scope, d.name, d.id, d.container, d.bytes FROM ddm.dataset d
      JOIN unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name) USING (scope, name)
     WHERE d.erased_at IS NULL ORDER BY d.id FOR SHARE OF d
""")
_RSES = text("SELECT name, available_write FROM ddm.rse")
_ENTER = text("""
    INSERT INTO ddm.transfer (dataset_id, rse, source_rse, state, priority, activity, account, comment, expires_at)
    SELECT t.dataset_id, t.rse, t.source_rse, 'QUEUED', t.priority, t.activity, t.account, t.comment,
           now() + t.lifetime * interval '1 second'
      FROM unnest(CAST(:dataset_ids AS bigint[]), CAST(:rses AS text[]), CAST(:sources AS text[]),
                  CAST(:priorities AS smallint[]), CAST(:activities AS text[]), CAST(:accounts AS text[]),
                  CAST(:comments AS text[]), CAST(:lifetimes AS double precision[]))
           AS t(dataset_id, rse, source_rse, priority, activity, account, comment, lifetime)
     ORDER BY t.dataset_id, t.rse
    ON CONFLICT (dataset_id, rse) WHERE state IN ('QUEUED', 'MOVING', 'OK', 'STUCK') DO NOTHING
    RETURNING id
""")
_LIVE = text("""
    SELECT t.id, t.dataset_id, t.rse FROM ddm.transfer t
      JOIN unnest(CAST(:dataset_ids AS bigint[]), CAST(:rses AS text[])) AS w(dataset_id, rse) USING (dataset_id, rse)
     WHERE t.state IN ('QUEUED', 'MOVING', 'OK', 'STUCK')
""")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A request that may be entered."""

    index: int
    dataset_id: int
    request: TransferRequest


def request(engine: Engine, reqs: Sequence[TransferRequest]) -> RequestResult:
    """Enter transfers, or find those that exist; see the port."""
    ids: list[TransferId | None] = [None] * len(reqs)
    failed: list[tuple[TransferRequest, DdmError]] = []
    for piece in chunks(list(enumerate(reqs)), 200):

        def work(
            connection: Connection, piece: Sequence[tuple[int, TransferRequest]] = piece
        ) -> tuple[dict[int, int], list[tuple[TransferRequest, DdmError]]]:
            return _request_chunk(connection, piece)

        found, wrong = run(engine, work)
        for index, transfer_id in found.items():
            ids[index] = str(transfer_id)
        failed.extend(wrong)
    return RequestResult(ids, failed)


def _request_chunk(
    connection: Connection, piece: Sequence[tuple[int, TransferRequest]]
) -> tuple[dict[int, int], list[tuple[TransferRequest, DdmError]]]:
    judge = _Judge(connection, [req for _, req in piece])
    good: list[_Wanted] = []
    failed: list[tuple[TransferRequest, DdmError]] = []
    for index, req in piece:
        try:
            good.append(_Wanted(index, judge.dataset_id(req), req))
        except DdmError as error:
            failed.append((req, error))
    keys = {"dataset_ids": [w.dataset_id for w in good], "rses": [w.request.to_rse for w in good]}
    live = {(row.dataset_id, row.rse): row.id for row in connection.execute(_LIVE, keys)}
    for wanted in [w for w in good if (w.dataset_id, w.request.to_rse) not in live]:
        refusal = judge.refusal(wanted.request)
        if refusal is not None:
            failed.append((wanted.request, refusal))
            good.remove(wanted)
    fresh = connection.execute(_ENTER, _columns(good)).scalars().all()
    happenings = holds.hold_contents(connection, sorted(fresh), 0)
    live = {(row.dataset_id, row.rse): row.id for row in connection.execute(_LIVE, keys)}
    events.write(connection, happenings)
    return {w.index: live[w.dataset_id, w.request.to_rse] for w in good}, failed


def _columns(wanted: Sequence[_Wanted]) -> dict[str, list[object]]:
    reqs = [w.request for w in wanted]
    return {
        "dataset_ids": [w.dataset_id for w in wanted],
        "rses": [r.to_rse for r in reqs],
        "sources": [r.source_rse for r in reqs],
        "priorities": [min(max(r.priority, _HIGHEST), _LOWEST) for r in reqs],
        "activities": [r.activity for r in reqs],
        "accounts": [r.account for r in reqs],
        "comments": [r.comment for r in reqs],
        "lifetimes": [None if r.lifetime is None else r.lifetime.total_seconds() for r in reqs],
    }


class _Judge:
    """Says which requests of one call are possible; locks their datasets against attaching meanwhile."""

    def __init__(self, connection: Connection, reqs: Sequence[TransferRequest]) -> None:
        self._connection = connection
        values = {"scopes": [r.dataset.scope for r in reqs], "names": [r.dataset.name for r in reqs]}
        self._datasets = {Did(row.scope, row.name): row for row in connection.execute(_DATASETS, values)}
        self._writable = {row.name: row.available_write for row in connection.execute(_RSES)}
        self._left: dict[str, dict[str, int]] = {}

    def dataset_id(self, req: TransferRequest) -> int:
        """The dataset's id; raises NotFound, Denied."""
        row = self._datasets.get(req.dataset)
        if row is None:
            raise NotFound(f"the dataset {req.dataset} does not exist")
        if row.container:
            raise Denied(f"{req.dataset} is a container", "Request the datasets that it expands to.")
        return int(row.id)

    def refusal(self, req: TransferRequest) -> DdmError | None:
        """Why a new transfer cannot be: NoTarget, QuotaExceeded."""
        for rse in filter(None, (req.to_rse, req.source_rse)):
            if rse not in self._writable:
                return NoTarget(f"the RSE '{rse}' does not exist", topology.nearest(self._connection, rse))
        if not self._writable[req.to_rse]:
            return NoTarget(f"the RSE {req.to_rse} does not accept data now")
        left = self._quotas(req.account)
        size = self._datasets[req.dataset].bytes
        if req.to_rse in left and size > left[req.to_rse]:
            return QuotaExceeded(
                f"{req.dataset} has {size} bytes, account {req.account} may hold only {left[req.to_rse]} more "
                f"at {req.to_rse}"
            )
        if req.to_rse in left:
            left[req.to_rse] -= size
        return None

    def _quotas(self, account: str) -> dict[str, int]:
        if account not in self._left:
            used = topology.usage_in(self._connection, account)
            self._left[account] = {u.rse: u.limit - u.bytes for u in used if u.limit is not None}
        return self._left[account]


# Change and end ------------------------------------------------------------------------------------------------------

_KNOWN_LIVE = text("""
    SELECT id FROM ddm.transfer WHERE id = ANY(:ids) AND state IN ('QUEUED', 'MOVING', 'OK', 'STUCK')
""")
_KNOWN = text("SELECT id FROM ddm.transfer WHERE id = ANY(:ids)")
_LOCK_REQUESTS = text("""
    SELECT r.id, r.file_id, r.rse, r.state FROM ddm.request r
     WHERE (r.file_id, r.rse) IN (SELECT file_id, rse FROM ddm.hold WHERE transfer_id = ANY(:ids) AND state <> 'OK')
     ORDER BY r.id FOR UPDATE
""")
_SET_REQUEST_PRIORITY = text("UPDATE ddm.request SET priority = :priority WHERE id = ANY(:request_ids)")
_RETRY = text("""
    UPDATE ddm.request SET state = 'QUEUED', tries = 0, failed_sources = '{}', not_before = now(), updated_at = now()
     WHERE id = ANY(:request_ids) AND state IN ('STUCK', 'QUEUED')
""")
_SET_PRIORITY = text("UPDATE ddm.transfer SET priority = :priority WHERE id = ANY(:ids)")
_SET_LIFETIME = text("""
    UPDATE ddm.transfer SET expires_at = now() + CAST(:seconds AS double precision) * interval '1 second'
     WHERE id = ANY(:ids)
""")


@dataclass(frozen=True, slots=True)
class Update:
    """What to change about transfers."""

    priority: int | None
    retry_now: bool
    lifetime_seconds: float | None


def update(engine: Engine, ids: Sequence[TransferId], change: Update) -> BulkResult[TransferId]:
    """Change transfers; see the port."""

    def work(connection: Connection, live: list[int]) -> None:
        values = {"ids": live}
        requests = connection.execute(_LOCK_REQUESTS, values).all()
        if change.priority is not None:
            priority = {"priority": min(max(change.priority, _HIGHEST), _LOWEST)}
            connection.execute(_SET_REQUEST_PRIORITY, {**priority, "request_ids": [r.id for r in requests]})
            connection.execute(_SET_PRIORITY, {**values, **priority})
        if change.retry_now:
            events.write(connection, retry(connection, requests))
        if change.lifetime_seconds is not None:
            connection.execute(_SET_LIFETIME, {**values, "seconds": change.lifetime_seconds})

    return _each(engine, ids, _KNOWN_LIVE, work)


def retry(connection: Connection, requests: Sequence[Row[tuple[object, ...]]]) -> list[events.Happening]:
    """Queue locked requests again, as if they had not been tried."""
    connection.execute(_RETRY, {"request_ids": [r.id for r in requests]})
    events.notify(connection, REQUEST_CHANNEL)
    again = [r for r in requests if r.state == "STUCK"]
    return holds.unstuck(connection, Pairs([r.file_id for r in again], [r.rse for r in again]))


def cancel(engine: Engine, ids: Sequence[TransferId]) -> BulkResult[TransferId]:
    """Cancel transfers; one that has ended is done."""

    def work(connection: Connection, known: list[int]) -> None:
        live = connection.execute(_KNOWN_LIVE, {"ids": known}).scalars().all()
        cancelling.end(connection, live, "CANCELLED")

    return _each(engine, ids, _KNOWN, work)


_Work = Callable[[Connection, list[int]], None]


def _each(engine: Engine, ids: Sequence[TransferId], known: TextClause, work: _Work) -> BulkResult[TransferId]:
    result: BulkResult[TransferId] = BulkResult([], [])
    for piece in chunks(ids, 500):

        def whole(connection: Connection, piece: Sequence[TransferId] = piece) -> set[str]:
            found = list(connection.execute(known, {"ids": _numbers(piece)}).scalars())
            if found:
                work(connection, found)
            return {str(number) for number in found}

        found = run(engine, whole)
        result.done.extend(i for i in piece if i in found)
        result.failed.extend((i, NotFound(f"there is no live transfer {i[:60]}")) for i in piece if i not in found)
    return result


def _numbers(ids: Sequence[TransferId]) -> list[int]:
    return [int(i) for i in ids if i.isascii() and i.isdigit() and len(i) <= _DIGITS]


# State ---------------------------------------------------------------------------------------------------------------

_STATUS = text("""
    SELECT t.*, d.scope, d.name FROM ddm.transfer t JOIN ddm.dataset d ON d.id = t.dataset_id WHERE t.id = ANY(:ids)
""")
_OF_DATASETS = text("""
    SELECT t.*, d.scope, d.name
      FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name)
      JOIN ddm.dataset d USING (scope, name)
      JOIN ddm.transfer t ON t.dataset_id = d.id
     ORDER BY t.id
""")


def _status(row: Row[tuple[object, ...]]) -> TransferStatus:
    return TransferStatus(
        id=str(row.id),
        dataset=Did(row.scope, row.name),
        rse=row.rse,
        state=TransferState(row.state),
        ok=row.ok,
        moving=row.total - row.ok - row.stuck,
        stuck=row.stuck,
        bytes=row.bytes,
        error=row.error,
        updated=row.updated_at,
        expires_at=row.expires_at,
    )


def status(engine: Engine, ids: Sequence[TransferId]) -> dict[TransferId, TransferStatus]:
    """States of transfers; unknown ids are left out."""
    answer: dict[TransferId, TransferStatus] = {}
    for piece in chunks(ids):

        def work(connection: Connection, piece: Sequence[TransferId] = piece) -> list[TransferStatus]:
            return [_status(row) for row in connection.execute(_STATUS, {"ids": _numbers(piece)})]

        answer.update((found.id, found) for found in run(engine, work))
    return answer


def of_datasets(engine: Engine, dids: Sequence[Did]) -> dict[Did, list[TransferStatus]]:
    """All transfers of each dataset, oldest first."""
    answer: dict[Did, list[TransferStatus]] = {did: [] for did in dids}
    for piece in chunks(dids):
        values = {"scopes": [did.scope for did in piece], "names": [did.name for did in piece]}

        def work(connection: Connection, values: dict[str, list[str]] = values) -> list[TransferStatus]:
            return [_status(row) for row in connection.execute(_OF_DATASETS, values)]

        for found in run(engine, work):
            answer[found.dataset].append(found)
    return answer
