"""Tasks that could wait for ever or grow without end: children of tasks without output, waiting bunches, early ends."""

from dataclasses import replace

import pytest

from panda.domain.states import TaskStage
from panda.domain.work import Split
from panda.errors import Conflict
from panda.services import control
from tests.support.campaign import T1, Campaign, a_reader, an_evgen


def test_children_of_a_task_without_output_end_too(campaign: Campaign) -> None:
    parent = campaign.submit(replace(an_evgen("evgen", 3), site=T1))
    child = campaign.submit(a_reader("child", "mc.evgen.EVNT", Split(files_per_job=4)))
    grandchild = campaign.submit(a_reader("grand", "mc.child.HITS", Split(files_per_job=4)))
    control.abort_task(campaign.ctx, parent, "operator")
    ends = campaign.drive(parent, child, grandchild, turns=6)
    assert ends == [TaskStage.ABORTED, TaskStage.FAILED, TaskStage.FAILED]
    assert campaign.value("SELECT error FROM production_task WHERE id = :t", t=grandchild) == (
        "the input datasets are empty"
    )


def test_a_round_that_decides_nothing_new_leaves_no_rows(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen("big", 400, bunch_size=20))
    assert "window" in str(campaign.tell(task))
    campaign.tell(task)
    before = campaign.rows("SELECT count(*) FROM brokerage_decision UNION ALL SELECT count(*) FROM brokerage_round")
    said = campaign.tell(task)
    assert said == "AwaitingSite: no site of cloud TEST now: window 2 (ALPHA, BETA)"
    after = campaign.rows("SELECT count(*) FROM brokerage_decision UNION ALL SELECT count(*) FROM brokerage_round")
    assert after == before


def test_a_task_without_jobs_cannot_be_finished(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 3), site=T1))
    with pytest.raises(Conflict, match="not made yet"):
        control.finish_task(campaign.ctx, task, "operator")
