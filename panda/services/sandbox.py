"""The cache of users' files (sandboxes): uploaded once, found again, never overwritten, dropped when long unused.

The row is the claim on a name, the file lies below `data_dir/cache`; both come in one transaction, so that a crash
between them leaves at most a file without a row, which the next upload of that name replaces.
"""

import struct
from pathlib import Path

from panda.domain.names import check_name
from panda.errors import Conflict, NotFound, Refused
from panda.services.context import Context
from panda.store import cache

MEBIBYTE = 1024**2
SOURCES_LIMIT = 768 * MEBIBYTE
LIMIT = 10 * MEBIBYTE
"""Most bytes of a file `sources.*` and of any other (wire-protocol.md 7.1)."""

OVERWRITABLE = ".__ow__"
EXPIRY_CHUNK = 100
_GZIP = b"\x1f\x8b"
_TRAILER = struct.Struct("<II")


def folder(ctx: Context) -> Path:
    """Where the files lie."""
    return ctx.settings.data_dir / "cache"


def draft(ctx: Context) -> Path:
    """The folder in which uploads are written before they get their names."""
    made = folder(ctx) / ".drafts"
    made.mkdir(parents=True, exist_ok=True)
    return made


def keep(ctx: Context, owner: str, name: str, written: Path) -> None:
    """Give an uploaded file its name. Raises Refused for a bad name or size, Conflict for a name that is taken.

    Only names that end in `.__ow__` may be written again, by who wrote them first.
    """
    check_name("file name", name)
    size = written.stat().st_size
    most = SOURCES_LIMIT if name.startswith("sources.") else LIMIT
    if size > most:
        raise Refused(f"{name} has {size} bytes, at most {most} are kept", hint="put large files into a dataset")
    if not size:
        raise Refused(f"{name} is empty", hint="send a file with contents")
    take = cache.replace if name.endswith(OVERWRITABLE) else cache.add
    with ctx.engine.begin() as connection:
        if not take(connection, name, owner, size, checksum_of(written)):
            raise Conflict(f"there is a file {name} already", hint="files are never overwritten: choose another name")
        written.replace(folder(ctx) / name)


def checksum_of(file: Path) -> int | None:
    """The CRC-32 in the last bytes of a gzip file, by which clients know their sandboxes; None of any other file."""
    with file.open("rb") as stream:
        if stream.read(2) != _GZIP or stream.seek(0, 2) < _TRAILER.size:
            return None
        stream.seek(-_TRAILER.size, 2)
        crc, _ = _TRAILER.unpack(stream.read(_TRAILER.size))
        return int(crc)


def find(ctx: Context, owner: str, size: int, checksum: int) -> str | None:
    """Find the owner's file with this size (bytes) and CRC-32; None if there is none."""
    with ctx.engine.begin() as connection:
        name = cache.same_contents(connection, owner, size, checksum)
    return name if name is not None and (folder(ctx) / name).is_file() else None


def fetch(ctx: Context, name: str) -> Path:
    """Where a file lies; it counts as used. Raises NotFound."""
    with ctx.engine.begin() as connection:
        known = cache.touch(connection, name)
    path = folder(ctx) / name
    if not known or not path.is_file():
        raise NotFound(f"there is no file {name[:255]!r} in the cache", hint="it may have expired: upload it again")
    return path


def expire(ctx: Context) -> int:
    """Drop files that nobody used for `cache_days` and that no task in work names; returns how many."""
    dropped = 0
    while True:
        with ctx.engine.begin() as connection:
            names = cache.unused(connection, ctx.settings.cache_days, EXPIRY_CHUNK)
            for name in names:
                (folder(ctx) / name).unlink(missing_ok=True)
            cache.forget(connection, names)
        dropped += len(names)
        if len(names) < EXPIRY_CHUNK:
            return dropped
