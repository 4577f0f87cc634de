"""Watermarks: up to where a process took the rows of each class, so that its next pop does not walk over dead ones.

Theory. What pops delete stays in the index while an old transaction is open anywhere (a dump, a forgotten session), and
a pop that starts at the head of its class walks over all of it. A watermark holds for one generation of the class:
whoever puts rows into `ready`, or moves them, raises it in the same transaction, so a row that appears before the
watermark makes it void. Only a rollback can bring a row back that was skipped as locked: our own says so (`forget`),
that of another process is found at the latest when the class seems empty, or after `KEPT_S`. Until then such a row is
late by that much; it is never lost.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from panda.store.pop import HEAD, Spot

KEPT_S = 60.0
"""Age at which a class is looked at from its head again."""


@dataclass(frozen=True, slots=True)
class _Reached:
    gen: int
    spot: Spot
    since: float


class Watermarks:
    """What one process took of each class. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached: dict[int, _Reached] = {}
        self._turn = 0

    @contextmanager
    def walk(self) -> Iterator["Walk"]:
        """Go through classes in one transaction, which has to begin and end within; counts only if it was committed."""
        turn = self._turn
        one = Walk(self)
        try:
            yield one
        except BaseException:
            with self._lock:
                self._turn += 1  # nor does what others noted meanwhile count: the rows that came back lie before it
                self._reached.clear()
            raise
        if one.seen or one.again:
            with self._lock:
                self._note(one, turn)

    def of(self, class_id: int, gen: int) -> Spot:
        """Where the next pop of a class of this generation begins."""
        found = self._reached.get(class_id)
        if found is None or found.gen != gen or time.monotonic() - found.since > KEPT_S:
            return HEAD
        return found.spot

    def _note(self, walk: "Walk", turn: int) -> None:
        if turn != self._turn:
            return
        now = time.monotonic()
        for class_id in walk.again:
            self._reached.pop(class_id, None)
        for class_id, (gen, spot) in walk.seen.items():
            before = self._reached.get(class_id)
            if before is None or before.gen < gen or now - before.since > KEPT_S:
                self._reached[class_id] = _Reached(gen, spot, now)
            elif before.gen == gen and before.spot < spot:
                self._reached[class_id] = _Reached(gen, spot, before.since)


class Walk:
    """One transaction's way through the classes."""

    def __init__(self, marks: Watermarks) -> None:
        self._marks = marks
        self.seen: dict[int, tuple[int, Spot]] = {}
        self.again: set[int] = set()

    def start(self, class_id: int, gen: int) -> Spot:
        """Where to begin in a class of this generation."""
        return HEAD if class_id in self.again else self._marks.of(class_id, gen)

    def took(self, class_id: int, gen: int, spot: Spot) -> None:
        """Note the last row that was taken of a class."""
        self.seen[class_id] = (gen, spot)

    def restart(self, class_id: int, gen: int) -> bool:
        """Begin at the head of a class that seems empty; False if that is what was done."""
        if self.start(class_id, gen) == HEAD:
            return False
        self.again.add(class_id)
        return True
