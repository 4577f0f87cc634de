"""What a job's folder holds: its bytes on disk, and when something in it was last touched."""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class FolderUse:
    """Bytes that are really allocated, and the newest modification (epoch seconds) below a folder."""

    allocated: int
    last_touched: float


def folder_use(folder: Path, untimed: Collection[str] = ()) -> FolderUse:
    """Walk a folder without following links; what vanishes meanwhile does not count.

    `untimed` are names directly in the folder whose bytes count, but not when they were touched.
    """
    allocated, newest = 0, 0.0
    no_matter = {str(folder / name) for name in untimed}
    todo = [str(folder)]
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            allocated += status.st_blocks * _BLOCK
            if entry.path not in no_matter:
                newest = max(newest, status.st_mtime)
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
    return FolderUse(allocated, newest)


def file_size(path: Path) -> int:
    """Bytes of a file, 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def free_bytes(folder: Path) -> int:
    """Free space of the file system below a folder."""
    return shutil.disk_usage(folder).free


def tail(path: Path, size: int) -> str:
    """The last bytes of a file as text; empty if it is not there."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - size))
            return stream.read(size).decode(errors="replace")
    except OSError:
        return ""
