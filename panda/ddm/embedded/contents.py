"""Owns files and what datasets contain: bringing files into the catalogue, attaching, reading contents."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from panda.ddm.embedded import datasets, events, holds
from panda.ddm.embedded.datasets import DatasetRow
from panda.ddm.embedded.events import Happening
from panda.ddm.embedded.transactions import CHUNK, chunks, run
from panda.ddm.errors import Closed, DdmError, Inconsistent, NotFound, Unavailable
from panda.ddm.port import BulkResult, Did, FileInfo, FileSpec, check_did

_ADLER32 = re.compile(r"[0-9a-f]{8}")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PAGE = 10_000
_DEEPEST = 10  # containers in containers

# Files ---------------------------------------------------------------------------------------------------------------

_INSERT_FILES = text("""
    INSERT INTO ddm.file (scope, name, bytes, adler32, guid, events)
    SELECT f.scope, f.name, f.bytes, f.adler32, f.guid, f.events
      FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[]), CAST(:bytes AS bigint[]), CAST(:sums AS text[]),
                  CAST(:guids AS uuid[]), CAST(:events AS bigint[])) AS f(scope, name, bytes, adler32, guid, events)
     ORDER BY f.scope, f.name
    ON CONFLICT DO NOTHING
    RETURNING scope, name, id
""")
_FIND_FILES = text("""
    SELECT f.scope, f.name, f.id, f.bytes, f.adler32, f.guid::text AS guid FROM ddm.file f
      JOIN unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name) USING (scope, name)
     ORDER BY f.id FOR KEY SHARE OF f
""")
_FIND_GUIDS = text("SELECT guid::text AS guid, scope, name FROM ddm.file WHERE guid = ANY(CAST(:guids AS uuid[]))")


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """Ids of files by name, and why others have none."""

    ids: dict[Did, int]
    failures: dict[Did, DdmError]


def check_file(spec: FileSpec) -> None:
    """Raise InvalidName or Inconsistent when a file's description cannot be right."""
    check_did(spec.did)
    if not _ADLER32.fullmatch(spec.adler32):
        raise Inconsistent(f"the adler32 '{spec.adler32[:40]}' of {spec.did} is not 8 small hex digits")
    if spec.bytes < 0:
        raise Inconsistent(f"{spec.did} cannot have {spec.bytes} bytes")
    if not _GUID.fullmatch(spec.guid):
        raise Inconsistent(f"the GUID '{spec.guid[:60]}' of {spec.did} is not a UUID with dashes")


def ensure_files(connection: Connection, specs: Sequence[FileSpec]) -> KnownFiles:
    """Bring files into the catalogue or check that they are there with the same size, checksum and GUID."""
    known = KnownFiles({}, {})
    good: dict[Did, FileSpec] = {}
    for spec in specs:
        try:
            check_file(spec)
            if good.setdefault(spec.did, spec) != spec:
                raise Inconsistent(f"{spec.did} is given twice, with different content")
        except DdmError as error:
            known.failures[spec.did] = error
    if not good:
        return known
    inserted = connection.execute(_INSERT_FILES, _file_values(list(good.values()))).all()
    known.ids.update({Did(scope, name): file_id for scope, name, file_id in inserted})
    if len(known.ids) < len(good):
        _compare(connection, [spec for did, spec in good.items() if did not in known.ids], known)
    for did in known.failures:
        known.ids.pop(did, None)
    return known


def _compare(connection: Connection, specs: Sequence[FileSpec], known: KnownFiles) -> None:
    """Find files that could not be inserted: they exist, or another file has their GUID."""
    rows = {
        Did(row.scope, row.name): row for row in connection.execute(_FIND_FILES, _did_values([s.did for s in specs]))
    }
    missing: list[FileSpec] = []
    for spec in specs:
        row = rows.get(spec.did)
        if row is None:
            missing.append(spec)
        elif (row.bytes, row.adler32, row.guid) == (spec.bytes, spec.adler32, spec.guid.lower()):
            known.ids[spec.did] = row.id
        else:
            known.failures[spec.did] = Inconsistent(
                f"{spec.did} exists with {row.bytes} bytes, adler32 {row.adler32}, GUID {row.guid}; "
                f"not {spec.bytes}, {spec.adler32}, {spec.guid}",
                "A name stands for one content for ever: choose another name.",
            )
    known.failures.update(_taken_guids(connection, missing))


