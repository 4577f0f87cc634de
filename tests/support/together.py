"""Owns tests of things that happen at once: real threads that start together."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def together(*work: Callable[[], Result]) -> list[Result]:
    """Call everything at once, each in a thread of its own; gives the answers in order, raises the first error."""
    gate = threading.Barrier(len(work))

    def start(one: Callable[[], Result]) -> Result:
        gate.wait(60)
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result(120) for future in [pool.submit(start, one) for one in work]]


def flatten(parts: Sequence[Sequence[Result]]) -> list[Result]:
    """All items of all parts."""
    return [one for part in parts for one in part]
