"""How long free slots waited for us: the share of slot time that neither payloads nor their own tails explain."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Span:
    """A time from `start` to `end`, in seconds on one clock."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class TaskSpans:
    """The payloads of one task, and the moment from which its jobs could have run (its input was all made)."""

    possible_from: float
    payloads: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Slot time (s) in which slots were wanted, and how much of it free slots waited for us."""

    wanted_s: float
    waited_s: float

    @property
    def share(self) -> float:
        """The waited part, 0 to 1."""
        return self.waited_s / self.wanted_s if self.wanted_s else 0.0


def waiting(tasks: Sequence[TaskSpans], slots: int) -> Waiting:
    """Measure from the first moment a job could run to the end of the last payload.

    A free slot waits for us while some job that could run has not begun. It waits for the payload, and is not counted
    as ours, when all that could run is running: the tail of a task whose child needs all of its output.
    """
    moments = sorted(
        {one.possible_from for one in tasks} | {t for one in tasks for p in one.payloads for t in (p.start, p.end)}
    )
    wanted = waited = 0.0
    for begin, end in pairwise(moments):
        middle = (begin + end) / 2
        running = sum(p.start <= middle < p.end for one in tasks for p in one.payloads)
        pending = sum(one.possible_from <= middle < p.start for one in tasks for p in one.payloads)
        free = max(0, slots - running)
        wanted += (end - begin) * min(slots, running + pending)
        waited += (end - begin) * min(free, pending)
    return Waiting(wanted, waited)
