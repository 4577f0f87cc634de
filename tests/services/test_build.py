"""A build step (prun without --noBuild): its failure fails the task, and a retry builds again before the jobs run."""

from dataclasses import replace

import pytest

from panda.domain.states import TaskStage
from panda.domain.work import InputSpec, OutputSpec, Split
from panda.errors import Conflict
from panda.services import control, recover
from tests.support.campaign import T1, T2, Campaign, an_evgen


def submitted(campaign: Campaign) -> tuple[int, int]:
    """A task of two jobs whose build step makes a library, and that step."""
    build = an_evgen("t1.build", 1, task_type="build", max_attempts=1)
    build = replace(build, outputs=(OutputSpec("lib", "mc.t1.lib", "t1.lib._${SN}.tgz"), build.outputs[1]))
    library = InputSpec("LIB", ("mc.t1.lib",), "secondary", 1)
    task = campaign.submit(an_evgen("t1", split=Split(n_jobs=2), inputs=(library,), build=build))
    return task, campaign.value("SELECT id FROM production_task WHERE task_type = 'build'")


def failed_build(campaign: Campaign) -> tuple[int, int]:
    """The same after the build step failed."""
    task, build = submitted(campaign)
    campaign.tell(build)
    (job,) = (*campaign.ask(T1), *campaign.ask(T2))
    campaign.fail(job)
    assert campaign.drive(build, task) == [TaskStage.FAILED, TaskStage.FAILED]
    assert "LIB is empty" in campaign.value("SELECT error FROM production_task WHERE id = :t", t=task)
    return task, build


def test_a_retry_after_a_failed_build_builds_again_and_then_runs(campaign: Campaign) -> None:
    task, build = failed_build(campaign)
    campaign.change("UPDATE production_task SET submitted_at = now() - make_interval(days => 30)")
    assert control.retry_task(campaign.ctx, task, "Ann") == 1
    recover.watch(campaign.ctx)
    assert campaign.stage(task) is TaskStage.ASSIGNED
    assert (campaign.tell(task) or "").startswith("AwaitingInput: dataset mc.t1.lib.r1")
    assert campaign.drive(build, task) == [TaskStage.DONE, TaskStage.DONE]
    inputs = campaign.rows("SELECT dataset FROM task_input WHERE task_id = :t", t=task)
    assert [row["dataset"] for row in inputs] == ["mc.t1.lib.r1"]
    assert len(campaign.files_of("mc.t1.lib.r1")) == 1
    assert len(campaign.files_of("mc.t1.EVNT.r1")) == 2
    with pytest.raises(Conflict, match="done"):
        control.retry_task(campaign.ctx, task, "Ann")


def test_a_build_that_fails_once_more_can_be_retried_once_more(campaign: Campaign) -> None:
    task, build = failed_build(campaign)
    control.retry_task(campaign.ctx, task, "Ann")
    campaign.tell(build)
    (job,) = (*campaign.ask(T1), *campaign.ask(T2))
    campaign.fail(job)
    assert campaign.drive(build, task) == [TaskStage.FAILED, TaskStage.FAILED]
    control.retry_task(campaign.ctx, task, "Ann")
    assert campaign.drive(build, task) == [TaskStage.DONE, TaskStage.DONE]
    assert len(campaign.files_of("mc.t1.lib.r2")) == 1


def test_a_task_whose_build_works_has_nothing_to_retry(campaign: Campaign) -> None:
    task, _ = submitted(campaign)
    with pytest.raises(Conflict, match="no failed job"):
        control.retry_task(campaign.ctx, task, "Ann")
