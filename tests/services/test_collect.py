"""The collector: every output registered, arrived and attached once, whoever collects and wherever it is cut off."""

from dataclasses import replace

import pytest

from panda.ddm.errors import Unavailable
from panda.ddm.port import Did
from panda.domain.dispatch import HandedJob
from panda.domain.states import JobStatus, TaskStage
from panda.services import upkeep
from panda.services.collect import Collected
from tests.support.campaign import T1, T2, Campaign, an_evgen
from tests.support.crash import Crash, every_crash
from tests.support.interrupted import interrupted
from tests.support.together import together


def reported(campaign: Campaign, site: str, n: int = 3, name: str = "evgen") -> tuple[int, list[HandedJob]]:
    """A task at a site whose jobs have all been reported, the last as failed."""
    task = campaign.submit(replace(an_evgen(name, n), site=site))
    campaign.tell(task)
    jobs = list(campaign.ask(site, n))
    for job in jobs[:-1]:
        campaign.run(job)
    campaign.fail(jobs[-1])
    return task, jobs


def look_again(campaign: Campaign) -> None:
    """Let the time pass after which a dead collector's jobs are seen by others."""
    campaign.change("UPDATE to_collect SET next_at = now()")


def finish(campaign: Campaign, task: int) -> None:
    look_again(campaign)
    assert campaign.drive(task) == [TaskStage.DONE]
    assert len(campaign.files_of("mc.evgen.EVNT")) == 3
    assert len(campaign.files_of("mc.evgen.log")) == 3
    campaign.check()


@pytest.mark.parametrize("site", [T1, T2])
def test_a_crash_at_any_call_to_the_ddm_loses_and_doubles_nothing(campaign: Campaign, site: str) -> None:
    task, _ = reported(campaign, site)
    cut = 0
    for n in range(20):
        for after in (False, True):
            look_again(campaign)
            with interrupted(campaign.ctx, n, Crash(), after=after) as (ctx, ddm):
                try:
                    upkeep.collect(ctx)
                except Crash:
                    cut += 1
            campaign.check()
        campaign.move(1)
        if not ddm.interrupted:
            break
    assert cut >= 3
    finish(campaign, task)


@pytest.mark.parametrize("site", [T1, T2])
def test_a_crash_at_any_statement_loses_and_doubles_nothing(campaign: Campaign, site: str) -> None:
    task, _ = reported(campaign, site)

    def collect_all() -> None:
        look_again(campaign)
        while upkeep.collect(campaign.ctx).anything:
            pass

    cuts = 0
    for step in every_crash(collect_all, campaign.ctx.engine):
        cuts = step
        if step % 10 == 0:
            campaign.check()
            campaign.move()
    assert cuts > 20
    finish(campaign, task)


@pytest.mark.parametrize("site", [T1, T2])
def test_the_ddm_away_means_later_and_no_failure(campaign: Campaign, site: str) -> None:
    task, _ = reported(campaign, site)
    for n in range(4):
        look_again(campaign)
        with interrupted(campaign.ctx, n, Unavailable("the catalogue is away")) as (ctx, _):
            upkeep.collect(ctx)
    assert campaign.value("SELECT count(*) FROM job WHERE task_id = :t AND status = 'failed'", t=task) == 1
    finish(campaign, task)


@pytest.mark.parametrize("site", [T1, T2])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_second_collector_in_the_middle_of_the_first(campaign: Campaign, site: str, n: int) -> None:
    task, _ = reported(campaign, site)

    def second() -> None:
        look_again(campaign)
        upkeep.collect(campaign.ctx)

    with interrupted(campaign.ctx, n, second, after=True) as (ctx, ddm):
        upkeep.collect(ctx)
    assert ddm.interrupted
    campaign.check()
    assert campaign.value("SELECT count(*) FROM job WHERE task_id = :t", t=task) == 4
    assert campaign.value("SELECT failures FROM task_file WHERE task_id = :t", t=task) == 1
    finish(campaign, task)


def test_many_collectors_at_once(campaign: Campaign) -> None:
    task, _ = reported(campaign, T1)
    done = together(*[lambda: upkeep.collect(campaign.ctx)] * 4)
    total = Collected(sum(one.finished for one in done), 0, sum(one.failed for one in done))
    assert total == Collected(2, 0, 1)
    finish(campaign, task)


def test_collecting_twice_changes_nothing(campaign: Campaign) -> None:
    task, _ = reported(campaign, T1)
    assert upkeep.collect(campaign.ctx) == Collected(2, 0, 1, 4)
    before = campaign.value("SELECT count(*) FROM job_event")
    look_again(campaign)
    assert upkeep.collect(campaign.ctx) == Collected()
    assert campaign.value("SELECT count(*) FROM job_event") == before
    finish(campaign, task)


def test_a_dataset_that_the_ddm_lacks_is_made_at_the_end(campaign: Campaign) -> None:
    task, _ = reported(campaign, T1)
    campaign.ctx.ddm.erase([Did("mc", "mc.evgen.log")]).raise_first()
    campaign.change("DELETE FROM ddm.dataset WHERE name = 'mc.evgen.log'")
    assert upkeep.collect(campaign.ctx).attached == 2
    assert campaign.value("SELECT count(*) FROM incident WHERE level = 'error'") == 1
    assert upkeep.collect(campaign.ctx).attached == 0
    assert campaign.value("SELECT count(*) FROM incident WHERE level = 'error'") == 1  # once an hour
    finish(campaign, task)


def test_a_transferring_job_finishes_when_its_own_files_are_there(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T2))
    campaign.tell(task)
    one, two = campaign.ask(T2, 2)
    campaign.run(one)
    assert upkeep.collect(campaign.ctx).transferring == 1
    campaign.move()
    campaign.run(two)
    look_again(campaign)
    assert upkeep.collect(campaign.ctx) == Collected(finished=1, transferring=1, attached=2)
    assert campaign.statuses(task) == {"finished": 1, "transferring": 1}
    assert campaign.value("SELECT count(*) FROM block WHERE kind = 'sub'") == 1
    assert campaign.drive(task) == [TaskStage.DONE]


def test_a_name_with_another_content_is_refused(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1, max_attempts=1), site=T1))
    campaign.tell(task)
    (job,) = campaign.ask(T1)
    outputs = campaign.write(job)
    wrong = tuple(replace(one, bytes=one.bytes + 1) for one in outputs)
    campaign.say(job, JobStatus.FINISHED, outputs=wrong)
    assert campaign.drive(task) == [TaskStage.FAILED]
    assert "bytes" in campaign.value("SELECT errors::text FROM job_report")
