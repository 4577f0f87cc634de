"""Signals that ask a process to end, acted on by a thread: a handler itself may take no lock.

A handler of Python runs in the main thread between any two of its instructions. If it sets a `threading.Event` while
the main thread is inside `clear` or `wait` of the same one, it waits for a lock which its own thread holds, for ever.
"""

import signal
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue

ENDING = (signal.SIGTERM, signal.SIGINT)


def on_signals(act: Callable[[], None], numbers: Iterable[signal.Signals] = ENDING) -> None:
    """Do `act` in a thread of its own at each of these signals. Main thread only.

    The handler puts the signal into a SimpleQueue, which the standard library makes for this: `put` is re-entrant.
    """
    arrived: SimpleQueue[int] = SimpleQueue()

    def wait_and_act() -> None:
        while True:
            arrived.get()
            act()

    threading.Thread(target=wait_and_act, name="signals", daemon=True).start()
    for number in numbers:
        signal.signal(number, lambda received, _frame: arrived.put(received))
