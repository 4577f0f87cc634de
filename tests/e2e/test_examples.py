"""The examples as a newcomer runs them: the demo with its peak, and CHARMM for a second VO that moves no data."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

from panda.cli.runs import end_all, left_behind
from panda.domain.names import file_path
from panda.services import read
from tests.support.system import ROOT, System, running_system

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT_S = 600.0
DEMO_GRID = ROOT / "deployments" / "grids" / "demo.yaml"


def test_the_demo_ends_well_and_finds_the_peak() -> None:
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        environment = {**os.environ, "PANDA_DATA_DIR": folder, "PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "panda.cli", "demo", "--ports", "auto"],
                env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S,
            )  # fmt: skip
        finally:
            left = left_behind(Path(folder))
            end_all(left)
        assert done.returncode == 0, done.stdout + done.stderr
        peak = re.search(r"Z boson: (\d+\.\d+) \+- \d+\.\d+ GeV, as it should be", done.stdout)
        assert peak is not None, done.stdout
        assert abs(float(peak[1]) - 91.2) < 1.0
        assert (Path(folder) / "demo" / "z-mumu.png").read_bytes().startswith(b"\x89PNG")
        assert left == []


def test_a_demo_that_is_told_to_end_leaves_nothing_running() -> None:
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        environment = {**os.environ, "PANDA_DATA_DIR": folder, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "panda.cli", "demo", "--ports", "auto"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as demo:
            assert demo.stdout is not None
            for line in demo.stdout:
                if "Bamboo is called" in line:
                    break
            assert left_behind(Path(folder)), "everything runs"
            demo.send_signal(signal.SIGTERM)
            assert "Stopped." in demo.stdout.read()
        assert demo.returncode == 130
        assert left_behind(Path(folder)) == []


def test_charmm_runs_where_its_vo_is_welcome_and_its_files_stay_there() -> None:
    with running_system(without=["worker", "deployments"], grid=DEMO_GRID) as system:
        task = _submitted(system)
        assert system.wait_for_ends([task], LIMIT_S) == ["done"]

        view = read.task(system.ctx, task)
        assert (view.vo, view.cloud, view.ddm_mode) == ("charmm", "CA", "none")
        jobs = read.jobs_of(system.ctx, task)
        assert len(jobs) == 2
        for job in jobs:
            assert job.site in {"SFU", "VICTORIA"}
            outputs = read.outputs_of(system.ctx, job.id)
            assert len(outputs) == 3
            for output in outputs:
                place = system.settings.data_dir / "storage" / f"{job.site}_DATADISK"
                content = (place / file_path(output.scope, output.lfn)).read_bytes()
                assert f"{zlib.adler32(content):08x}" == output.adler32
        moved = list(system.ctx.ddm.datasets("*:charmm.*"))
        assert moved == []


def _submitted(system: System) -> int:
    """Submit the campaign file of the example with the command line: two jobs of 200 steps."""
    changes = (
        "dynamics.split.n_jobs=2",
        "dynamics.parameters=--steps 200 --seed ${SEED} --interval 50 --output ${OUTPUT0} --energies ${OUTPUT1}",
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "panda.cli", "submit", str(ROOT / "examples/charmm/campaign.yaml")),
            *(word for change in changes for word in ("--set", change)),
        ],
        env=dict(system.environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return read.tasks(system.ctx)[0].id
