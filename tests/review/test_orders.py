"""Orders over many rows reach every row, and take their locks in the order of design section 4."""

from dataclasses import replace

import pytest
from sqlalchemy import event

from panda.domain.work import LooseJob, LooseJobs
from panda.services import control, recover
from panda.services.loose import submit_jobs
from tests.support.campaign import T1, Campaign, an_evgen


def test_every_running_job_of_an_aborted_task_is_told(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CHUNK", 2)
    task = campaign.submit(replace(an_evgen("evgen", 7), site=T1))
    campaign.tell(task)
    held = campaign.ask(T1, 7)
    control.abort_task(campaign.ctx, task, "operator")
    while campaign.value("SELECT count(*) FROM pending_action WHERE done_at IS NULL"):
        campaign.change("UPDATE pending_action SET repeat_at = now()")
        control.work_off(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM in_hand WHERE command = 'tobekilled'") == len(held) == 7


def test_a_job_below_priority_zero_is_handed_out(campaign: Campaign) -> None:
    jobs = (LooseJob("--a", priority_offset=-500), LooseJob("--b", priority_offset=-700))
    wanted = LooseJobs(replace(an_evgen("loose", 2), priority=100, site=T1), jobs)
    (made,) = submit_jobs(campaign.ctx, [wanted], "tester")
    campaign.tell(made.task_id)
    assert [job.job_id for job in campaign.ask(T1, 5)] == list(made.job_ids)


def test_rebrokerage_locks_the_task_before_its_bunches(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T1))
    campaign.tell(task)
    campaign.change("UPDATE bunch SET since = now() - interval '30 days'")
    order: list[str] = []
    _note_locks(campaign, order)
    recover.watch(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM bunch WHERE generation = 1") == 1
    assert order[0] == "production_task"
    order.clear()
    campaign.tell(task)
    control.set_site_status(campaign.ctx, T1, "offline", "operator")
    order.clear()
    control.work_off(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM bunch WHERE generation = 2") == 1
    assert order[0] == "production_task"


def _note_locks(campaign: Campaign, order: list[str]) -> None:
    @event.listens_for(campaign.ctx.engine, "before_cursor_execute")
    def note(_conn: object, _cur: object, statement: str, *_more: object) -> None:
        for table in ("production_task", "bunch"):
            if f"UPDATE {table}" in statement or (f"FROM {table} " in statement and "UPDATE" in statement):
                order.append(table)
                return
