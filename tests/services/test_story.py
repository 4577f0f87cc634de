"""The lease on a task: one teller at a time, wake-ups are never lost, and a story may be cut off at any statement."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from panda.domain.states import TaskStage
from panda.domain.work import Split
from panda.errors import LeaseLost
from panda.services import story, upkeep
from panda.store import work
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen
from tests.support.crash import every_crash
from tests.support.together import together


def test_one_of_many_gets_the_lease(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen())
    got = together(*[partial(story.claim, campaign.ctx, task)] * 5)
    assert sum(one is not None for one in got) == 1


def test_a_lease_that_ran_out_is_taken_and_its_holder_writes_no_more(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen())
    late = story.claim(campaign.ctx, task)
    assert late is not None
    assert story.claim(campaign.ctx, task) is None
    campaign.change("UPDATE production_task SET lease_until = now() - interval '1 s'")
    new = story.claim(campaign.ctx, task)
    assert new is not None
    with pytest.raises(LeaseLost), story.fenced(campaign.ctx, late):
        pass
    story.release(campaign.ctx, late, "late")
    assert story.is_told(campaign.ctx, task)
    with story.fenced(campaign.ctx, new):
        pass


def test_a_lease_is_renewed_by_every_step(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen())
    lease = story.claim(campaign.ctx, task)
    assert lease is not None
    campaign.change("UPDATE production_task SET lease_until = now() + interval '1 s'")
    with story.fenced(campaign.ctx, lease):
        pass
    assert campaign.value("SELECT lease_until > now() + interval '100 s' FROM production_task")


@pytest.mark.parametrize("woken", [False, True])
def test_a_wake_up_during_a_story_is_not_lost(campaign: Campaign, woken: bool) -> None:
    task = campaign.submit(an_evgen())
    lease = story.claim(campaign.ctx, task)
    assert lease is not None
    if woken:
        with campaign.ctx.engine.begin() as connection:
            work.wake(connection, [task])
    story.release(campaign.ctx, lease, "AwaitingJobs", later_s=None)
    assert upkeep.due_tasks(campaign.ctx) == ([task] if woken else [])


def test_progress_during_a_story_does_not_make_it_be_told_again_at_once(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen())
    lease = story.claim(campaign.ctx, task)
    assert lease is not None
    with campaign.ctx.engine.begin() as connection:
        work.wake(connection, [task], in_seconds=60.0)
    story.release(campaign.ctx, lease, "AwaitingJobs", later_s=600.0)
    assert upkeep.due_tasks(campaign.ctx) == []
    campaign.change("UPDATE production_task SET due_at = due_at - interval '61 s'")
    assert upkeep.due_tasks(campaign.ctx) == [task]


def test_a_story_whose_teller_is_gone_is_due_when_its_lease_ends(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen())
    assert story.claim(campaign.ctx, task) is not None
    assert upkeep.due_tasks(campaign.ctx) == []
    campaign.change("UPDATE production_task SET lease_until = now() - interval '1 s'")
    assert upkeep.due_tasks(campaign.ctx) == [task]


def test_a_story_that_waits_is_due_again_after_its_time(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen())
    lease = story.claim(campaign.ctx, task)
    assert lease is not None
    story.release(campaign.ctx, lease, "AwaitingSite: none", later_s=30.0)
    assert upkeep.due_tasks(campaign.ctx) == []
    campaign.change("UPDATE production_task SET due_at = due_at - interval '31 s'")
    assert upkeep.due_tasks(campaign.ctx) == [task]


def a_reader_task(campaign: Campaign) -> int:
    parent = campaign.submit(replace(an_evgen("parent", 4), site=T1))
    assert campaign.drive(parent) == [TaskStage.DONE]
    return campaign.submit(replace(a_reader("reader", "mc.parent.EVNT", Split(files_per_job=1)), site=T2, bunch_size=2))


def cut_off_everywhere(campaign: Campaign, task: int, act: Callable[[], object]) -> int:
    """Cut an act off at each of its statements in turn; returns how often it was."""
    cuts = 0
    for step in every_crash(act, campaign.ctx.engine):
        cuts = step + 1
        campaign.change("UPDATE production_task SET lease_until = now() - interval '1 s' WHERE id = :t", t=task)
        if step % 8 == 0:
            campaign.check()
    return cuts


def test_a_story_cut_off_at_any_statement_goes_on(campaign: Campaign) -> None:
    task = a_reader_task(campaign)
    assert cut_off_everywhere(campaign, task, lambda: campaign.tell(task)) > 20
    assert campaign.statuses(task) == {"assigned": 4}
    assert campaign.move() == 4
    assert cut_off_everywhere(campaign, task, lambda: upkeep.round_once(campaign.ctx)) > 10
    assert campaign.statuses(task) == {"activated": 4}
    assert campaign.drive(task) == [TaskStage.DONE]
    assert len(campaign.files_of("mc.reader.HITS")) == 4


def test_an_end_cut_off_at_any_statement_goes_on(campaign: Campaign) -> None:
    task = a_reader_task(campaign)
    campaign.tell(task)
    campaign.move()
    upkeep.round_once(campaign.ctx)
    campaign.run_all(T2)
    upkeep.collect(campaign.ctx)
    campaign.move()
    upkeep.round_once(campaign.ctx)
    assert campaign.statuses(task) == {"finished": 4}
    campaign.change(  # as if nothing had been attached yet
        "UPDATE job_output SET state = 'ready' WHERE job_id IN (SELECT id FROM job WHERE task_id = :t)", t=task
    )
    assert cut_off_everywhere(campaign, task, lambda: campaign.tell(task)) > 10
    assert campaign.stage(task) is TaskStage.DONE
    assert len(campaign.files_of("mc.reader.HITS")) == 4
