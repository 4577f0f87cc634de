"""`panda up` with every real process: it comes up, recovers from kill -9, ends on SIGTERM, and keeps to its folder."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
import requests

from panda.cli.runs import RunFile, end_all, left_behind
from panda.cli.up import PART_NAMES

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 240.0


class PandaUp:
    """A `panda up` in a process of its own, and what it says."""

    def __init__(self, environment: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "panda.cli", "up", "--ports", "auto"],
            env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self.watchdog = threading.Timer(LIMIT_S, self.process.kill)
        self.watchdog.start()

    def wait_until_up(self) -> dict[str, str]:
        """Read what it says until every part is up; returns each part's address."""
        addresses: dict[str, str] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            words = line.split(maxsplit=4)
            if words[3:4] in (["up"], ["done"]):
                addresses[words[2]] = words[4].strip() if len(words) > 4 else ""
            if addresses.keys() >= set(PART_NAMES) - {"deployments"}:
                return addresses
        raise AssertionError("".join(self.lines))

    def end(self, sign: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(sign)
        said, _ = self.process.communicate()
        self.lines.append(said)
        self.watchdog.cancel()
        return self.process.returncode


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder, with one for the data and three that have to stay empty."""
    with tempfile.TemporaryDirectory(prefix="up-") as name:
        for inner in ("home", "cwd", "tmp"):
            (Path(name) / inner).mkdir()
        yield Path(name)
        end_all(left_behind(Path(name) / "data"))  # finds something only after a failure


@pytest.mark.slow
@pytest.mark.e2e
def test_it_comes_up_recovers_from_kill_9_ends_on_sigterm_and_writes_only_into_its_folder(folder: Path) -> None:
    data = folder / "data"
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(ROOT),
        "PANDA_DATA_DIR": str(data),
        "PANDA_GRID_FILE": str(ROOT / "deployments" / "grids" / "tiny.yaml"),
    }
    first = PandaUp(environment, folder / "cwd")
    try:
        addresses = first.wait_until_up()
        assert requests.get(f"{addresses['api']}/api/v1/system/is_alive", timeout=10).json()["success"] is True
        assert requests.get(f"{addresses['prefect']}/api/health", timeout=10).json() is True
        chosen = RunFile(data).settings()
        assert addresses["api"].endswith(f":{chosen['PANDA_API_PORT']}")
    finally:
        first.end(signal.SIGKILL)
    orphans = left_behind(data)
    assert len(orphans) >= 5

    second = PandaUp(environment, folder / "cwd")
    try:
        addresses = second.wait_until_up()
        assert "that a killed run had left behind" in "".join(second.lines)
        assert not [orphan for orphan in orphans if orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE]
        assert requests.get(f"{addresses['api']}/api/v1/system/is_alive", timeout=10).status_code == 200
    finally:
        code = second.end(signal.SIGTERM)
    assert code == 0, second.lines
    assert left_behind(data) == []
    assert not RunFile(data).path.exists()
    written = [path for inner in ("home", "cwd", "tmp") for path in (folder / inner).rglob("*")]
    assert written == []


@pytest.mark.e2e
def test_it_gives_up_with_a_reason_when_the_grid_cannot_be_loaded(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PANDA_DATA_DIR": str(folder / "data")}
    environment["PANDA_GRID_FILE"] = str(folder / "no-grid.yaml")
    command = [sys.executable, "-m", "panda.cli", "up", "--ports", "auto"]
    leave_out = [word for name in PART_NAMES if name not in {"database", "prepare"} for word in ("--without", name)]
    done = subprocess.run(
        [*command, *leave_out], env=environment, cwd=folder / "cwd", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "The tables could not be prepared" in done.stderr
    assert "There is no grid file" in done.stderr
    assert left_behind(folder / "data") == []
