"""A task of thousands of trivial jobs with twenty local pilots runs to its closed dataset; its rate is printed."""

import time
from pathlib import Path

import pytest
from sqlalchemy import text

from panda.proddb.submit import add_task
from tests.support.system import running_system
from tests.support.trivial import a_making, sums_in_catalogue, sums_of_making

MANY = Path(__file__).parent / "grids" / "many.yaml"
N_JOBS = 5000
LIMIT_S = 1500.0

# Twenty pilots of one site share its window; the watcher must not take a busy laptop for a lost pilot.
CALM = {
    "PANDA_BROKERAGE__WINDOW_MINIMUM_JOBS": "400",
    "PANDA_WATCHER__SENT_S": "120",
    "PANDA_WATCHER__STARTING_S": "120",
    "PANDA_WATCHER__RUNNING_S": "120",
    "PANDA_PILOT__HEARTBEAT_S": "30",
}


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_thousand_jobs_and_twenty_pilots(capsys: pytest.CaptureFixture[str]) -> None:
    with running_system(grid=MANY, settings=CALM) as system:
        taskid = add_task(system.proddb, a_making("many", N_JOBS, bunch_size=20))
        system.until(lambda: len(system.pilots()) >= 20, 120, "twenty pilots")
        began = time.monotonic()
        system.trigger_bamboo()
        (task,) = system.until(lambda: system.panda_ids([taskid]), 120, "Bamboo to take the task")
        assert system.wait_for_ends([task], LIMIT_S) == ["done"]
        wall = time.monotonic() - began
        assert sums_in_catalogue(system.ctx, task) == list(sums_of_making(N_JOBS).items())
        with system.ctx.engine.connect() as connection:
            span = connection.execute(
                text("""
                    SELECT EXTRACT(epoch FROM max(at) - min(at)) FROM job_event
                    WHERE task_id = :t AND to_state IN ('sent', 'finished')
                """),
                {"t": task},
            ).scalar_one()
    with capsys.disabled():
        print(f"\n{N_JOBS} jobs: {wall:.0f} s from Bamboo to closed dataset, {N_JOBS / float(span):.1f} jobs/s between")
