"""Owns copies of files: registering what was written, losing, looking up; the local catalogue of each site."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Engine, Row, text

from panda.ddm.embedded import contents, datasets, events, holds, storage, topology
from panda.ddm.embedded.events import Happening
from panda.ddm.embedded.holds import Pairs
from panda.ddm.embedded.transactions import CHUNK, chunks, run
from panda.ddm.errors import DdmError, Inconsistent, NotFound, Unavailable
from panda.ddm.port import BulkResult, Completeness, Did, EventKind, FileSpec, ReplicaInfo, ReplicaState

# Registering ---------------------------------------------------------------------------------------------------------

_PLACE = text("""
    WITH placed AS (
        INSERT INTO ddm.replica (file_id, rse, state, transferred, written_by)
        SELECT p.file_id, p.rse, 'AVAILABLE', :transferred, :written_by
          FROM unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse)
         ORDER BY p.file_id, p.rse
        ON CONFLICT (file_id, rse) DO UPDATE SET
            state = 'AVAILABLE', bad_reads = 0, written_by = excluded.written_by, at = now()
         WHERE replica.state = 'SUSPICIOUS' AND excluded.transferred
        RETURNING file_id, rse, xmax = 0 AS fresh
    )
    INSERT INTO ddm.space (rse, files, bytes)
    SELECT p.rse, count(*), sum(f.bytes) FROM placed p JOIN ddm.file f ON f.id = p.file_id
     WHERE p.fresh GROUP BY p.rse
""")
_BEING_DELETED = text("""
    SELECT file_id FROM ddm.replica WHERE rse = :rse AND file_id = ANY(:file_ids) AND state = 'DELETING'
""")


def place(connection: Connection, pairs: Pairs, *, transferred: bool, written_by: str) -> None:
    """Enter copies into the catalogue; known ones stay as they are."""
    connection.execute(_PLACE, {**pairs.values(), "transferred": transferred, "written_by": written_by})


@dataclass(frozen=True, slots=True)
class _Target:
    """Where outputs were written, and what to do with them."""

    rse: str
    root: str
    dataset: Did | None
    written_by: str


def register(
    engine: Engine, rse: str, files: Sequence[FileSpec], *, dataset: Did | None, written_by: str
) -> BulkResult[Did]:
    """Enter files that lie at an RSE, and attach them to a dataset when given; see the port."""
    target = _Target(rse, topology.root_of(engine, rse), dataset, written_by)
    visible = storage.reachable(target.root)
    result: BulkResult[Did] = BulkResult([], [])
    for piece in chunks(files):
        good: list[FileSpec] = []
        for spec in piece:
            error = _trouble(target, spec, visible=visible)
            if error is None:
                good.append(spec)
            else:
                result.failed.append((spec.did, error))
        answer = run(engine, partial(_register_chunk, target=target, specs=good))
        result.done.extend(answer.done)
        result.failed.extend(answer.failed)
    return result


def _trouble(target: _Target, spec: FileSpec, *, visible: bool) -> DdmError | None:
    """Why a file cannot be registered as it is described: looked up at the storage, no checksum."""
    try:
        contents.check_file(spec)
        path = storage.pfn(target.root, spec.did).removeprefix(storage.PFN_PREFIX)
    except DdmError as error:
        return error
    if spec.pfn and spec.pfn.removeprefix(storage.PFN_PREFIX) != path:
        return Inconsistent(f"{spec.did} at {target.rse} has to lie at {path}, not at {spec.pfn[:300]}")
    if not visible:
        return None
    size = storage.size_of(path)
    if size is None:
        return NotFound(f"{spec.did} does not lie at {target.rse}", f"Write it to {path} first.")
    if size != spec.bytes:
        return Inconsistent(f"{spec.did} at {target.rse} has {size} bytes, not {spec.bytes}")
    return None


def _register_chunk(connection: Connection, target: _Target, specs: Sequence[FileSpec]) -> BulkResult[Did]:
    row = datasets.lock(connection, target.dataset) if target.dataset is not None else None
    known = contents.ensure_files(connection, specs)
    values = {"rse": target.rse, "file_ids": list(known.ids.values())}
    deleting = set(connection.execute(_BEING_DELETED, values).scalars())
    for did in [did for did, file_id in known.ids.items() if file_id in deleting]:
        known.failures[did] = Unavailable(f"a copy of {did} is just being deleted at {target.rse}; try again")
        del known.ids[did]
    pairs = Pairs.at(target.rse, known.ids.values())
    holds.drop_requests(connection, pairs)
    place(connection, pairs, transferred=False, written_by=target.written_by)
    happenings = holds.arrived(connection, pairs)
    order = [spec.did for spec in specs]
    if target.dataset is not None and row is not None:
        result, more = contents.append(connection, target.dataset, row, order, known)
        happenings += more
    else:
        done = [did for did in dict.fromkeys(order) if did in known.ids]
        result = BulkResult(done, list(known.failures.items()))
    events.write(connection, happenings)
    return result


# Losing --------------------------------------------------------------------------------------------------------------

_LOSE = text("""
    WITH gone AS (
        DELETE FROM ddm.replica r USING ddm.file f
         WHERE f.id = r.file_id AND r.rse = :rse AND r.file_id = ANY(:file_ids) AND r.state <> 'DELETING'
        RETURNING r.file_id, f.scope, f.name, f.bytes
    ), freed AS (
        INSERT INTO ddm.space (rse, files, bytes)
        SELECT CAST(:rse AS text), -count(*), -sum(bytes) FROM gone HAVING count(*) > 0
    )
    SELECT file_id, scope, name FROM gone ORDER BY file_id
