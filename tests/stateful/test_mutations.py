"""The machine finds faults: five are made in a scratch copy, one at a time, and each makes it fail there."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONG_RUN = "test_everything_holds_after_every_step_of_many_long_runs"
SHORT_RUN = "test_everything_holds_after_every_step"
PATIENCE_S = 900
pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE_S + 60)]


@dataclass(frozen=True, slots=True)
class Change:
    """A text in a file that is replaced by another one, wherever it stands."""

    path: str
    old: str
    new: str


MUTATIONS: dict[str, tuple[Change, ...]] = {
    "fence removed": (
        Change(
            "panda/store/work.py",
            "    WHERE id = :task AND lease_token = :token\n    RETURNING id\n",
            "    WHERE id = :task\n    RETURNING id\n",
        ),
    ),
    "old-state check removed": (
        Change(
            "panda/store/ends.py",
            "        WHERE j.id = old.id AND j.status = ANY(CAST(:sources AS job_status[]))\n",
            "        WHERE j.id = old.id\n",
        ),
        Change(
            "panda/store/reports.py",
            "        return self.new in JOB_CHANGES.get(self.old, frozenset())\n",
            "        return True\n",
        ),
    ),
    "double activation": (
        Change("panda/store/queue.py", "AND state = 'assigned' AND staged ORDER", "AND staged ORDER"),
        Change("panda/store/queue.py", "AND b.state = 'assigned' AND b.staged\n", "AND b.staged\n"),
    ),
    "double collection": (
        Change(
            "panda/services/ending.py",
            "    done = ends.end_jobs(connection, list(jobs), JobStatus.FAILED, why=why, who=who)\n",
            "    ends.end_jobs(connection, list(jobs), JobStatus.FAILED, why=why, who=who)\n    done = list(jobs)\n",
        ),
    ),
    "late final report accepted": (
        Change(
            "panda/services/dispatch.py", "    if status in FINAL_JOB:\n", "    if status in frozenset[JobStatus]():\n"
        ),
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A scratch copy of what the machine needs of this tree."""
    for name in ("panda", "tests", "deployments", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def mutate(copy: Path, change: Change) -> None:
    """Make one change; a text that is not there means that this test is out of date."""
    path = copy / change.path
    text = path.read_text(encoding="utf-8")
    assert change.old in text, f"{change.path} does not hold {change.old!r} any more: bring the mutation up to date"
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")


def run_machine(copy: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run the machine of a copy in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(copy), "MACHINE_SECONDS": "300", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", f"tests/stateful/test_machine.py::{test}"]
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_the_copy_as_it_is_passes(copy: Path) -> None:
    done = run_machine(copy, SHORT_RUN)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_machine_finds(copy: Path, name: str) -> None:
    for change in MUTATIONS[name]:
        mutate(copy, change)
    done = run_machine(copy, LONG_RUN)
    assert done.returncode == 1, done.stdout[-2000:]
    assert "Error" in done.stdout
    assert "1 failed" in done.stdout