def _taken_guids(connection: Connection, specs: Sequence[FileSpec]) -> dict[Did, DdmError]:
    if not specs:
        return {}
    rows = connection.execute(_FIND_GUIDS, {"guids": [spec.guid for spec in specs]})
    owners = {row.guid: Did(row.scope, row.name) for row in rows}
    failures: dict[Did, DdmError] = {}
    for spec in specs:
        owner = owners.get(spec.guid.lower())
        failures[spec.did] = (
            Unavailable(f"{spec.did} was just deleted; try again")
            if owner is None
            else Inconsistent(f"the GUID {spec.guid} of {spec.did} belongs to {owner}")
        )
    return failures


def find_files(connection: Connection, dids: Sequence[Did]) -> dict[Did, int]:
    """Ids of known files, locked against deletion."""
    return {Did(row.scope, row.name): row.id for row in connection.execute(_FIND_FILES, _did_values(dids))}


def _file_values(specs: Sequence[FileSpec]) -> dict[str, list[object]]:
    return {
        "scopes": [spec.did.scope for spec in specs],
        "names": [spec.did.name for spec in specs],
        "bytes": [spec.bytes for spec in specs],
        "sums": [spec.adler32 for spec in specs],
        "guids": [spec.guid for spec in specs],
        "events": [spec.events for spec in specs],
    }


def _did_values(dids: Sequence[Did]) -> dict[str, list[str]]:
    return {"scopes": [did.scope for did in dids], "names": [did.name for did in dids]}


# Attaching -----------------------------------------------------------------------------------------------------------

_ATTACHED = text("SELECT file_id FROM ddm.content WHERE dataset_id = :dataset_id AND file_id = ANY(:file_ids)")
_APPEND = text("""
    WITH added AS (
        INSERT INTO ddm.content (dataset_id, position, file_id)
        SELECT :dataset_id, :first + w.n - 1, w.file_id
          FROM unnest(CAST(:file_ids AS bigint[])) WITH ORDINALITY AS w(file_id, n)
        RETURNING file_id
    )
    UPDATE ddm.dataset SET files = files + (SELECT count(*) FROM added),
           bytes = bytes + (SELECT sum(f.bytes) FROM ddm.file f JOIN added ON added.file_id = f.id)
     WHERE id = :dataset_id
""")
_LIVE_TRANSFERS = text("""
    SELECT id FROM ddm.transfer
     WHERE dataset_id = :dataset_id AND state IN ('QUEUED', 'MOVING', 'OK', 'STUCK') ORDER BY id
""")


def attach(engine: Engine, dataset: Did, files: Sequence[FileSpec | Did]) -> BulkResult[Did]:
    """Append files to a dataset, or datasets to a container; see the port."""
    result: BulkResult[Did] = BulkResult([], [])
    for piece in chunks(files):

        def work(connection: Connection, piece: Sequence[FileSpec | Did] = piece) -> BulkResult[Did]:
            row = datasets.lock(connection, dataset)
            if row.container:
                return _attach_datasets(connection, dataset, row, piece)
            known = _known(connection, piece)
            order = [item if isinstance(item, Did) else item.did for item in piece]
            answer, happenings = append(connection, dataset, row, order, known)
            events.write(connection, happenings)
            return answer

        answer = run(engine, work)
        result.done.extend(answer.done)
        result.failed.extend(answer.failed)
    return result


