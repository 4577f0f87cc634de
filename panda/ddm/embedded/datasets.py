"""Owns datasets and containers: creation, closing, erasing, look-up."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Row, bindparam, select, text, tuple_

from panda.ddm.embedded import cancelling, events
from panda.ddm.embedded.events import Happening
from panda.ddm.embedded.schema import dataset as table
from panda.ddm.embedded.transactions import chunks, run
from panda.ddm.errors import DdmError, Inconsistent, NotFound
from panda.ddm.port import BulkResult, DatasetInfo, DatasetSpec, Did, EventKind, check_did

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A dataset that was locked or looked up for a change."""

    id: int
    open: bool
    container: bool
    files: int


# Creation ------------------------------------------------------------------------------------------------------------

_CREATE = text("""
    INSERT INTO ddm.dataset (scope, name, container, expires_at, meta)
    SELECT d.scope, d.name, d.container, now() + d.lifetime * interval '1 second', d.meta
      FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[]), CAST(:containers AS boolean[]),
                  CAST(:lifetimes AS double precision[]), CAST(:metas AS jsonb[]))
           AS d(scope, name, container, lifetime, meta)
     ORDER BY d.scope, d.name
    ON CONFLICT (scope, name) DO NOTHING
""")
_FIND = text("""
    SELECT d.scope, d.name, d.id, d.container, d.open, d.files, d.erased_at FROM ddm.dataset d
      JOIN unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name) USING (scope, name)
""")


def _did_values(dids: Sequence[Did]) -> dict[str, list[str]]:
    return {"scopes": [did.scope for did in dids], "names": [did.name for did in dids]}


def create(engine: Engine, specs: Sequence[DatasetSpec]) -> BulkResult[Did]:
    """Create datasets and containers; see the port."""
    result: BulkResult[Did] = BulkResult([], [])
    for piece in chunks(specs):
        good: list[DatasetSpec] = []
        for spec in piece:
            try:
                check_did(spec.did)
                good.append(spec)
            except DdmError as error:
                result.failed.append((spec.did, error))
        _create_chunk(engine, good, result)
    return result


def _create_chunk(engine: Engine, specs: Sequence[DatasetSpec], result: BulkResult[Did]) -> None:
    dids = [spec.did for spec in specs]

    def work(connection: Connection) -> dict[Did, Row[tuple[object, ...]]]:
        connection.execute(
            _CREATE,
            {
                **_did_values(dids),
                "containers": [spec.container for spec in specs],
                "lifetimes": [None if s.lifetime is None else s.lifetime.total_seconds() for s in specs],
                "metas": [json.dumps(dict(spec.meta)) for spec in specs],
            },
        )
        return {Did(row.scope, row.name): row for row in connection.execute(_FIND, _did_values(dids))}

    rows = run(engine, work)
    for spec in specs:
        row = rows[spec.did]
        if row.erased_at is not None:
            result.failed.append((spec.did, Inconsistent(f"{spec.did} was erased", "Choose a name not used before.")))
        elif row.container != spec.container:
            kind = "container" if row.container else "dataset"
            result.failed.append((spec.did, Inconsistent(f"{spec.did} exists and is a {kind}")))
        else:
            result.done.append(spec.did)


# Changes -------------------------------------------------------------------------------------------------------------

_LOCK = text("""
    SELECT id, open, container, files FROM ddm.dataset
     WHERE scope = :scope AND name = :name AND erased_at IS NULL FOR NO KEY UPDATE
""")
_CLOSE = text("""
    WITH wanted AS (
        SELECT d.id FROM ddm.dataset d
          JOIN unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name) USING (scope, name)
         WHERE d.erased_at IS NULL AND d.open ORDER BY d.id FOR NO KEY UPDATE OF d
    )
    UPDATE ddm.dataset SET open = false, closed_at = now() WHERE id IN (SELECT id FROM wanted)
    RETURNING scope, name, files
""")
_REOPEN = text("""
    WITH wanted AS (
        SELECT d.id FROM ddm.dataset d
          JOIN unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name) USING (scope, name)
         WHERE d.erased_at IS NULL AND NOT d.open ORDER BY d.id FOR NO KEY UPDATE OF d
    )
    UPDATE ddm.dataset SET open = true, closed_at = NULL WHERE id IN (SELECT id FROM wanted)
""")
_ERASE = text("""
    WITH wanted AS (
        SELECT d.id FROM ddm.dataset d
          JOIN unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name) USING (scope, name)
         WHERE d.erased_at IS NULL ORDER BY d.id FOR NO KEY UPDATE OF d
    )
    UPDATE ddm.dataset SET erased_at = now(), open = false WHERE id IN (SELECT id FROM wanted)
    RETURNING id, scope, name
""")
_TRANSFERS = text("""
    SELECT id FROM ddm.transfer
     WHERE dataset_id = ANY(:ids) AND state IN ('QUEUED', 'MOVING', 'OK', 'STUCK') ORDER BY id
""")


