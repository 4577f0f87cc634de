"""What a running payload may use, and which limit it has passed: pure rules (domain.md 1d)."""

from dataclasses import dataclass
from typing import Any

from pilot.errors import ErrorCode, JobError
from pilot.job import Job

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What a payload has used up to a moment. Times in s, sizes in bytes, memory in kB."""

    wall_s: float
    cpu_s: float
    rss_kb: int
    folder_bytes: int
    stdout_bytes: int
    untouched_s: float
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """0 means not limited."""

    wall_s: float = 0
    memory_mb: int = 0
    disk_mb: int = 0
    stdout_mb: int = 0
    looping_s: float = 0
    min_free_mb: int = 0


def memory_limit_mb(asked_mb: int, queue_maxrss: Any, slack: float) -> int:
    """The memory a job may use; 0 for no limit.

    What it asked for times the slack (summed RSS counts shared pages several times), but not more than the queue's
    maxrss unless the job asked for more than that; without a wish the queue's maxrss.
    """
    maxrss = int(queue_maxrss) if isinstance(queue_maxrss, int | float) and queue_maxrss > 0 else 0
    if asked_mb <= 0:
        return maxrss
    wished = int(asked_mb * slack)
    return min(wished, max(maxrss, asked_mb)) if maxrss else wished


def limits_of(
    job: Job, queue_maxrss: Any, *, slack: float, stdout_mb: int, looping_s: float, min_free_mb: int
) -> Limits:
    """The limits of a job at a queue; those that the job does not name are the pilot's settings."""
    return Limits(
        wall_s=job.max_wall_s,
        memory_mb=memory_limit_mb(job.memory_mb, queue_maxrss, slack),
        disk_mb=job.max_disk_mb,
        stdout_mb=stdout_mb,
        looping_s=looping_s,
        min_free_mb=min_free_mb,
    )


def violation(usage: Usage, limits: Limits) -> JobError | None:
    """The first limit that is passed, as the error the job ends with."""
    rules = (
        (usage.wall_s, limits.wall_s, ErrorCode.WALL_TIME_LIMIT, "ran {0:.0f} s, allowed are {1:.0f} s"),
        (
            usage.rss_kb / 1024,
            limits.memory_mb,
            ErrorCode.MEMORY_EXCEEDED,
            "uses {0:.0f} MB of memory, allowed are {1} MB",
        ),
        (
            usage.folder_bytes / _MB,
            limits.disk_mb,
            ErrorCode.WORKDIR_TOO_LARGE,
            "fills {0:.0f} MB of disk, allowed are {1} MB",
        ),
        (
            usage.stdout_bytes / _MB,
            limits.stdout_mb,
            ErrorCode.STDOUT_TOO_LARGE,
            "printed {0:.0f} MB, allowed are {1} MB",
        ),
        (
            usage.untouched_s,
            limits.looping_s,
            ErrorCode.LOOPING,
            "touched no file for {0:.0f} s, allowed are {1:.0f} s",
        ),
    )
    for used, allowed, code, text in rules:
        if allowed and used > allowed:
            return JobError(code, "the payload " + text.format(used, allowed))
    if usage.free_bytes / _MB < limits.min_free_mb:
        left = usage.free_bytes // _MB
        return JobError(
            ErrorCode.NO_LOCAL_SPACE, f"only {left} MB of disk are left here, {limits.min_free_mb} MB are kept free"
        )
    return None
