"""The running payload: started below its guard in an own session and folder, watched, ended, measured."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pilot.command import Command
from pilot.errors import ErrorCode, JobError
from pilot.folder import file_size, folder_use, free_bytes
from pilot.limits import Limits, Usage, violation
from pilot.processes import descendants, tree_use
from pilot.stop import StopRequest
from pilot.workspace import OWN_FILES

_GUARD = Path(__file__).with_name("guard.py")
_END_WAIT_S = 40.0


@dataclass(frozen=True, slots=True)
class PayloadEnd:
    """Exit code (128 + n for signal n), the pilot's reason if the pilot ended it, and what the payload used."""

    exit_code: int
    reason: JobError | None
    wall_s: float
    cpu_s: float
    max_rss_kb: int


class Payload:
    """One payload from start to end. `sample` is the last measurement, for heartbeats."""

    def __init__(self, command: Command, work: Path, stdout: Path, stderr: Path) -> None:
        self._home = work.parent
        self._outputs = (stdout, stderr)
        self._began = time.monotonic()
        self._began_at = time.time()
        self._cpu_s = 0.0
        self._max_rss_kb = 0
        self._ending = b""
        control_end, self._control = os.pipe()
        self._result, result_end = os.pipe()
        try:
            with stdout.open("ab") as out, stderr.open("ab") as err:
                self._guard = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_GUARD), str(control_end), str(result_end), "--", *command.argv],
                    cwd=work,
                    env=dict(command.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=(control_end, result_end),
                    start_new_session=True,
                )
        except OSError:
            os.close(self._control)
            os.close(self._result)
            raise
        finally:
            os.close(control_end)
            os.close(result_end)

    @property
    def cpu_s(self) -> float:
        """CPU seconds up to the last measurement."""
        return self._cpu_s

    @property
    def max_rss_kb(self) -> int:
        """The largest summed resident memory that was seen, in kB."""
        return self._max_rss_kb

    def watch(
        self, limits: Limits, stop: StopRequest, *, interval_s: float, grace_s: float, on_sample: Callable[[], None]
    ) -> PayloadEnd:
        """Wait for the end, or end it for a limit or a request. Nothing of it runs when this returns."""
        reason: JobError | None = None
        try:
            while reason is None:
                rest = self._began + limits.wall_s - time.monotonic() if limits.wall_s else interval_s
                if self._wait(max(0.0, min(interval_s, rest)), stop):
                    break
                reason = stop.reason or violation(self.measure(), limits)
                on_sample()
            if reason is not None:
                self._terminate(grace_s)
        finally:
            end = self._finish(reason)
        return end

    def measure(self) -> Usage:
        """What the payload uses now."""
        tree = tree_use(self._guard.pid)
        self._cpu_s = max(self._cpu_s, tree.cpu_s)
        self._max_rss_kb = max(self._max_rss_kb, tree.rss_kb)
        folder = folder_use(self._home, OWN_FILES)
        return Usage(
            wall_s=time.monotonic() - self._began,
            cpu_s=self._cpu_s,
            rss_kb=tree.rss_kb,
            folder_bytes=folder.allocated,
            stdout_bytes=sum(file_size(path) for path in self._outputs),
            untouched_s=max(0.0, time.time() - max(folder.last_touched, self._began_at)),
            free_bytes=free_bytes(self._home),
        )

    def _wait(self, seconds: float, stop: StopRequest | None) -> bool:
        """Wait for the guard's word; True when the payload has ended."""
        give_up = time.monotonic() + seconds
        watched: list[int | StopRequest] = [self._result] if stop is None else [self._result, stop]
        while True:
            ready, _, _ = select.select(watched, [], [], max(0.0, give_up - time.monotonic()))
            if self._result in ready:
                said = os.read(self._result, 4096)
                self._ending += said
                if not said or b"end " in self._ending:
                    return True
            elif ready or time.monotonic() >= give_up:
                return False

    def _terminate(self, grace_s: float) -> None:
        """Ask politely, then insist."""
        for order, patience in ((b"t", grace_s), (b"k", _END_WAIT_S)):
            with suppress(BrokenPipeError):
                os.write(self._control, order)
            if self._wait(patience, None):
                return

    def _finish(self, reason: JobError | None) -> PayloadEnd:
        """Close the pipes (which kills what may be left), collect the guard, read its last word."""
        os.close(self._control)
        give_up = time.monotonic() + _END_WAIT_S
        while select.select([self._result], [], [], max(0.0, give_up - time.monotonic()))[0]:
            said = os.read(self._result, 4096)
            self._ending += said
            if not said:
                break
        else:
            self._guard.kill()
        self._guard.wait()
        os.close(self._result)
        wall_s = time.monotonic() - self._began
        for line in self._ending.decode().splitlines():
            if line.startswith("end "):
                _, status, cpu_s, max_rss_kb = line.split()
                code = os.waitstatus_to_exitcode(int(status))
                return PayloadEnd(
                    exit_code=code if code >= 0 else 128 - code,
                    reason=reason,
                    wall_s=wall_s,
                    cpu_s=max(self._cpu_s, float(cpu_s)),
                    max_rss_kb=max(self._max_rss_kb, int(max_rss_kb)),
                )
        _kill_strays()
        lost = JobError(ErrorCode.UNKNOWN_KILL, "the guard of the payload was killed, and the payload with it")
        return PayloadEnd(128 + signal.SIGKILL, reason or lost, wall_s, self._cpu_s, self._max_rss_kb)


def _kill_strays() -> None:
    """Kill what the pilot inherited as reaper of orphans; normally there is nothing."""
    give_up = time.monotonic() + _END_WAIT_S
    while (strays := descendants(os.getpid())) and time.monotonic() < give_up:
        for stray in strays:
            with suppress(ProcessLookupError):
                os.kill(stray.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], 0.01)
