"""Processes as /proc shows them: who they are, whose children they are, and what they use."""

import ctypes
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process for good: its number alone may be given to another one later, its start time (ticks) may not."""

    pid: int
    start: int

    @property
    def text(self) -> str:
        """As text, for records and file names."""
        return f"{self.pid}.{self.start}"

    @classmethod
    def parse(cls, text: str) -> "ProcessIdentity":
        """The inverse of `text`; ValueError for anything else."""
        pid, start = text.split(".")
        return cls(int(pid), int(start))


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process uses now: CPU seconds (its reaped children included) and resident memory in kB."""

    pid: int
    parent: int
    state: str
    start: int
    cpu_s: float
    rss_kb: int


@dataclass(frozen=True, slots=True)
class TreeUse:
    """Sums over a tree of processes."""

    count: int = 0
    cpu_s: float = 0.0
    rss_kb: int = 0


def read_process(pid: int) -> ProcessUse | None:
    """What /proc says of a process, or None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    ticks = sum(int(field) for field in fields[11:15])
    return ProcessUse(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        start=int(fields[19]),
        cpu_s=ticks / _TICKS_PER_SECOND,
        rss_kb=int(fields[21]) * _PAGE_KB,
    )


def all_processes() -> list[ProcessUse]:
    """Every process of this machine that can be seen."""
    found = (read_process(int(entry.name)) for entry in os.scandir("/proc") if entry.name.isdigit())
    return [process for process in found if process is not None]


def descendants(root: int) -> list[ProcessUse]:
    """All processes below `root`, without `root` itself."""
    children: dict[int, list[ProcessUse]] = {}
    for process in all_processes():
        children.setdefault(process.parent, []).append(process)
    below: list[ProcessUse] = []
    todo = [root]
    while todo:
        for child in children.get(todo.pop(), []):
            below.append(child)
            todo.append(child.pid)
    return below


def tree_use(root: int) -> TreeUse:
    """What all processes below `root` use together."""
    below = descendants(root)
    return TreeUse(len(below), sum(p.cpu_s for p in below), sum(p.rss_kb for p in below))


def identity(pid: int) -> ProcessIdentity | None:
    """The identity of a living process; None for none and for a zombie."""
    process = read_process(pid)
    if process is None or process.state in "ZX":
        return None
    return ProcessIdentity(pid, process.start)


def is_alive(who: ProcessIdentity) -> bool:
    """Whether exactly this process still runs."""
    return identity(who.pid) == who


def send_signal(who: ProcessIdentity, signal_number: int) -> bool:
    """Signal exactly this process; False if it is gone. A pidfd pins it, so no other process can be hit."""
    try:
        descriptor = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(who):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal_number)
        return True
    finally:
        os.close(descriptor)


def command_line(pid: int) -> tuple[str, ...]:
    """The argument list of a process; empty if it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.split(b"\0")[:-1])


def become_subreaper() -> None:
    """Orphans below this process become its children, so that none of them can get away."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def own_identity() -> ProcessIdentity:
    """This process."""
    me = identity(os.getpid())
    if me is None:  # /proc is not mounted: the number alone must do
        return ProcessIdentity(os.getpid(), 0)
    return me


def host_name() -> str:
    """The name of this machine as reports show it."""
    return socket.gethostname()