def lock(connection: Connection, did: Did) -> DatasetRow:
    """The dataset, locked against other changes of its contents; raises NotFound."""
    row = connection.execute(_LOCK, {"scope": did.scope, "name": did.name}).one_or_none()
    if row is None:
        raise NotFound(f"the dataset {did} does not exist")
    return DatasetRow(row.id, row.open, row.container, row.files)


def close(engine: Engine, dids: Sequence[Did]) -> BulkResult[Did]:
    """Close datasets; see the port."""

    def work(connection: Connection, piece: Sequence[Did]) -> None:
        rows = connection.execute(_CLOSE, _did_values(piece)).all()
        told = [
            Happening(EventKind.DATASET_CLOSED, Did(row.scope, row.name), detail=f"{row.files} files") for row in rows
        ]
        events.write(connection, told)

    return _change(engine, dids, work)


def reopen(engine: Engine, dids: Sequence[Did]) -> BulkResult[Did]:
    """Open datasets again; see the port."""

    def work(connection: Connection, piece: Sequence[Did]) -> None:
        connection.execute(_REOPEN, _did_values(piece))

    return _change(engine, dids, work)


def erase(engine: Engine, dids: Sequence[Did]) -> BulkResult[Did]:
    """Erase datasets and cancel their transfers; contents and copies are cleared by the agent's upkeep."""

    def work(connection: Connection, piece: Sequence[Did]) -> None:
        erase_chunk(connection, piece)

    return _change(engine, dids, work, erased_too=True)


def erase_chunk(connection: Connection, dids: Sequence[Did]) -> None:
    """Erase in the caller's transaction."""
    rows = connection.execute(_ERASE, _did_values(dids)).all()
    transfers = connection.execute(_TRANSFERS, {"ids": [row.id for row in rows]}).scalars().all()
    cancelling.end(connection, transfers, "CANCELLED")
    events.write(connection, [Happening(EventKind.DATASET_ERASED, Did(row.scope, row.name)) for row in rows])


_Work = Callable[[Connection, Sequence[Did]], None]


def _change(engine: Engine, dids: Sequence[Did], work: _Work, *, erased_too: bool = False) -> BulkResult[Did]:
    result: BulkResult[Did] = BulkResult([], [])
    for piece in chunks(dids, 500):

        def whole(connection: Connection, piece: Sequence[Did] = piece) -> set[Did]:
            known = {
                Did(row.scope, row.name)
                for row in connection.execute(_FIND, _did_values(piece))
                if row.erased_at is None or erased_too
            }
            work(connection, piece)
            return known

        known = run(engine, whole)
        for did in piece:
            if did in known:
                result.done.append(did)
            else:
                result.failed.append((did, NotFound(f"the dataset {did} does not exist")))
    return result


# Look-up -------------------------------------------------------------------------------------------------------------

_ONE = select(table).where(
    table.c.scope == bindparam("scope"), table.c.name == bindparam("name"), table.c.erased_at.is_(None)
)
_MATCHING = (
    select(table)
    .where(
        table.c.scope.like(bindparam("scope")),
        table.c.name.like(bindparam("name")),
        table.c.erased_at.is_(None),
        tuple_(table.c.scope, table.c.name) > tuple_(bindparam("after_scope"), bindparam("after_name")),
    )
    .order_by(table.c.scope, table.c.name)
    .limit(_PAGE)
)


def _info(row: Row[tuple[object, ...]]) -> DatasetInfo:
    return DatasetInfo(
        did=Did(row.scope, row.name),
        open=row.open,
        files=row.files,
        bytes=row.bytes,
        container=row.container,
        created_at=row.created_at,
        closed_at=row.closed_at,
        expires_at=row.expires_at,
        meta=row.meta,
    )


def look_up(engine: Engine, did: Did) -> DatasetInfo | None:
    """One dataset, None when unknown or erased."""

    def work(connection: Connection) -> DatasetInfo | None:
        row = connection.execute(_ONE, {"scope": did.scope, "name": did.name}).one_or_none()
        return None if row is None else _info(row)

    return run(engine, work)


def matching(engine: Engine, pattern: str) -> Iterator[DatasetInfo]:
    """Datasets whose `scope:name` matches the pattern, page by page."""
    scope, colon, name = pattern.partition(":")
    if not colon:
        scope, name = "*", pattern
    values = {"scope": _like(scope), "name": _like(name)}
    after = Did("", "")
    while True:

        def work(connection: Connection, after: Did = after) -> list[DatasetInfo]:
            rows = connection.execute(_MATCHING, {**values, "after_scope": after.scope, "after_name": after.name})
            return [_info(row) for row in rows]

        page = run(engine, work)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].did


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
