"""The request to stop: what a signal, the server's command or the lost server want of the pilot and of its job."""

import os
import select
import signal
from types import FrameType

from pilot.errors import ErrorCode, JobError

_SIGNALS = {
    signal.SIGTERM: ErrorCode.SIGTERM,
    signal.SIGINT: ErrorCode.SIGINT,
    signal.SIGQUIT: ErrorCode.SIGQUIT,
    signal.SIGXCPU: ErrorCode.SIGXCPU,
    signal.SIGUSR1: ErrorCode.SIGUSR1,
}


class StopRequest:
    """Why work must end, for everybody who waits; safe to set from signal handlers and other threads."""

    def __init__(self) -> None:
        self._pilot: JobError | None = None
        self._job: JobError | None = None
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def reason(self) -> JobError | None:
        """Why the job in hand must end; the pilot's own end is the stronger reason."""
        return self._pilot or self._job

    @property
    def pilot_ends(self) -> bool:
        """Whether the pilot itself was told to end."""
        return self._pilot is not None

    def end_pilot(self, code: ErrorCode, diagnosis: str) -> None:
        """End the job in hand and ask for no other; the first reason stays."""
        self._pilot = self._pilot or JobError(code, diagnosis)
        self._wake()

    def end_job(self, code: ErrorCode, diagnosis: str) -> None:
        """End the job in hand only."""
        self._job = self._job or JobError(code, diagnosis)
        self._wake()

    def begin_job(self) -> None:
        """Forget what was wanted of the job before; a request to the pilot stays."""
        self._job = None
        if self._pilot is None:
            while select.select([self._reader], [], [], 0)[0]:
                os.read(self._reader, 4096)

    def fileno(self) -> int:
        """Readable for `select` as soon as there is a reason."""
        return self._reader

    def wait(self, seconds: float) -> bool:
        """Sleep at most so many seconds; True as soon as there is a reason to stop."""
        return bool(select.select([self._reader], [], [], max(0.0, seconds))[0])

    def listen(self) -> None:
        """Let the batch system's signals end the pilot. Main thread only."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self.end_pilot(_SIGNALS[signal.Signals(number)], f"the pilot received {name}")

    def _wake(self) -> None:
        try:
            os.write(self._writer, b"s")
        except BlockingIOError:
            return  # the pipe is full: everybody is awake already
