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
"""How many times slower than what is usual on the other ways is an alert; half of it a warning."""
LEAST_COPY_S = 1.0
"""A way on which each takes less is slow for nobody."""
LEAST_ELSEWHERE = 3
"""What came elsewhere says what is usual if it was so many."""


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


def dead(silent_s: float | None, limit_s: float, waiting: int) -> bool:
    """Tell whether a site looks dead: jobs wait there for pilots, and none spoke for as long as one may be silent.

    `silent_s` is the time since any pilot of the site asked or reported; None: none ever did.
    """
    return waiting > 0 and (silent_s is None or silent_s > limit_s)


@dataclass(frozen=True, slots=True)
class Pace:
    """How files, or blocks of them, came on a way lately: their number, the time (s) of one, and bytes a second."""

    rse: str
    n: int
    seconds: float
    bytes_per_s: float


def usual_of(others: Sequence[Pace]) -> Pace | None:
    """What is usual on several ways: the middle time and the middle rate; None without any."""
    if not others:
        return None
    seconds, rates = (one.seconds for one in others), (one.bytes_per_s for one in others)
    return Pace("elsewhere", sum(one.n for one in others), statistics.median(seconds), statistics.median(rates))


def slow(here: Pace, usual: Pace | None) -> Tone | None:
    """How bad it is that files come on a way at this pace while elsewhere another one is usual.

    Both must be worse, bytes a second and the time of one: small files make few bytes a second on a good way, too.
    None where nothing can be said: too little is known of elsewhere, or one takes less than a second anyway.
    """
    if usual is None or usual.n < LEAST_ELSEWHERE or here.seconds < LEAST_COPY_S:
        return None
    in_rate = usual.bytes_per_s / here.bytes_per_s if here.bytes_per_s else float("inf")
    in_time = here.seconds / usual.seconds if usual.seconds else float("inf")
    times = min(in_rate, in_time)
    return Tone.ALERT if times >= SLOW_LINK else Tone.WARN if times >= SLOW_LINK / 2 else Tone.GOOD
