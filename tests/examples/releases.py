"""Owns how a test runs a transformation: as the pilot does, by its path, in a job's folder."""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ZBOSON = ROOT / "examples/zboson/software/ZBoson-1.0"
CHARMM = ROOT / "examples/charmm/software/CHARMM-OpenMM-1.0"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a transformation ended: exit code, what it printed, and its job report."""

    code: int
    stdout: str
    stderr: str
    report: dict[str, object]


def run(release: Path, transformation: str, parameters: str, folder: Path) -> Ended:
    """Run a transformation in `folder` with `python3` of this environment."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder / "no-home")}
    ended = subprocess.run(
        [str(release / transformation), *parameters.split()],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    report = folder / "jobReport.json"
    written = json.loads(report.read_text()) if report.exists() else {}
    return Ended(ended.returncode, ended.stdout, ended.stderr, written)


def succeed(release: Path, transformation: str, parameters: str, folder: Path) -> Ended:
    """Run a transformation that must end well."""
    ended = run(release, transformation, parameters, folder)
    assert ended.code == 0, ended.stderr
    return ended


def call(package: str, transformation: str, parameters: str) -> Ended:
    """Do what `run` does within this process and its current folder, without the seconds of imports; prints pass by."""
    code = importlib.import_module(f"{package}.{transformation}").main(parameters.split())
    return Ended(code, "", "", json.loads(Path("jobReport.json").read_text()))
