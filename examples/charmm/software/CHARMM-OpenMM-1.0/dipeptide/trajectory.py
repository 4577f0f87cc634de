"""Trajectories as DCD files, CHARMM's own format: written with no time of writing in them, and read."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dipeptide.transformation import BAD_DATA, TransformationError, replace_file

_AKMA_PS = 0.04888821  # CHARMM's unit of time in ps
_TITLE = b"ALANINE DIPEPTIDE, CHARMM36"


def write(name: str, frames: npt.NDArray[np.float64], interval: int, step_ps: float) -> None:
    """Write frames (frame, atom, xyz in angstrom), `interval` steps apart; equal arguments give equal bytes."""
    count, atoms, _ = frames.shape
    numbers = [count, interval, interval, count * interval, 0, 0, 0, 0, 0]
    control = struct.pack("<4s9if10i", b"CORD", *numbers, step_ps / _AKMA_PS, *([0] * 9), 24)
    titles = struct.pack("<i80s", 1, _TITLE.ljust(80))
    records = [control, titles, struct.pack("<i", atoms)]
    records += [frame[:, axis].astype("<f4").tobytes() for frame in frames for axis in range(3)]
    replace_file(name, b"".join(_framed(record) for record in records))


def _framed(record: bytes) -> bytes:
    """Put a Fortran record's length before and behind it."""
    length = struct.pack("<i", len(record))
    return length + record + length


def read(path: Path, atoms: int) -> npt.NDArray[np.float64]:
    """Read the frames (frame, atom, xyz in angstrom) of a DCD file without periodic box.

    A file that is cut off, no DCD, or of another number of atoms is a TransformationError (BAD_DATA).
    """
    try:
        records = _records(path.read_bytes())
        magic, count = struct.unpack_from("<4si", records[0])
        (found,) = struct.unpack("<i", records[2])
        columns = [np.frombuffer(record, "<f4", atoms) for record in records[3:]]
    except (ValueError, IndexError, struct.error) as failure:
        raise TransformationError(BAD_DATA, f"input {path} is not a readable DCD trajectory: {failure}") from failure
    if magic != b"CORD" or found != atoms or len(columns) != 3 * count or not count:
        raise TransformationError(
            BAD_DATA,
            f"input {path} is no trajectory of {atoms} atoms: {count} frames of {found}, {len(columns)} columns",
        )
    frames = np.array(columns, np.float64).reshape(count, 3, atoms).transpose(0, 2, 1)
    if not np.isfinite(frames).all():
        raise TransformationError(BAD_DATA, f"input {path} holds coordinates that are not finite")
    return frames


def _records(content: bytes) -> list[bytes]:
    records, position = [], 0
    while position < len(content):
        (length,) = struct.unpack_from("<i", content, position)
        record = content[position + 4 : position + 4 + length]
        if length < 0 or content[position + 4 + length : position + 8 + length] != content[position : position + 4]:
            raise ValueError(f"the record at byte {position} is damaged or cut off")
        records.append(record)
        position += 8 + length
    return records
