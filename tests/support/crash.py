"""Owns the crashes of tests: a program that is cut off before any one of its statements or commits."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event


class Crash(BaseException):
    """The process is gone; no `except Exception` may hold it up."""


@contextmanager
def crash_at(step: int, *engines: Engine) -> Iterator[None]:
    """Raise Crash before statement or commit number `step` (from 0) on any of the engines."""
    steps = itertools.count()

    def count(*_arguments: object) -> None:
        if next(steps) == step:
            raise Crash

    for engine in engines:
        event.listen(engine, "before_cursor_execute", count)
        event.listen(engine, "commit", count)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", count)
            event.remove(engine, "commit", count)


def every_crash(run: Callable[[], object], *engines: Engine) -> Iterator[int]:
    """Cut `run` off at its first step, then at its second, ...; yields after each crash until one run comes through."""
    for step in itertools.count():
        try:
            with crash_at(step, *engines):
                run()
        except Crash:
            yield step
        else:
            return
