"""A signal that asks a process to end never waits for a lock that the interrupted code holds."""

import signal
import threading
from collections.abc import Iterator

import pytest

from panda.signals import on_signals


@pytest.fixture
def handled() -> Iterator[signal.Signals]:
    """A signal whose handler may be changed."""
    before = signal.getsignal(signal.SIGUSR1)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_the_interrupted_code_may_hold_the_lock_that_the_act_takes(handled: signal.Signals) -> None:
    lock, done = threading.Lock(), threading.Event()
    interrupted: list[bool] = []

    def act() -> None:
        with lock:
            done.set()

    on_signals(act, [handled])
    with lock:
        signal.raise_signal(handled)  # a handler which acted itself would wait here for ever
        interrupted.append(done.is_set())
    assert done.wait(30)
    assert interrupted == [False]


def test_each_signal_is_acted_on(handled: signal.Signals) -> None:
    acted = threading.Semaphore(0)
    on_signals(acted.release, [handled])
    for _ in range(3):
        signal.raise_signal(handled)
        assert acted.acquire(timeout=30)
