"""How a task is cut into jobs, as plain numbers (domain.md 2.7); expansion in SQL makes the very same parts.

Pure: it is what a preview shows of a request. Rules in this order: events, files, bytes per job, then the number of
jobs; the first that is set wins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from panda.domain.work import Split
from panda.errors import Refused


@dataclass(frozen=True, slots=True)
class FileSize:
    """An input file as far as cutting goes: bytes, and events where they are known."""

    bytes: int
    events: int | None = None


@dataclass(frozen=True, slots=True)
class CutLimits:
    """What bounds a job and a task: most input files and bytes of one job, most jobs of one task."""

    files_per_job: int
    bytes_per_job: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Part:
    """One job: its range of input files, and of events where the task is cut by events."""

    ordinal: int
    first_file: int = 0
    n_files: int = 0
    first_event: int | None = None
    n_events: int | None = None


def rule_of(split: Split, *, has_input: bool) -> str:
    """Say by which rule a task is cut."""
    if split.events_per_job and (has_input or split.n_events):
        return f"{split.events_per_job} events per job"
    if not has_input:
        return f"{split.n_jobs} jobs without input"
    if split.files_per_job:
        return f"{split.files_per_job} input files per job"
    if split.bytes_per_job:
        return f"at most {split.bytes_per_job} bytes of input per job"
    return f"input shared among {split.n_jobs} jobs" if split.n_jobs else "at most the usual bytes of input per job"


def jobs_without_input(split: Split) -> Iterator[Part]:
    """Give the jobs of a task that reads nothing."""
    if split.n_events and split.events_per_job:
        size = split.events_per_job
        for ordinal, first in enumerate(range(0, split.n_events, size)):
            yield Part(ordinal, first_event=first, n_events=min(size, split.n_events - first))
        return
    for ordinal in range(split.n_jobs or 0):
        events = split.events_per_job
        yield Part(ordinal, first_event=None if events is None else ordinal * events, n_events=events)


def jobs_with_input(files: Sequence[FileSize], split: Split, limits: CutLimits) -> Iterator[Part]:
    """Give the jobs of a task that reads these files; raises Refused where the rule cannot be followed."""
    if not files:
        raise Refused("the input datasets are empty", hint="name datasets with files")
    if split.events_per_job:
        yield from _by_events(files, split.events_per_job, split.n_events)
    elif (per_job := _files_per_job(split, len(files))) is not None:
        size = min(per_job, limits.files_per_job)
        for ordinal, first in enumerate(range(0, len(files), size)):
            yield Part(ordinal, first, min(size, len(files) - first))
    else:
        yield from _by_bytes(files, split.bytes_per_job or limits.bytes_per_job, limits.files_per_job)


def _files_per_job(split: Split, n_files: int) -> int | None:
    if split.files_per_job is not None:
        return split.files_per_job
    if split.bytes_per_job is None and split.n_jobs:
        return -(-n_files // split.n_jobs)
    return None


def _by_bytes(files: Sequence[FileSize], most: int, most_files: int) -> Iterator[Part]:
    first = ordinal = 0
    while first < len(files):
        stop, size = first + 1, files[first].bytes
        while stop < len(files) and stop - first < most_files and size + files[stop].bytes <= most:
            size += files[stop].bytes
            stop += 1
        yield Part(ordinal, first, stop - first)
        first, ordinal = stop, ordinal + 1


def _by_events(files: Sequence[FileSize], per_job: int, bound: int | None) -> Iterator[Part]:
    unknown = sum(one.events is None for one in files)
    if unknown:
        raise Refused(f"{unknown} input files do not say their number of events", hint="use files_per_job")
    ends = []
    total = 0
    for one in files:
        total += one.events or 0
        ends.append(total)
    total = min(total, bound or total)
    first_file = 0
    for ordinal, first in enumerate(range(0, total, per_job)):
        last = min(first + per_job, total)
        while ends[first_file] <= first:
            first_file += 1
        stop = first_file
        while ends[stop] < last:
            stop += 1
        yield Part(ordinal, first_file, stop - first_file + 1, first, last - first)
