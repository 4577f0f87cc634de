"""Owns the bytes: where a file lies on an RSE, and how it is copied, checked and removed. No database here.

A file lies at `<root>/<scope>/<h[0:2]>/<h[2:4]>/<name>`, h = md5 of `scope:name`; dots in a scope open folders. Scope
and name keep the grammar of the port, which has no separator and no `..`: a path outside the root cannot be written
down.
"""

import os
import re
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from panda.ddm.port import Did, check_did
from panda.domain.names import file_path

BLOCK = 1 << 20
PFN_PREFIX = "file://localhost"
PART_NAME = re.compile(r"\.part-\d+\.\d+$")
_LONGEST_STEM = 200  # with the ending of a temporary name it stays under the 255 of file systems


class CopyError(Exception):
    """A copy failed; the message says why."""


class SourceUnreadable(CopyError):
    """The source is missing or cannot be read."""


class WrongContent(CopyError):
    """What was read is not what the catalogue says: size or checksum differ."""


class TargetRefused(CopyError):
    """The destination cannot be written."""


class Stopped(CopyError):
    """The copy was stopped: cancelled, lease lost or deadline passed."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the catalogue says about a file's content."""

    bytes: int
    adler32: str


def path_on(root: str, did: Did) -> Path:
    """Where a file lies under an RSE's root; raises InvalidName for names outside the grammar."""
    check_did(did)
    return Path(root) / file_path(did.scope, did.name)


def pfn(root: str, did: Did) -> str:
    """The address of a file at an RSE; for names from the catalogue, which were checked when they entered it."""
    return f"{PFN_PREFIX}{root.rstrip('/')}/{file_path(did.scope, did.name)}"


def part_path(target: Path, request_id: int, lease: int) -> Path:
    """The temporary name under which a request writes; the lease keeps a late writer out of its successor's file."""
    return target.with_name(f"{target.name[:_LONGEST_STEM]}.part-{request_id}.{lease}")


def prepare_root(root: str) -> None:
    """Make the folder of an RSE where this machine can."""
    with suppress(OSError):
        Path(root).mkdir(parents=True, exist_ok=True)


def reachable(root: str) -> bool:
    """Whether the RSE's folder can be seen from here."""
    return Path(root).is_dir()


def size_of(path: Path | str) -> int | None:
    """Size in bytes, None when there is no such file (a symbolic link is none)."""
    try:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116  # a hundred thousand in one call: no Path objects
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def holds(path: Path, expected: Expected) -> bool:
    """Whether a complete file with the right content lies there already (read from start to end)."""
    if size_of(path) != expected.bytes:
        return False
    checksum = 1
    with FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        while block := stream.read(BLOCK):
            checksum = zlib.adler32(block, checksum)
    return f"{checksum:08x}" == expected.adler32


def copy(source: Path, part: Path, root: str, expected: Expected, through: Callable[[bytes], bytes]) -> None:
    """Copy `source` to the temporary file `part` below `root`, durable and as expected, or raise a CopyError.

    Every block goes `through` a function of the caller, which may slow down, stop (raise) or, in tests, spoil it.
    """
    try:
        reader = FileIO(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except OSError as error:
        raise SourceUnreadable(f"cannot read {source}: {error.strerror}") from error
    with reader:
        try:
            _make_folder(part.parent, Path(root))
            _discard_older(part)
            writer = FileIO(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb")
        except OSError as error:
            raise TargetRefused(f"cannot write {part.parent}: {error.strerror}") from error
        with writer:
            found = _pump(reader, writer, through)
    if found != expected:
        raise WrongContent(
            f"{source} has {found.bytes} bytes and adler32 {found.adler32}, "
            f"the catalogue says {expected.bytes} and {expected.adler32}"
        )


def _pump(reader: FileIO, writer: FileIO, through: Callable[[bytes], bytes]) -> Expected:
    total, checksum = 0, 1
    while block := _read(reader):
        passed = through(block)
        checksum = zlib.adler32(passed, checksum)
        total += len(passed)
        _write(writer, passed)
    try:
        os.fsync(writer.fileno())
    except OSError as error:
        raise TargetRefused(f"cannot write to disk: {error.strerror}") from error
    return Expected(total, f"{checksum:08x}")


def _read(reader: FileIO) -> bytes:
    try:
        return reader.read(BLOCK) or b""
    except OSError as error:
        raise SourceUnreadable(f"cannot read on: {error.strerror}") from error


def _write(writer: FileIO, block: bytes) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[writer.write(view) :]
    except OSError as error:
        raise TargetRefused(f"cannot write on: {error.strerror}") from error


def publish(part: Path, target: Path) -> None:
    """Give the temporary file its name, durably."""
    try:
        part.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise TargetRefused(f"cannot rename {part.name}: {error.strerror}") from error


def remove(path: Path) -> None:
    """Remove a file; that it is gone already is fine. Raises OSError when it stays."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def _make_folder(folder: Path, root: Path) -> None:
    """Make the folders under a root that exists: a root that is missing is an unmounted disk, not a new one."""
    if not root.is_dir():
        raise FileNotFoundError(0, f"the RSE's folder {root} does not exist (not mounted?)")
    folder.mkdir(parents=True, exist_ok=True)


def _discard_older(part: Path) -> None:
    stem = part.name.rpartition(".")[0]
    for other in part.parent.iterdir():
        if other.name.startswith(f"{stem}.") and PART_NAME.search(other.name):
            other.unlink(missing_ok=True)
