"""Logs of workers that factories upload piece by piece: kept as files below the data folder for KEPT_DAYS."""

import re
import time
import zlib
from pathlib import Path

from panda.errors import BadRequest, NotFound, Refused
from panda.services.context import Context

MEBIBYTE = 1024**2
LOG_LIMIT = 20 * MEBIBYTE
KEPT_DAYS = 30
FOLDER = "worker_logs"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
_DAY_S = 86_400
_ZLIB_METHOD = 8


def add(ctx: Context, name: str, piece: bytes, *, append: bool = False) -> int:
    """Keep a piece of a log; returns the size of the whole (bytes).

    A zlib-compressed piece is what follows the pieces before it (Harvester sends a growing log so), a plain one is the
    whole log unless `append`. Raises BadRequest for a name that is no plain file name, for broken zlib, for a log
    over LOG_LIMIT; nothing is kept then.
    """
    path = _path(ctx, name)
    packed = _is_zlib(piece)
    text = _expanded(piece) if packed else piece
    old = path.stat().st_size if (packed or append) and path.exists() else 0
    if old + len(text) > LOG_LIMIT:
        raise Refused(f"log {name} would be larger than {LOG_LIMIT // MEBIBYTE} MiB", hint="send only its end")
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed or append:
        with path.open("ab") as log:
            log.write(text)
    else:
        draft = path.with_name(f".{name}.draft")
        draft.write_bytes(text)
        draft.replace(path)
    return old + len(text)


def read(ctx: Context, name: str, offset: int = 0) -> bytes:
    """What a log holds from `offset` (bytes) on. Raises NotFound, and BadRequest for a name that is no file name."""
    path = _path(ctx, name)
    try:
        with path.open("rb") as log:
            log.seek(offset)
            return log.read(LOG_LIMIT)
    except FileNotFoundError:
        raise NotFound(f"there is no log {name!r}", hint=f"logs are kept for {KEPT_DAYS} days") from None


def forget(ctx: Context) -> int:
    """Delete logs that nobody has added to for KEPT_DAYS; returns how many."""
    folder = ctx.settings.data_dir / FOLDER
    old = [one for one in folder.glob("*") if one.stat().st_mtime < time.time() - KEPT_DAYS * _DAY_S]
    for one in old:
        one.unlink(missing_ok=True)
    return len(old)


def _path(ctx: Context, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise BadRequest(
            f"{name[:80]!r} is no name of a log", hint="letters, digits and . _ + -, at most 200, no dot at the start"
        )
    return ctx.settings.data_dir / FOLDER / name


def _is_zlib(piece: bytes) -> bool:
    """Whether a piece begins like zlib does (RFC 1950: method 8, the first two bytes a multiple of 31)."""
    return len(piece) > 1 and piece[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(piece[:2], "big") % 31 == 0


def _expanded(piece: bytes) -> bytes:
    """Unpack a piece, never more than the limit of a log."""
    engine = zlib.decompressobj()
    try:
        text = engine.decompress(piece, LOG_LIMIT + 1)
    except zlib.error as error:
        raise BadRequest(f"the piece begins like zlib but is not: {error}", hint="send zlib or plain text") from None
    if len(text) > LOG_LIMIT:
        raise Refused(f"the piece is larger than {LOG_LIMIT // MEBIBYTE} MiB", hint="send less at once")
    if not engine.eof:
        raise BadRequest("the zlib piece ends too early", hint="send the whole piece")
    return text
