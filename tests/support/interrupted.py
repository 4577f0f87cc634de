"""Owns what comes between: before a transaction, or around a call of the DDM, an error or the work of another."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Engine, event

from panda.ddm.port import DataManager
from panda.services.context import Context

CHANGING = ("create_datasets", "register_replicas", "request", "attach", "close")


class Interrupted:
    """The real DDM; before or after its n-th changing call an error is raised, or something else is done first."""

    def __init__(self, ddm: DataManager, n: int, happens: Any, *, after: bool) -> None:
        self._ddm = ddm
        self._left = n
        self._happens = happens
        self._after = after
        self.interrupted = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._ddm, name)
        return partial(self._call, call) if name in CHANGING else call

    def _call(self, call: Any, *arguments: Any, **named: Any) -> Any:
        self._left -= 1
        now = self._left == -1
        if now and not self._after:
            self._interrupt()
        answer = call(*arguments, **named)
        if now and self._after:
            self._interrupt()
        return answer

    def _interrupt(self) -> None:
        self.interrupted = True
        if isinstance(self._happens, BaseException):
            raise self._happens
        self._happens()


@contextmanager
def interrupted(ctx: Context, n: int, happens: Any, *, after: bool = False) -> Iterator[tuple[Context, Interrupted]]:
    """A context whose DDM is interrupted at its n-th changing call (from 0)."""
    ddm = Interrupted(ctx.ddm, n, happens, after=after)
    yield replace(ctx, ddm=ddm), ddm


@contextmanager
def between_transactions(engine: Engine, n: int, happens: Callable[[], object]) -> Iterator[None]:
    """Let something happen just before the n-th transaction (from 0) begins: whoever begins it holds no lock then."""
    begun = itertools.count()

    def begin(_connection: object) -> None:
        if next(begun) == n:
            happens()

    event.listen(engine, "begin", begin)
    try:
        yield
    finally:
        event.remove(engine, "begin", begin)
