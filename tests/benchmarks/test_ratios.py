"""A guard against regressions of what `make bench` measures: ratios of CPU of the same run, with wide margins."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def ratios(program: str, *options: str) -> dict[str, float]:
    """What a benchmark says, by name."""
    command = [sys.executable, "-m", f"benchmarks.{program}", *options]
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout
    return {name: float(value) for name, value in re.findall(r"^RATIO ([a-z0-9-]+): ([0-9.]+)", said, re.MULTILINE)}


def test_a_dispatched_job_costs_no_multiple_of_a_pop() -> None:
    found = ratios("bench_dispatch", "--rounds", "1", "--seconds", "2", "--jobs", "80000", "--queues", "30")
    assert found["dispatch-cpu-32"] > 0.3, found
    assert found["dispatch-cpu-128"] > 0.35, found


def test_a_report_costs_no_multiple_of_an_update() -> None:
    options = ("--rounds", "1", "--seconds", "2", "--jobs", "10000", "--queues", "30", "--each", "640")
    found = ratios("bench_reports", *options)
    assert found["report-running-cpu"] < 3.5, found
    assert found["report-final-cpu"] < 4, found
    assert found["report-heartbeat-in-bulk-cpu"] < 1, found
