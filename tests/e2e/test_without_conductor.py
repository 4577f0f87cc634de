"""Bamboo alone: without a conductor the same datasets close, as every run of Bamboo brings everything up to date."""

import time

import pytest

from panda.domain.states import FINAL_TASK
from panda.proddb.submit import add_task
from panda.services import read, review
from tests.support.system import System, running_system
from tests.support.trivial import a_joining, a_making, sums_in_catalogue, sums_of_joining, sums_of_making

LIMIT_S = 300.0
EVERY_S = 5.0


@pytest.mark.e2e
@pytest.mark.slow
def test_bamboo_alone_closes_the_same_datasets() -> None:
    with running_system(without=["conductor"]) as system:
        making = a_making("made", 8)
        parent = add_task(system.proddb, making)
        taskids = [parent, add_task(system.proddb, a_joining("joined", making, 2), parent=parent)]

        tasks = _bamboo_until_all_ended(system, taskids)

        assert [read.task(system.ctx, one).stage.value for one in tasks] == ["done", "done"]
        assert sums_in_catalogue(system.ctx, tasks[0]) == list(sums_of_making(8).items())
        assert sums_in_catalogue(system.ctx, tasks[1]) == list(sums_of_joining(8, 2).items())
        assert review.verify(system.ctx, tasks).problems == ()


def _bamboo_until_all_ended(system: System, taskids: list[int]) -> list[int]:
    """Trigger Bamboo every few seconds until all tasks have ended; returns their ids in PanDA."""
    triggered = float("-inf")

    def ended() -> list[int] | None:
        nonlocal triggered
        if time.monotonic() - triggered > EVERY_S:
            system.trigger_bamboo()
            triggered = time.monotonic()
        tasks = system.panda_ids(taskids)
        done = len(tasks) == len(taskids) and all(read.task(system.ctx, one).stage in FINAL_TASK for one in tasks)
        return tasks if done else None

    return system.until(ended, LIMIT_S, "Bamboo to bring all tasks to their ends")
