"""The whole way: from requests in ProdDB through Bamboo, stories, pilots and transfers to closed datasets, all real."""

import pytest

from panda.domain.work import TaskRequest
from panda.embedded import database_url
from panda.proddb.submit import add_task, executions, task_states
from panda.services import read, review
from tests.support.invariants import Reader
from tests.support.system import System, running_system
from tests.support.trivial import (
    a_joining,
    a_making,
    sums_in_catalogue,
    sums_of_joining,
    sums_of_making,
)

LIMIT_S = 240.0
SNAPSHOTS_AT_LEAST = 10


def submitted(system: System, request: TaskRequest, parent: int | None = None) -> int:
    """Put a task into ProdDB; returns its TASKID."""
    return add_task(system.proddb, request, parent=parent)


@pytest.mark.e2e
def test_tasks_of_proddb_become_closed_datasets_whatever_their_payloads_do() -> None:
    with running_system() as system, Reader(database_url(system.settings)) as reader:
        making = a_making("made", 8, site="GAMMA")
        joining = a_joining("joined", making, 2, site="BETA")
        trouble = a_making("trouble", 4, "--flaky 000001 --broken 000002 --mute 000003", max_attempts=3, bunch_size=4)
        parent = submitted(system, making)
        taskids = [parent, submitted(system, joining, parent), submitted(system, trouble)]
        system.trigger_bamboo()
        tasks = system.until(lambda: _all_of(system, taskids), LIMIT_S, "Bamboo to take the tasks")

        assert system.wait_for_ends(tasks, LIMIT_S) == ["done", "done", "finished"]

        ctx, (made, joined, troubled) = system.ctx, tasks
        assert sums_in_catalogue(ctx, made) == list(sums_of_making(8).items())
        assert sums_in_catalogue(ctx, joined) == list(sums_of_joining(8, 2).items())
        assert [ordinal for ordinal, _ in sums_in_catalogue(ctx, troubled)] == [0, 3]
        checked = review.verify(ctx, tasks)
        assert checked.problems == ()
        assert checked.files >= 2 * (8 + 4 + 2)

        assert reader.seen.violations == ()
        assert reader.seen.snapshots > SNAPSHOTS_AT_LEAST

        costs = {one.id: one for one in review.costs(ctx, tasks)}
        assert costs[made].moved_out_files == 2 * 8  # outputs and logs from GAMMA to the tier 1
        assert costs[joined].moved_in_files == 8  # from the tier 1 to BETA
        assert costs[joined].moved_out_files == 2 * 4
        _check_trouble(system, troubled)

        system.trigger_bamboo()
        system.until(
            lambda: {one.status.value for one in task_states(system.proddb, taskids)} == {"finished"},
            LIMIT_S,
            "ProdDB to hear of the ends",
        )
        attempts = [(one.ordinal, one.attempt, one.state.value) for one in executions(system.proddb, taskids[2])]
        assert attempts[:3] == [(0, 1, "FAILED"), (0, 2, "FAILED"), (0, 3, "DONE")]


def _all_of(system: System, taskids: list[int]) -> list[int] | None:
    found = system.panda_ids(taskids)
    return found if len(found) == len(taskids) else None


def _check_trouble(system: System, task: int) -> None:
    """Failed payloads say why, and are tried again up to the limit."""
    jobs = read.jobs_of(system.ctx, task)
    ends = {ordinal: [one.status.value for one in jobs if one.ordinal == ordinal] for ordinal in range(4)}
    assert ends == {
        0: ["failed", "failed", "finished"],
        1: ["failed", "failed", "failed"],
        2: ["failed", "failed", "failed"],
        3: ["finished"],
    }
    broken = next(one for one in jobs if one.ordinal == 1)
    assert any("job 000002 is broken" in pair.text for pair in broken.errors)
    mute = next(one for one in jobs if one.ordinal == 2)
    assert any("left no file trouble._000003.txt" in pair.text for pair in mute.errors)
