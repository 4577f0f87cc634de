"""ROOT files with an `events` tree: read, and written so that equal content gives equal bytes.

uproot stamps a file with its name, a UUID and the time of writing, so that no two files are alike. Runs of this
campaign are compared byte by byte (adler32) with each other, whatever failed meanwhile, so all three are made
constant: written in memory (a constant name), a fixed UUID, and the dates set in the finished bytes by the records
that ROOT's documented layout gives (header, free segments, keys, directory).
"""

import io
import json
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import uproot

from zboson.transformation import BAD_DATA, TransformationError, replace_file

Columns: TypeAlias = Mapping[str, npt.NDArray[np.generic]]

_UUID = uuid.UUID("5a626f73-6f6e-4d4d-8d75-6d7500000000")
# ROOT's packed date, here 2009-03-23 00:00:00: the week in which the original of this system was shown at CHEP.
_DATE = (2009 - 1995) << 26 | 3 << 22 | 23 << 17

# What reading a damaged file was seen to raise, or may: uproot follows the bytes wherever they point.
_BROKEN = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError, struct.error, zlib.error, uproot.deserialization.DeserializationError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """Events as equally long columns, sorted by run and event, and counts that add up when samples are merged."""

    columns: Columns
    counts: dict[str, float]

    def __len__(self) -> int:
        return len(self.columns["event"])


def write(name: str, sample: Sample, histograms: Mapping[str, tuple[npt.NDArray[np.generic], ...]]) -> None:
    """Write `sample` and histograms (contents, edges) to file `name`; equal arguments give equal bytes."""
    memory = io.BytesIO()
    with uproot.recreate(memory, uuid_function=lambda: _UUID) as file:
        tree = file.mktree("events", {key: column.dtype for key, column in sample.columns.items()})
        if len(sample):
            tree.extend(dict(sample.columns))
        for key, histogram in histograms.items():
            file[key] = histogram
        checksums = {key: _checksum(column) for key, column in sample.columns.items()}
        file["summary"] = json.dumps({"counts": sample.counts, "crc32": checksums}, sort_keys=True)
        content = memory.getvalue()
    replace_file(name, timeless(content))


def read(path: Path, wanted: Sequence[str]) -> Sample:
    """Read the named columns and the counts of one file.

    A file that is no ROOT file, is cut off or damaged, or lacks a column is a TransformationError (BAD_DATA).
    """
    try:
        with uproot.open(path) as file:
            columns = file["events"].arrays(list(wanted), library="np")
            summary = json.loads(str(file["summary"]))
        counts = {str(key): float(value) for key, value in summary["counts"].items()}
        _check(path, columns, summary["crc32"])
    except _BROKEN as failure:
        raise TransformationError(
            BAD_DATA, f"input {path} is not a readable events file: {_reason(failure)}"
        ) from failure
    return Sample(columns, counts)


def _checksum(column: npt.NDArray[np.generic]) -> int:
    return zlib.crc32(np.ascontiguousarray(column).tobytes())


def _check(path: Path, columns: Columns, checksums: Mapping[str, int]) -> None:
    """Raise ValueError for damage that reading does not notice: parts that are stored as they are have no checksum."""
    with path.open("rb") as file:
        (end,) = struct.unpack_from(">i", file.read(100), 12)
    if path.stat().st_size != end:
        raise ValueError(f"{path.stat().st_size} bytes instead of {end}: cut off")
    wrong = [key for key, column in columns.items() if checksums[key] != _checksum(column)]
    if wrong:
        raise ValueError(f"wrong checksum of {', '.join(wrong)}")


def _reason(failure: Exception) -> str:
    """Give a failure's first line; not more: uproot's texts go on with the half-read object, at length."""
    told = [part for part in failure.args if isinstance(part, str) and part.strip()]
    first = told[0].strip().splitlines()[0].strip() if told else ""
    return f"{type(failure).__name__} {first}".strip()[:200]


def read_all(paths: Sequence[Path], wanted: Sequence[str]) -> Sample:
    """Read several files as one sample: the same whatever their order. An event that comes twice is refused."""
    samples = [read(path, wanted) for path in paths]
    joined = {key: np.concatenate([sample.columns[key] for sample in samples]) for key in wanted}
    order = np.lexsort((joined["event"], joined["run"]))
    columns = {key: column[order] for key, column in joined.items()}
    twice = np.flatnonzero((np.diff(columns["event"]) == 0) & (np.diff(columns["run"]) == 0))
    if len(twice):
        run, event = int(columns["run"][twice[0]]), int(columns["event"][twice[0]])
        raise TransformationError(BAD_DATA, f"event {event} of run {run} comes twice in the input files")
    keys = sorted({key for sample in samples for key in sample.counts})
    return Sample(columns, {key: sum(sample.counts.get(key, 0) for sample in samples) for key in keys})


def timeless(content: bytes) -> bytes:
    """Set every date in a ROOT file to one date and clear its free segments.

    A file is `root` + header, then records, each with a key in front, then the list of free segments.
    """
    image = bytearray(content)
    begin, end, seek_free, _, free_count = struct.unpack_from(">5i", image, 8)
    free = dict(_free_segments(image, seek_free, free_count))
    position, keys_at = begin, 0
    while position < end:
        if position in free:
            length = free[position] + 1 - position
            image[position : position + length] = struct.pack(">i", -length).ljust(length, b"\0")
            position += length
            continue
        (length,) = struct.unpack_from(">i", image, position)
        _stamp_key(image, position)
        if position == begin:
            keys_at = _stamp_directory(image, position)
        if position == keys_at:
            _stamp_key_list(image, position)
        position += length
    return bytes(image)


def _free_segments(image: bytearray, position: int, count: int) -> Iterator[tuple[int, int]]:
    position += _key_length(image, position)
    for _ in range(count):
        (version,) = struct.unpack_from(">h", image, position)
        layout = ">hqq" if version > 1000 else ">hii"
        _, first, last = struct.unpack_from(layout, image, position)
        yield first, last
        position += struct.calcsize(layout)


def _key_length(image: bytearray, position: int) -> int:
    return int(struct.unpack_from(">h", image, position + 14)[0])


def _stamp_key(image: bytearray, position: int) -> None:
    struct.pack_into(">I", image, position + 10, _DATE)


def _stamp_directory(image: bytearray, position: int) -> int:
    """Stamp the root directory's two dates; return where its list of keys lies."""
    position += _key_length(image, position)
    for _ in ("name", "title"):
        position += 1 + image[position]
    (version,) = struct.unpack_from(">h", image, position)
    struct.pack_into(">II", image, position + 2, _DATE, _DATE)
    layout = ">3q" if version > 1000 else ">3i"
    return int(struct.unpack_from(layout, image, position + 18)[2])


def _stamp_key_list(image: bytearray, position: int) -> None:
    position += _key_length(image, position)
    (count,) = struct.unpack_from(">i", image, position)
    position += 4
    for _ in range(count):
        _stamp_key(image, position)
        position += _key_length(image, position)
