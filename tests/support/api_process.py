"""Owns API processes in tests: the real server in a process of its own, that can be killed."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection

from panda.settings import Settings, load
from tests.support.serving import Caller

_FORK = multiprocessing.get_context("fork")
"""A forked child has everything imported: it serves in a tenth of the time that a new interpreter takes."""


class ApiProcess:
    """One server process and a caller of it."""

    def __init__(self, settings: Settings) -> None:
        ours, theirs = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=_serve, args=(settings, theirs), daemon=True)
        self._process.start()
        theirs.close()
        if not ours.poll(60):
            raise RuntimeError("the API did not start; its log says why")
        self.caller = Caller(ours.recv())

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def end(self) -> None:
        """SIGTERM, and wait until it has ended; it has 15 s."""
        os.kill(self.pid, signal.SIGTERM)
        self._process.join(15)
        assert self._process.exitcode is not None, "it does not end"

    def kill(self) -> None:
        """Kill -9, and wait until nothing is left of it."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(30)


def _serve(settings: Settings, address: Connection) -> None:
    from panda_api.__main__ import serve

    serve(settings, address.send)


@contextlib.contextmanager
def api_process(settings: Settings) -> Iterator[ApiProcess]:
    """A server on a free port over the database of these settings."""
    process = ApiProcess(load(**{**dict(settings), "api_port": 0}))
    try:
        yield process
    finally:
        process.kill()
