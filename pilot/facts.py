"""What this node and slot can offer, found by looking: CPU speed, memory, disk, cores, installed releases."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilot.client import JsonObject
from pilot.names import NAME
from pilot.processes import host_name

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The node as a job would find it; None: the kernel does not tell the clock, or there is no software folder."""

    node: str
    cpu_mhz: int | None
    memory_mb: int
    disk_mb: int
    cores: int
    releases: tuple[str, ...] | None


def look_around(workdir: Path, queue: JsonObject) -> NodeFacts:
    """Measure the node, and limit it to the share that the queue gives to one slot (maxrss, maxwdir, corecount)."""
    appdir = str(queue.get("appdir") or "")
    return NodeFacts(
        node=host_name(),
        cpu_mhz=cpu_mhz(),
        memory_mb=_share(memory_mb(), queue.get("maxrss")),
        disk_mb=_share(disk_free_mb(workdir), queue.get("maxwdir")),
        cores=_share(len(os.sched_getaffinity(0)), queue.get("corecount")),
        releases=installed_releases(Path(appdir)) if appdir else None,
    )


def cpu_mhz() -> int | None:
    """The clock of the fastest core in MHz."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    clocks = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([0-9.]+)", text, re.MULTILINE)]
    if clocks:
        return round(max(clocks))
    try:
        kilohertz = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").read_text(encoding="utf-8")
        return int(kilohertz) // 1000
    except (OSError, ValueError):
        return None


def memory_mb() -> int:
    """The memory of the node, or of the control group the pilot lives in if that is smaller."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MB
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        return min(total, int(limit) // _MB)
    except (OSError, ValueError):
        return total


def disk_free_mb(folder: Path) -> int:
    """Free space where jobs are going to run."""
    return shutil.disk_usage(folder).free // _MB


def installed_releases(appdir: Path) -> tuple[str, ...]:
    """The releases in a site's software folder: folders that hold a release.json or an executable file."""
    try:
        folders = [entry for entry in os.scandir(appdir) if NAME.fullmatch(entry.name) and entry.is_dir()]
    except OSError:
        return ()
    return tuple(sorted(folder.name for folder in folders if _is_release(folder.path)))


def _is_release(folder: str) -> bool:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return False
    return any(
        entry.is_file() and (entry.name == "release.json" or os.access(entry.path, os.X_OK)) for entry in entries
    )


def _share(found: int, limit: Any) -> int:
    if isinstance(limit, int | float) and not isinstance(limit, bool) and limit > 0:
        return min(found, int(limit))
    return found
