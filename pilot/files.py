"""Copies between a storage's folder and the work folder: checked while copying, never half there, never overwriting."""

import errno
import hashlib
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pilot.errors import ErrorCode, JobError, StorageAwayError
from pilot.job import InputFile
from pilot.names import place

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Digest:
    """What was read: bytes, and adler32 as 8 hex digits."""

    size: int
    adler32: str


def digest(path: Path) -> Digest:
    """Size and adler32 of a file."""
    return _pump(path, None)


def stage_in(file: InputFile, root: Path, folder: Path, *, link: bool) -> int:
    """Bring one input from a storage root into the work folder and check it; the answer is its bytes.

    1103 there is no such file, 1099 it cannot be read or has another size, 1171 / 1145 another checksum.
    """
    source = place(root, file.scope, file.lfn)
    target = folder / file.lfn
    if not source.is_file():
        raise JobError(ErrorCode.NO_SUCH_FILE, f"{file.scope}:{file.lfn} is not at {file.endpoint} ({source})")
    try:
        if link:
            target.symlink_to(source)
            found = digest(source)
        else:
            with target.open("xb") as sink:
                found = _pump(source, sink.fileno())
    except OSError as error:
        code = ErrorCode.NO_LOCAL_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else ErrorCode.STAGE_IN_FAILED
        raise JobError(code, f"cannot stage in {file.lfn}: {error}") from error
    _verify(file, found, target)
    return found.size


def put(source: Path, root: Path, scope: str, lfn: str, attempt: int) -> Digest:
    """Copy a finished file to its place on a storage (security-sites.md 5, "Rules for each put").

    Written under `<lfn>.part-<attempt>` with the checksum computed on the way, flushed to disk, then linked to its
    name, which fails if that exists: the same content there is a success (this put was done before), another one is
    the error 1137. A storage that does not answer raises StorageAwayError: the same put may work later.
    """
    final = place(root, scope, lfn)
    if not source.is_file():
        raise JobError(ErrorCode.OUTPUT_MISSING, f"{source.name} has gone before it was stored")
    if not root.is_dir():
        raise StorageAwayError(f"the storage's folder {root} is not there")
    part = final.with_name(f"{lfn}.part-{attempt}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        sent = _write_part(source, part)
        _publish(part, final, sent)
        _flush_folder(final.parent)
    except OSError as error:
        raise StorageAwayError(f"cannot store {lfn}: {error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return sent


def _write_part(source: Path, part: Path) -> Digest:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        sent = _pump(source, descriptor)
        os.fsync(descriptor)
        stored = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if stored != sent.size:
        raise StorageAwayError(f"{part.name} has {stored} bytes instead of {sent.size}")
    return sent


def _publish(part: Path, final: Path, sent: Digest) -> None:
    """Give the file its name, without a moment in which another's file could be replaced."""
    try:
        os.link(part, final)
    except FileExistsError:
        there = digest(final)
        if there != sent:
            message = f"{final.name} is stored already with {there.size} bytes, adler32 {there.adler32}"
            raise JobError(ErrorCode.STAGE_OUT_FAILED, f"{message}; ours has {sent.size}, {sent.adler32}") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK) or final.exists():
            raise
        part.rename(final)  # a file system without hard links; the attempt in the name keeps others away


def _pump(source: Path, sink: int | None) -> Digest:
    """Read a file to its end, writing what was read to `sink`."""
    checksum, size = 1, 0
    with source.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            checksum = zlib.adler32(chunk, checksum)
            size += len(chunk)
            left = memoryview(chunk)
            while sink is not None and left:
                left = left[os.write(sink, left) :]
    return Digest(size, f"{checksum:08x}")


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verify(file: InputFile, found: Digest, target: Path) -> None:
    if file.size is not None and found.size != file.size:
        message = f"{file.lfn} at {file.endpoint} has {found.size} bytes instead of {file.size}"
        raise JobError(ErrorCode.STAGE_IN_FAILED, message)
    kind, _, wanted = file.checksum.rpartition(":")
    if not wanted:
        return
    if kind == "md5":
        with target.open("rb") as stream:
            real, code = hashlib.file_digest(stream, "md5").hexdigest(), ErrorCode.MD5_MISMATCH_IN
    else:
        real, code = found.adler32, ErrorCode.ADLER32_MISMATCH_IN
    if real != wanted.lower().zfill(len(real)):
        raise JobError(code, f"{file.lfn} at {file.endpoint} has checksum {real} instead of {wanted}")
