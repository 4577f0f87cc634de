"""Owns the accounting of CPU time: what processes and a PostgreSQL server with all its backends used, in seconds."""

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    try:
        return (
            (Path("/proc") / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        )
    except (FileNotFoundError, ProcessLookupError):
        return None


def of_process(pid: int) -> float:
    """CPU seconds of one process and all its threads so far."""
    fields = _stat(pid)
    return 0.0 if fields is None else (int(fields[11]) + int(fields[12])) / _TICK


def of_server(postmaster: int) -> float:
    """CPU seconds of a PostgreSQL server: its postmaster, its living children, and those that have ended."""
    fields = _stat(postmaster)
    ended = 0.0 if fields is None else (int(fields[13]) + int(fields[14])) / _TICK
    return of_process(postmaster) + ended + sum(of_process(pid) for pid in children(postmaster))


def children(parent: int) -> list[int]:
    """The living children of a process."""
    every = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in every if (fields := _stat(pid)) is not None and int(fields[1]) == parent]


def sessions(postmaster: int) -> list[int]:
    """The backends of a PostgreSQL server that serve clients, or did and are not cleared away yet.

    The server's own workers come and go as it likes.
    """
    commands = {pid: _command(pid) for pid in children(postmaster)}
    return [pid for pid, command in commands.items() if not command or b"[local]" in command]


def _command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many things took: microseconds of CPU each, and how many a second."""

    n: int
    seconds: float
    database_s: float
    server_s: float = 0.0
    client_s: float = 0.0

    @property
    def parts(self) -> tuple[float, float, float]:
        """CPU seconds of the database, the server, the client."""
        return self.database_s, self.server_s, self.client_s

    @property
    def each_us(self) -> float:
        """CPU of the server and the database for one."""
        return 1e6 * (self.database_s + self.server_s) / max(1, self.n)

    @property
    def with_client_us(self) -> float:
        """The same with what asked."""
        return self.each_us + 1e6 * self.client_s / max(1, self.n)

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.n / self.seconds

    def line(self, name: str) -> str:
        """One line for people."""
        each = max(1, self.n)
        return (
            f"  {name:34s} {self.n:7d} in {self.seconds:5.1f} s = {self.rate:7.0f}/s   CPU each: "
            f"database {1e6 * self.database_s / each:6.1f}  server {1e6 * self.server_s / each:6.1f}  "
            f"client {1e6 * self.client_s / each:6.1f} us"
        )


def median(costs: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(costs)


def spread(values: Iterable[float]) -> str:
    """Median, least and greatest."""
    known = sorted(values)
    return f"{statistics.median(known):.2f} ({known[0]:.2f} to {known[-1]:.2f}, n={len(known)})"


def pressure() -> float:
    """How much of the last ten seconds some process waited for a CPU, in per cent."""
    try:
        text = Path("/proc/pressure/cpu").read_text(encoding="ascii")
    except OSError:
        return -1.0
    return float(text.split("avg10=")[1].split()[0])
