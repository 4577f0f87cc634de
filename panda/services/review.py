"""Looking back at a campaign: what it cost, what it made, and whether every byte of it is where the catalogue says."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import RowMapping

from panda.ddm.port import Did, ReplicaState
from panda.domain.slots import Span, TaskSpans, Waiting, waiting
from panda.domain.states import TaskStage
from panda.services.context import Context
from panda.store import review as store

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class TaskCost:
    """One task of a campaign: jobs, attempts, files and bytes made and moved, wall time (s)."""

    id: int
    name: str
    stage: TaskStage
    cloud: str | None
    jobs: int
    attempts: int
    files: int
    bytes: int
    moved_in_files: int
    moved_in_bytes: int
    moved_out_files: int
    moved_out_bytes: int
    wall_s: float
    closed: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """How many files were read from disk and compared, and what was wrong with any."""

    files: int
    bytes: int
    problems: tuple[str, ...]


def costs(ctx: Context, tasks: Sequence[int]) -> list[TaskCost]:
    """Sum up what each task did."""
    with ctx.engine.begin() as connection:
        rows = store.sums(connection, tasks)
    return [
        TaskCost(
            id=row["id"],
            name=row["name"],
            stage=TaskStage(row["stage"]),
            cloud=row["cloud"],
            jobs=row["jobs"],
            attempts=row["attempts"],
            files=row["files"],
            bytes=int(row["bytes"]),
            moved_in_files=int(row["dis_files"]),
            moved_in_bytes=int(row["dis_bytes"]),
            moved_out_files=row["moved_files"],
            moved_out_bytes=int(row["moved_bytes"]),
            wall_s=float((row["ended"] or row["submitted"]) - row["submitted"]),
            closed=bool(row["closed"]),
        )
        for row in rows
    ]


def slot_waiting(ctx: Context, tasks: Sequence[int], slots: int) -> Waiting:
    """Measure how long free slots waited for us: `slots` is how many payloads the machine can run at once."""
    with ctx.engine.begin() as connection:
        rows = store.payload_spans(connection, tasks)
        sums = store.sums(connection, tasks)
    spans: dict[int, list[Span]] = defaultdict(list)
    for row in rows:
        spans[row["task_id"]].append(Span(float(row["began"]), float(row["ended"])))
    found = []
    for row in sums:
        made = spans.get(row["id"], [])
        parent = spans.get(row["parent_id"], []) if row["parent_id"] else []
        possible = max((one.end for one in parent), default=float(row["submitted"]))
        found.append(TaskSpans(max(possible, float(row["submitted"])), tuple(made)))
    return waiting(found, slots)


def verify(ctx: Context, tasks: Sequence[int]) -> Verified:
    """Read every file of the tasks' datasets from disk and compare size and adler32 with what was reported.

    A dataset that is open, a file without a readable replica at any RSE, or another checksum is a problem.
    """
    with ctx.engine.begin() as connection:
        rows = store.outputs(connection, tasks)
    problems = sorted({f"dataset {row['dataset']} is {row['state']}" for row in rows if row["state"] != "closed"})
    files = [row for row in rows if row["lfn"] is not None]
    pfns = _places(ctx, files)
    size = 0
    for row in files:
        found = pfns.get(Did(row["scope"], row["lfn"]), [])
        if not found:
            problems.append(f"{row['lfn']} has no replica")
        for path in found:
            problem = _compare(path, row)
            if problem is not None:
                problems.append(problem)
            size += row["bytes"]
    return Verified(len(files), size, tuple(problems))


def files_of(ctx: Context, task_id: int) -> list[Path]:
    """Give a readable place of every file of a task's output datasets (not logs), in the order of their jobs."""
    with ctx.engine.begin() as connection:
        rows = [row for row in store.outputs(connection, [task_id]) if row["lfn"] and row["kind"] == "output"]
    pfns = _places(ctx, rows)
    return [pfns[Did(row["scope"], row["lfn"])][0] for row in rows]


def _places(ctx: Context, rows: Sequence[RowMapping]) -> dict[Did, list[Path]]:
    found: dict[Did, list[Path]] = defaultdict(list)
    for replica in ctx.ddm.replicas([Did(row["scope"], row["lfn"]) for row in rows]):
        if replica.state is ReplicaState.AVAILABLE:
            found[replica.did].append(Path(unquote(urlsplit(replica.pfn).path)))
    return found


def _compare(path: Path, row: RowMapping) -> str | None:
    try:
        checksum, size = _adler32(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if size != row["bytes"] or checksum != row["adler32"]:
        return f"{path}: {size} bytes, adler32 {checksum}; reported were {row['bytes']} and {row['adler32']}"
    return None


def _adler32(path: Path) -> tuple[str, int]:
    checksum, size = 1, 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum, size = zlib.adler32(block, checksum), size + len(block)
    return f"{checksum & 0xFFFFFFFF:08x}", size
