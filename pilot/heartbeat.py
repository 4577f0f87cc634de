"""The thread that tells the server of a job that goes on, and passes the server's orders back."""

import threading
import time
from collections.abc import Callable

from pilot.client import JsonObject, Server
from pilot.errors import ErrorCode, ServerAwayError, ServerRefusedError
from pilot.steps import LOG, one_line
from pilot.stop import StopRequest

_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 60.0
_DEBUG_INTERVAL_S = 60.0


class Heartbeat:
    """Sends an update at every change of state and every interval; a failed one is repeated with back-off.

    `body(status, command)` makes the update, with what a command of debug mode shows (empty: no debug mode). After
    `lost_after_s` without an accepted one the job is stopped with 1318.
    """

    def __init__(
        self,
        server: Server,
        body: Callable[[str, str], JsonObject],
        stop: StopRequest,
        *,
        interval_s: float,
        lost_after_s: float,
        on_accepted: Callable[[], None],
    ) -> None:
        self._server = server
        self._body = body
        self._stop = stop
        self._interval_s = interval_s
        self._lost_after_s = lost_after_s
        self._on_accepted = on_accepted
        self._status = ""
        self._debug = ""
        self._retry_s = _FIRST_RETRY_S
        self._accepted_at = time.monotonic()
        self._news = threading.Condition()
        self._is_news = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; nothing is sent before the first `tell` or interval."""
        self._thread.start()

    def tell(self, status: str) -> None:
        """Send this state now, and again at every heartbeat."""
        with self._news:
            self._status = status
            self._is_news = True
            self._news.notify()

    def close(self, patience_s: float = 5.0) -> None:
        """Send nothing more. A call under way may take longer than the patience; its answer is then ignored."""
        with self._news:
            self._closed = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def _run(self) -> None:
        pause = self._interval_s
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._is_news, timeout=pause)
                if self._closed:
                    break
                self._is_news = False
                status = self._status
            pause = self._beat(status) if status else self._interval_s

    def _beat(self, status: str) -> float:
        """One update; the answer is the pause before the next."""
        try:
            command = self._server.update_job(self._body(status, self._debug))
        except ServerAwayError as error:
            return self._not_accepted(f"update not delivered: {one_line(error)}")
        except ServerRefusedError as error:
            return self._not_accepted(f"update refused: {one_line(error)}")
        self._accepted_at = time.monotonic()
        self._retry_s = _FIRST_RETRY_S
        self._on_accepted()
        if not self._closed:
            self._obey(command)
        return min(self._interval_s, _DEBUG_INTERVAL_S) if self._debug else self._interval_s

    def _obey(self, command: str) -> None:
        if "tobekilled" in command:
            self._stop.end_job(ErrorCode.KILLED_BY_SERVER, "killed by the server")
        else:  # the server says `debug`, or what to look at, in every answer while it wants the output
            self._debug = command if command == "debug" or " " in command else ""

    def _not_accepted(self, trouble: str) -> float:
        silence = time.monotonic() - self._accepted_at
        LOG.warning("%s (%.0f s since the last accepted one)", trouble, silence)
        if silence > self._lost_after_s and not self._closed:
            self._stop.end_job(ErrorCode.SERVER_LOST, f"no update was accepted for {silence:.0f} s")
        pause = min(self._retry_s, self._interval_s, self._lost_after_s)
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)
        return pause
