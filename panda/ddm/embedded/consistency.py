"""Owns the comparison of a storage with its catalogue: dark files (nobody knows them), missing files, left-over parts.

Young files are left alone: a pilot may have written what is not registered yet.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from panda.ddm.embedded import replicas, storage, topology
from panda.ddm.embedded.transactions import CHUNK, chunks, run
from panda.ddm.errors import Unavailable
from panda.ddm.port import Did

DAY_S = 86_400.0

_KNOWN = text("""
    SELECT f.scope, f.name FROM unnest(CAST(:scopes AS text[]), CAST(:names AS text[])) AS w(scope, name)
      JOIN ddm.file f ON f.scope = w.scope AND f.name = w.name
     WHERE EXISTS (SELECT FROM ddm.replica r WHERE r.file_id = f.id AND r.rse = :rse)
        OR EXISTS (SELECT FROM ddm.request q WHERE q.file_id = f.id AND q.rse = :rse)
""")


@dataclass(frozen=True, slots=True)
class Report:
    """What does not fit: dark files and left-over temporary files on disk, files missing or short there."""

    dark: list[Path]
    parts: list[Path]
    missing: list[Did]


def scan(engine: Engine, rse: str, *, older_than_s: float = DAY_S) -> Report:
    """Compare an RSE's folder with the catalogue; files younger than `older_than_s` are not judged.

    Raises NotFound for an unknown RSE, Unavailable when its folder is not there.
    """
    root = topology.root_of(engine, rse)
    if not storage.reachable(root):
        raise Unavailable(f"the folder {root} of {rse} is not there")
    limit = time.time() - older_than_s
    dark: list[Path] = []
    parts: list[Path] = []
    for piece in _pieces(_old_files(Path(root), limit)):
        parts += [path for path in piece if storage.PART_NAME.search(path.name)]
        files = [path for path in piece if not storage.PART_NAME.search(path.name)]
        known = _known(engine, rse, [_did_of(Path(root), path) for path in files])
        dark += [path for path in files if not _belongs(Path(root), path, known)]
    return Report(dark, parts, _missing(engine, rse))


def _missing(engine: Engine, rse: str) -> list[Did]:
    return [
        info.did
        for info in replicas.local_catalogue(engine, rse)
        if storage.size_of(info.pfn.removeprefix(storage.PFN_PREFIX)) != info.bytes
    ]


def delete_dark(
    engine: Engine, rse: str, *, suffix: str = "", older_than_s: float = DAY_S, parts: bool = True
) -> list[Path]:
    """Delete dark files whose name ends in `suffix`, and left-over temporary files; returns what was deleted."""
    report = scan(engine, rse, older_than_s=older_than_s)
    doomed = [path for path in report.dark if path.name.endswith(suffix)]
    doomed += report.parts if parts else []
    for path in doomed:
        storage.remove(path)
    return doomed


def delete_unregistered(engine: Engine, rse: str, dids: Sequence[Did]) -> list[Did]:
    """Delete these files from an RSE's disk where the catalogue does not know them there.

    For outputs of an attempt that lost: their names end in its attempt number, nobody else writes them.
    """
    root = topology.root_of(engine, rse)
    known = _known(engine, rse, dids)
    gone: list[Did] = []
    for did in dids:
        path = storage.path_on(root, did)
        if did not in known and storage.size_of(path) is not None:
            storage.remove(path)
            gone.append(did)
    return gone


def _old_files(root: Path, limit: float) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            try:
                if path.lstat().st_mtime <= limit:
                    yield path
            except FileNotFoundError:
                continue


def _pieces(paths: Iterator[Path]) -> Iterator[list[Path]]:
    while piece := list(islice(paths, CHUNK)):
        yield piece


def _did_of(root: Path, path: Path) -> Did:
    return Did(".".join(path.relative_to(root).parts[:-3]), path.name)


def _belongs(root: Path, path: Path, known: set[Did]) -> bool:
    """Whether the catalogue knows a file, at this very place."""
    did = _did_of(root, path)
    return did in known and path == storage.path_on(str(root), did)


def _known(engine: Engine, rse: str, dids: Sequence[Did]) -> set[Did]:
    """Those of these files that have an entry at the RSE, or are just being copied there."""
    found: set[Did] = set()
    for piece in chunks(dids):
        values = {"rse": rse, "scopes": [did.scope for did in piece], "names": [did.name for did in piece]}

        def work(connection: Connection, values: Mapping[str, object] = values) -> set[Did]:
            return {Did(row.scope, row.name) for row in connection.execute(_KNOWN, values)}

        found |= run(engine, work)
    return found