""")


def declare_lost(engine: Engine, rse: str, dids: Sequence[Did], reason: str) -> BulkResult[Did]:
    """Take copies out of the catalogue; transfers that held them bring them again."""
    topology.root_of(engine, rse)
    result: BulkResult[Did] = BulkResult([], [])
    for piece in chunks(dids):

        def work(connection: Connection, piece: Sequence[Did] = piece) -> set[Did]:
            known = contents.find_files(connection, piece)
            rows = connection.execute(_LOSE, {"rse": rse, "file_ids": list(known.values())}).all()
            told = [Happening(EventKind.REPLICA_LOST, Did(r.scope, r.name), rse, detail=reason) for r in rows]
            told += holds.lost(connection, Pairs.at(rse, [row.file_id for row in rows]))
            events.write(connection, told)
            return set(known)

        known = run(engine, work)
        result.done.extend(did for did in piece if did in known)
        result.failed.extend((did, NotFound(f"the file {did} does not exist")) for did in piece if did not in known)
    return result


# Look-up -------------------------------------------------------------------------------------------------------------

_REPLICAS = text("""
    SELECT f.scope, f.name, f.bytes, f.adler32, f.guid::text AS guid, r.rse, r.state, r.written_by, r.at, e.root
      FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name)
      JOIN ddm.file f USING (scope, name)
      JOIN ddm.replica r ON r.file_id = f.id
      JOIN ddm.rse e ON e.name = r.rse
     WHERE r.state <> 'DELETING' AND (CAST(:rses AS text[]) IS NULL OR r.rse = ANY(CAST(:rses AS text[])))
""")
_LOCAL = text("""
    SELECT f.id, f.scope, f.name, f.bytes, f.adler32, f.guid::text AS guid, r.rse, r.state, r.written_by, r.at, e.root
      FROM ddm.rse e
      JOIN ddm.replica r ON r.rse = e.name
      JOIN ddm.file f ON f.id = r.file_id
     WHERE e.name = :rse AND r.state <> 'DELETING' AND r.file_id > :after
     ORDER BY r.file_id LIMIT :page
""")
_LOCATIONS = text("""
    SELECT d.scope, d.name, d.files, d.bytes, r.rse, count(*) AS here, sum(f.bytes) AS bytes_here
      FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name)
      JOIN ddm.dataset d USING (scope, name)
      JOIN ddm.content c ON c.dataset_id = d.id
      JOIN ddm.replica r ON r.file_id = c.file_id AND r.state = 'AVAILABLE'
      JOIN ddm.file f ON f.id = c.file_id
     WHERE d.erased_at IS NULL
     GROUP BY d.id, r.rse
""")


def _info(row: Row[tuple[object, ...]]) -> ReplicaInfo:
    did = Did(row.scope, row.name)
    return ReplicaInfo(
        did=did,
        rse=row.rse,
        state=ReplicaState(row.state),
        pfn=storage.pfn(row.root, did),
        bytes=row.bytes,
        adler32=row.adler32,
        guid=row.guid,
        written_by=row.written_by,
        at=row.at,
    )


def find(engine: Engine, dids: Sequence[Did], rses: Sequence[str] | None) -> Iterator[ReplicaInfo]:
    """Every copy of these files (at these RSEs)."""
    for piece in chunks(dids):
        values = {
            "scopes": [did.scope for did in piece],
            "names": [did.name for did in piece],
            "rses": None if rses is None else list(rses),
        }

        def work(connection: Connection, values: Mapping[str, object] = values) -> list[ReplicaInfo]:
            return [_info(row) for row in connection.execute(_REPLICAS, values)]

        yield from run(engine, work)


def local_catalogue(engine: Engine, rse: str) -> Iterator[ReplicaInfo]:
    """The local replica catalogue of an RSE: every copy there, who wrote it and when, page by page."""
    after = 0
    while True:

        def work(connection: Connection, after: int = after) -> list[tuple[int, ReplicaInfo]]:
            rows = connection.execute(_LOCAL, {"rse": rse, "after": after, "page": CHUNK})
            return [(row.id, _info(row)) for row in rows]

        page = run(engine, work)
        yield from (info for _, info in page)
        if len(page) < CHUNK:
            return
        after = page[-1][0]


def locations(engine: Engine, dids: Sequence[Did]) -> dict[Did, dict[str, Completeness]]:
    """Per dataset and RSE how much of it is available there."""
    answer: dict[Did, dict[str, Completeness]] = {did: {} for did in dids}
    for piece in chunks(dids, 1000):
        values = {"scopes": [did.scope for did in piece], "names": [did.name for did in piece]}

        def work(connection: Connection, values: dict[str, list[str]] = values) -> None:
            for row in connection.execute(_LOCATIONS, values):
                answer[Did(row.scope, row.name)][row.rse] = Completeness(
                    row.here, row.files, int(row.bytes_here), row.bytes
                )

        run(engine, work)
    return answer
