"""Owns how times, sizes and numbers are said to people."""

from collections.abc import Mapping
from datetime import UTC, datetime


def ago(now: datetime, then: datetime | None) -> str:
    """Say how long ago something was, in its largest unit: `5 min ago`; never, if there is no time."""
    if then is None:
        return "never"
    return f"{span((now - then).total_seconds())} ago"


def lasting(now: datetime, since: datetime) -> str:
    """Say how long something has lasted."""
    return span((now - since).total_seconds())


def span(seconds: float) -> str:
    """Say a time span in its largest unit that fits."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def clock(then: datetime) -> str:
    """Say a point in time, in UTC."""
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(n_bytes: float) -> str:
    """Say a number of bytes with its unit (powers of 1000)."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes:.0f} B"


_AWAITED: Mapping[str, str] = {
    "AwaitingCloud": "a cloud",
    "AwaitingSite": "a site",
    "AwaitingInput": "input",
    "AwaitingDdm": "the data management",
    "AwaitingTransfers": "input files on their way",
    "AwaitingPilots": "pilots",
    "AwaitingJobs": "jobs",
    "AwaitingOutputs": "outputs",
    "AwaitingDatasets": "datasets",
    "AwaitingStage": "its turn",
}


def awaited(state: str | None) -> str | None:
    """Say what a task waits for: the name of a state in Prefect, with words after it, as something to be read."""
    name, _, words = (state or "").partition(": ")
    if name not in _AWAITED:
        return state
    return f"{_AWAITED[name]}: {words}" if words else _AWAITED[name]


def counted(n: int, noun: str, plural: str = "") -> str:
    """Say how many there are of something."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"
