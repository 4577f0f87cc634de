"""Owns what `panda up` remembers of itself in the data folder, and the search for what a killed run left behind.

A process is only ever ended when its pid *and* its start time are those that were written down, or when its environment
says that it was started by a run in this very data folder.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from panda.errors import Conflict

MARKER = "_PANDA_UP"  # in the environment of everything that a run starts; its value is the data folder
TERMINATE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Trace:
    """One process as it is written down: the pid alone could be another process by now."""

    name: str
    pid: int
    started: float


class RunFile:
    """The file `up.json` of a data folder, and the lock that lets one run at a time use the folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.path = data_dir / "up.json"
        self._lock: IO[str] | None = None

    def claim(self) -> None:
        """Take the folder; raises Conflict if another run has it."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.data_dir / "up.lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise Conflict(
                f"`panda up` already runs in {self.data_dir} as process {owner}.",
                "Stop it first, or choose another folder with PANDA_DATA_DIR.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def release(self) -> None:
        """Forget the run and let the next one in."""
        self.path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write(self, pids: Mapping[str, int], settings: Mapping[str, str]) -> None:
        """Note the processes that run now, and the settings (ports) that were chosen for them."""
        traces = [{"name": name, "pid": pid, "started": started} for name, pid, started in _with_start(pids)]
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps({"processes": traces, "settings": dict(settings)}, indent=1), encoding="utf-8")
        draft.replace(self.path)

    def traces(self) -> list[Trace]:
        """The processes that were written down."""
        return [Trace(**trace) for trace in self._read().get("processes", [])]

    def settings(self) -> dict[str, str]:
        """The settings of the run, by variable name; empty if none runs."""
        return dict(self._read().get("settings", {}))

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _with_start(pids: Mapping[str, int]) -> Iterator[tuple[str, int, float]]:
    for name, pid in pids.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            yield name, pid, psutil.Process(pid).create_time()


def left_behind(data_dir: Path, traces: Iterable[Trace] = ()) -> list[psutil.Process]:
    """Living processes of runs in this folder, with their descendants; this process is not among them."""
    found: dict[int, psutil.Process] = {}
    for process in [*_traced(traces), *_marked(data_dir)]:
        with contextlib.suppress(psutil.Error):
            found.update({one.pid: one for one in (process, *process.children(recursive=True))})
    return [one for one in found.values() if one.pid != os.getpid() and _lives(one)]


def end_all(processes: Iterable[psutil.Process]) -> list[int]:
    """End processes: asked first, killed after some seconds. Returns their pids."""
    chosen = list(processes)
    for process in chosen:
        with contextlib.suppress(psutil.Error):
            process.terminate()  # psutil compares the start time before it sends a signal
    _, living = psutil.wait_procs(chosen, timeout=TERMINATE_LIMIT_S)
    for process in living:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(living, timeout=TERMINATE_LIMIT_S)
    return [process.pid for process in chosen]


def _traced(traces: Iterable[Trace]) -> Iterator[psutil.Process]:
    for trace in traces:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(trace.pid)
            if abs(process.create_time() - trace.started) < 1.0:
                yield process


def _marked(data_dir: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARKER) == str(data_dir):
                yield process


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
