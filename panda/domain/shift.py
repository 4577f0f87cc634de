"""The shifters' rules: which numbers of a site are a warning and which an alert (domain.md 5a, 5c)."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LEAST_ENDED = 5
"""A rate of fewer jobs says nothing."""
FAILING = (10.0, 30.0)
"""Per cent of the jobs that ended: warning, alert."""
IDLE_WORKERS = (10.0, 20.0)
"""Per cent of running pilots that hold no job (BigPanDA's orange and red)."""
PILE_UP = (5, 20)
"""Jobs that wait in a state on the way, for each one that runs."""
LEAST_PILED_UP = (50, 200)

SLOW_LINK = 10.0
"""How many times slower than the middle one of the other links is an alert; half of it a warning."""
LEAST_COPY_S = 1.0
"""A link whose copies take less each is slow for nobody."""


class Tone(StrEnum):
    """How bad it is."""

    GOOD = "good"
    WARN = "warn"
    ALERT = "alert"


def failure_rate(finished: int, failed: int) -> float | None:
    """Per cent of failed among failed and finished jobs; None when none ended (domain.md 5c)."""
    ended = finished + failed
    return 100.0 * failed / ended if ended else None


def failing(finished: int, failed: int) -> Tone | None:
    """How bad the failure rate is; None for too few jobs."""
    rate = failure_rate(finished, failed)
    if rate is None or finished + failed < LEAST_ENDED:
        return None
    return Tone.ALERT if rate >= FAILING[1] else Tone.WARN if rate >= FAILING[0] else Tone.GOOD


def idling(pilots: int, jobs: int, waiting: int) -> Tone | None:
    """How bad it is that running pilots hold no job while jobs wait for pilots; None where none run or none wait."""
    if not pilots or not waiting:
        return None
    idle = 100.0 * (pilots - jobs) / pilots
    return Tone.ALERT if idle > IDLE_WORKERS[1] else Tone.WARN if idle > IDLE_WORKERS[0] else Tone.GOOD


def piling_up(waiting: int, running: int) -> Tone | None:
    """How bad it is that so many jobs stand in one state on the way (waiting, assigned, transferring)."""
    if waiting > max(LEAST_PILED_UP[1], PILE_UP[1] * running):
        return Tone.ALERT
    return Tone.WARN if waiting > max(LEAST_PILED_UP[0], PILE_UP[0] * running) else None


def slow(rate: float | None, seconds_each: float, others: Sequence[float]) -> Tone | None:
    """How bad it is that a link copies at this rate (bytes per second) while others do at theirs.

    None where nothing can be said: nothing arrived, there is no other link, or a copy takes less than a second anyway.
    """
    if rate is None or not others or seconds_each < LEAST_COPY_S:
        return None
    times = statistics.median(others) / rate if rate else float("inf")
    return Tone.ALERT if times >= SLOW_LINK else Tone.WARN if times >= SLOW_LINK / 2 else Tone.GOOD


def dead(silent_s: float | None, limit_s: float, waiting: int) -> bool:
    """Tell whether a site looks dead: jobs wait there for pilots, and none spoke for as long as one may be silent.

    `silent_s` is the time since any pilot of the site asked or reported; None: none ever did.
    """
    return waiting > 0 and (silent_s is None or silent_s > limit_s)


SLOW_FACTOR = 10.0
"""So many times slower than elsewhere is slow: both in bytes a second and in the time that a block takes."""
LEAST_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """How blocks of files came to a storage lately: their number, median time (s) and median bytes a second."""

    rse: str
    blocks: int
    seconds: float
    bytes_per_s: float


def slow_way(here: Pace, elsewhere: Pace | None) -> bool:
    """Tell whether the way to a storage is slow: ten times slower than the others, for reasons that size is not."""
    return (
        elsewhere is not None
        and elsewhere.blocks >= LEAST_BLOCKS
        and here.bytes_per_s * SLOW_FACTOR < elsewhere.bytes_per_s
        and here.seconds > SLOW_FACTOR * elsewhere.seconds
    )