def _known(connection: Connection, items: Sequence[FileSpec | Did]) -> KnownFiles:
    known = ensure_files(connection, [item for item in items if not isinstance(item, Did)])
    plain = [item for item in items if isinstance(item, Did)]
    found = find_files(connection, plain) if plain else {}
    known.ids.update(found)
    known.failures.update({did: NotFound(f"the file {did} does not exist") for did in plain if did not in found})
    return known


def append(
    connection: Connection, dataset: Did, row: DatasetRow, order: Sequence[Did], known: KnownFiles
) -> tuple[BulkResult[Did], list[Happening]]:
    """Append known files to a locked dataset; its live transfers hold them too."""
    result: BulkResult[Did] = BulkResult([], [(did, known.failures[did]) for did in order if did in known.failures])
    wanted = {known.ids[did]: did for did in order if did in known.ids}
    values = {"dataset_id": row.id, "file_ids": list(wanted)}
    attached = set(connection.execute(_ATTACHED, values).scalars())
    fresh = [file_id for file_id in wanted if file_id not in attached]
    if fresh and not row.open:
        closed = Closed(f"the dataset {dataset} is closed", "Write to a dataset of another name.")
        result.failed.extend((wanted[file_id], closed) for file_id in fresh)
        result.done.extend(wanted[file_id] for file_id in wanted if file_id in attached)
        return result, []
    result.done.extend(wanted.values())
    if not fresh:
        return result, []
    connection.execute(_APPEND, {"dataset_id": row.id, "first": row.files, "file_ids": fresh})
    transfers = connection.execute(_LIVE_TRANSFERS, {"dataset_id": row.id}).scalars().all()
    return result, holds.hold_contents(connection, transfers, row.files)


# Containers ----------------------------------------------------------------------------------------------------------

_CHILDREN = text("""
    SELECT d.scope, d.name, d.container, d.id FROM ddm.container_content c JOIN ddm.dataset d ON d.id = c.dataset_id
     WHERE c.container_id = :id AND d.erased_at IS NULL ORDER BY c.position
""")
_FIND_DATASETS = text("""
    SELECT d.scope, d.name, d.id FROM ddm.dataset d
      JOIN unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name) USING (scope, name)
     WHERE d.erased_at IS NULL
""")
_APPEND_DATASETS = text("""
    WITH added AS (
        INSERT INTO ddm.container_content (container_id, position, dataset_id)
        SELECT :id, :first + w.n - 1, w.dataset_id
          FROM unnest(CAST(:dataset_ids AS bigint[])) WITH ORDINALITY AS w(dataset_id, n)
        RETURNING 1
    )
    UPDATE ddm.dataset SET files = files + (SELECT count(*) FROM added) WHERE id = :id
""")


def _attach_datasets(
    connection: Connection, container: Did, row: DatasetRow, items: Sequence[FileSpec | Did]
) -> BulkResult[Did]:
    dids = [item if isinstance(item, Did) else item.did for item in items]
    found = {Did(r.scope, r.name): r.id for r in connection.execute(_FIND_DATASETS, _did_values(dids))}
    found.pop(container, None)
    result: BulkResult[Did] = BulkResult(
        [], [(did, NotFound(f"the dataset {did} does not exist")) for did in dids if did not in found]
    )
    attached = {r.id for r in connection.execute(_CHILDREN, {"id": row.id})}
    fresh = {found[did]: did for did in dids if did in found and found[did] not in attached}
    result.done.extend(did for did in dict.fromkeys(dids) if did in found and (row.open or found[did] in attached))
    if fresh and not row.open:
        result.failed.extend((did, Closed(f"the container {container} is closed")) for did in fresh.values())
    elif fresh:
        connection.execute(_APPEND_DATASETS, {"id": row.id, "first": row.files, "dataset_ids": list(fresh)})
    return result


