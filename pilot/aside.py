"""A call that may take long and must not keep the pilot from ending: made in a thread, waited for beside a signal."""

import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from pilot.stop import StopRequest

Answer = TypeVar("Answer")


def unless_stopped(call: Callable[[], Answer], stop: StopRequest) -> Answer | None:
    """The answer of a call, or what it raises; None as soon as the pilot must end.

    The call is then left alone in its thread, which ends with the process: nothing else may use its connection.
    """
    made: Future[Answer] = Future()
    reader, writer = os.pipe()

    def run() -> None:
        try:
            made.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            made.set_exception(error)
        os.close(writer)

    threading.Thread(target=run, daemon=True).start()
    ready, _, _ = select.select([reader, stop.fileno()], [], [])
    if reader not in ready:
        return None
    os.close(reader)
    return made.result()
