"""Where pilots are started: the submitter's interface, and the first one, plain processes of this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pilot.processes import ProcessIdentity, command_line, identity, is_alive, send_signal


class BatchState(StrEnum):
    """What a batch system knows of a pilot. Gone is not done: only the pilot itself knows whether it did well."""

    QUEUED = "queued"
    RUNNING = "running"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class PilotSpec:
    """A pilot to be started. `mark` begins its arguments and is unique: by it the pilot is found again."""

    worker_id: int
    mark: tuple[str, ...]
    options: tuple[str, ...]
    log: Path


class Submitter(Protocol):
    """A way to start pilots. Every call covers many pilots."""

    def submit(self, specs: Sequence[PilotSpec]) -> dict[int, str]:
        """Start pilots; native id by worker number. A missing number could not be submitted."""

    def poll(self, native_ids: Collection[str]) -> dict[str, BatchState]:
        """The state of each."""

    def cancel(self, native_ids: Collection[str], *, force: bool = False) -> None:
        """End pilots: politely, so that they can report, or at once."""

    def find(self, specs: Sequence[PilotSpec]) -> dict[int, str]:
        """Which of these are there although their native id was never noted: a crash came in between."""


class LocalSubmitter:
    """Pilots as processes of this machine, in sessions of their own, so that they outlive the factory.

    A native id is process number and start time, which names a process for good.
    """

    def __init__(self, python: str = sys.executable) -> None:
        self._command = (python, "-m", "pilot")
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def submit(self, specs: Sequence[PilotSpec]) -> dict[int, str]:
        """Start one process per pilot; its output goes to its log."""
        package = str(Path(__file__).parent.parent)
        search = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        started = {}
        for spec in specs:
            spec.log.parent.mkdir(parents=True, exist_ok=True)
            try:
                with spec.log.open("ab") as log:
                    child = subprocess.Popen(
                        [*self._command, *spec.mark, *spec.options],
                        cwd=spec.log.parent,
                        env=os.environ | {"PYTHONPATH": search},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
            except OSError:
                continue
            self._children[child.pid] = child
            who = identity(child.pid)
            started[spec.worker_id] = (who or ProcessIdentity(child.pid, 0)).text
        return started

    def poll(self, native_ids: Collection[str]) -> dict[str, BatchState]:
        """A process that has gone is reaped if it was started by this factory."""
        for pid in [pid for pid, child in self._children.items() if child.poll() is not None]:
            del self._children[pid]
        return {
            native_id: BatchState.RUNNING if is_alive(ProcessIdentity.parse(native_id)) else BatchState.GONE
            for native_id in native_ids
        }

    def cancel(self, native_ids: Collection[str], *, force: bool = False) -> None:
        """SIGTERM, or SIGKILL: the payload's guard then ends the payload."""
        for native_id in native_ids:
            send_signal(ProcessIdentity.parse(native_id), signal.SIGKILL if force else signal.SIGTERM)

    def find(self, specs: Sequence[PilotSpec]) -> dict[int, str]:
        """Look through all command lines for the marks."""
        if not specs:
            return {}
        wanted = {spec.mark: spec.worker_id for spec in specs}
        length = len(specs[0].mark)
        start = len(self._command)
        found = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                worker_id = wanted.get(command_line(int(entry.name))[start : start + length])
                who = identity(int(entry.name))
                if worker_id is not None and who is not None:
                    found[worker_id] = who.text
        return found