def expand(engine: Engine, container: Did) -> list[Did]:
    """The datasets of a container in order, nested containers opened, each once; raises NotFound."""

    def work(connection: Connection) -> list[Did]:
        row = connection.execute(_FIND_KIND, {"scope": container.scope, "name": container.name}).one_or_none()
        if row is None:
            raise NotFound(f"the dataset {container} does not exist")
        if not row.container:
            return [container]
        return list(dict.fromkeys(_open_container(connection, row.id, _DEEPEST)))

    return run(engine, work)


_FIND_KIND = text("""
    SELECT id, container FROM ddm.dataset WHERE scope = :scope AND name = :name AND erased_at IS NULL
""")


def _open_container(connection: Connection, container_id: int, depth: int) -> Iterator[Did]:
    for child in connection.execute(_CHILDREN, {"id": container_id}).all():
        if not child.container:
            yield Did(child.scope, child.name)
        elif depth:
            yield from _open_container(connection, child.id, depth - 1)


# Reading -------------------------------------------------------------------------------------------------------------

_CONTENTS = text("""
    SELECT f.scope, f.name, f.bytes, f.adler32, f.guid::text AS guid, f.events, c.position
      FROM (SELECT position, file_id FROM ddm.content
             WHERE dataset_id = :dataset_id AND position >= :first AND position < :first + :page) c
      JOIN ddm.file f ON f.id = c.file_id
     ORDER BY c.position
""")
_DATASETS_OF = text("""
    SELECT f.scope AS file_scope, f.name AS file_name, d.scope, d.name
      FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name)
      JOIN ddm.file f USING (scope, name)
      JOIN ddm.content c ON c.file_id = f.id
      JOIN ddm.dataset d ON d.id = c.dataset_id
     WHERE d.erased_at IS NULL ORDER BY d.id
""")


def files(engine: Engine, dataset: Did) -> Iterator[FileInfo]:
    """The files of a dataset in order, read in pages so that any number of them needs little memory."""

    def find(connection: Connection) -> int:
        row = connection.execute(_FIND_KIND, {"scope": dataset.scope, "name": dataset.name}).one_or_none()
        if row is None:
            raise NotFound(f"the dataset {dataset} does not exist")
        return int(row.id)

    dataset_id = run(engine, find)
    first = 0
    while True:

        def work(connection: Connection, first: int = first) -> list[FileInfo]:
            rows = connection.execute(_CONTENTS, {"dataset_id": dataset_id, "first": first, "page": _PAGE})
            return [FileInfo(Did(r.scope, r.name), r.bytes, r.adler32, str(r.guid), r.events, r.position) for r in rows]

        page = run(engine, work)
        count = len(page)
        yield from page
        del page  # before the next one comes
        if count < _PAGE:
            return
        first += _PAGE


def find_by_guid(engine: Engine, guids: Sequence[str]) -> dict[str, Did]:
    """The files of these GUIDs, keyed as they were asked for."""
    found: dict[str, Did] = {}
    for piece in chunks([guid for guid in guids if _GUID.fullmatch(guid)], CHUNK):

        def work(connection: Connection, piece: Sequence[str] = piece) -> dict[str, Did]:
            rows = connection.execute(_FIND_GUIDS, {"guids": list(piece)})
            return {row.guid: Did(row.scope, row.name) for row in rows}

        found.update(run(engine, work))
    return {guid: found[guid.lower()] for guid in guids if guid.lower() in found}


def datasets_of(engine: Engine, dids: Sequence[Did]) -> dict[Did, list[Did]]:
    """The datasets that hold each file, oldest first."""
    answer: dict[Did, list[Did]] = {}
    for piece in chunks(dids, CHUNK):

        def work(connection: Connection, piece: Sequence[Did] = piece) -> list[tuple[Did, Did]]:
            rows = connection.execute(_DATASETS_OF, _did_values(piece))
            return [(Did(row.file_scope, row.file_name), Did(row.scope, row.name)) for row in rows]

        for did, dataset in run(engine, work):
            answer.setdefault(did, []).append(dataset)
    return answer
