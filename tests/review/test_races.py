"""Two at once: what one of them reads before it gets a lock must not decide afterwards."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from panda.domain.dispatch import ErrorPair
from panda.domain.states import JobStatus
from panda.errors import NameTaken
from panda.services import control, upkeep
from panda.store import collection, counters, work
from tests.support.campaign import T1, Campaign, an_evgen


def waits_for_a_lock(campaign: Campaign) -> None:
    """Return once some session waits for a lock."""
    for _ in range(2000):
        if campaign.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            return
        time.sleep(0.005)
    raise AssertionError("nobody waits for a lock")


def test_a_failure_reported_while_the_job_is_killed_is_not_tried_again(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1), site=T1))
    campaign.tell(task)
    (job,) = campaign.ask(T1)
    campaign.say(job, JobStatus.RUNNING)
    errors = (ErrorPair("pilot", 1305, "payload failed"),)
    report = threading.Thread(target=campaign.say, args=(job, JobStatus.FAILED), kwargs={"errors": errors})
    with campaign.ctx.engine.begin() as connection:
        assert control._kill(connection, [job.job_id], "operator", "killed") == [job.job_id]
        report.start()
        waits_for_a_lock(campaign)
    report.join()
    upkeep.collect(campaign.ctx)
    assert campaign.statuses(task) == {"cancelled": 1}


def test_news_of_arrivals_do_not_wait_for_the_collector(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T1))
    campaign.tell(task)
    jobs = campaign.ask(T1, 2)
    campaign.change(
        "INSERT INTO to_collect (job_id, state) SELECT unnest(CAST(:j AS bigint[])), 'transferring'",
        j=[job.job_id for job in jobs],
    )
    campaign.change(
        """
        INSERT INTO block (name, kind, task_id, site_id, rse, bunch_id, transfer_id, state)
        SELECT 'sub', 'sub', task_id, site_id, 'X', id, 't', 'requested' FROM bunch
        """
    )
    campaign.change("UPDATE to_collect SET next_at = now() + interval '1 hour'")
    with campaign.ctx.engine.begin() as collector:
        collection.again(collector, {jobs[1].job_id: 5.0})
        with campaign.ctx.engine.begin() as news:
            news.execute(text("SET LOCAL lock_timeout = '5s'"))
            assert collection.hurry_transferring(news, ["t"]) == 1
    campaign.change("DELETE FROM to_collect")
    campaign.change("DELETE FROM block")


def test_a_wake_up_is_not_lost_between_fold_and_wake(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1), site=T1))
    campaign.tell(task)
    campaign.run(campaign.ask(T1)[0])
    upkeep.collect(campaign.ctx)

    def cut_off(*_arguments: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(work, "wake", cut_off)
        with pytest.raises(KeyboardInterrupt):
            upkeep.fold_and_wake(campaign.ctx)
    upkeep.fold_and_wake(campaign.ctx)
    assert upkeep.due_tasks(campaign.ctx) == [task]
    with campaign.ctx.engine.begin() as connection:
        assert counters.differences(connection) == []


def test_of_two_submits_at_once_for_one_dataset_the_loser_hears_that_the_name_is_taken(campaign: Campaign) -> None:
    """The client tells a name that is taken (code 2) from an error of the server."""
    wanted = an_evgen("twice", 1)
    with ThreadPoolExecutor(1) as pool, campaign.ctx.engine.begin() as first:
        work.insert_task(first, wanted, parent_id=None, bunch_size=1)
        second = pool.submit(campaign.submit, wanted)
        waits_for_a_lock(campaign)
        first.commit()
        error = second.exception(60)
    assert isinstance(error, NameTaken)
    assert campaign.value("SELECT count(*) FROM production_task") == 1
