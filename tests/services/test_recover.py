"""The watcher: each limit of domain.md 2.9 as a row of a table, just inside and just outside; and what survives it."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from panda.domain.dispatch import HandedJob
from panda.domain.states import JobStatus, TaskStage
from panda.domain.work import Split
from panda.services import control, recover, upkeep
from panda.services.dispatch import KILL
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen
from tests.support.together import together

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Row:
    """A state, how long it lasts, whose job it is, and what becomes of it."""

    state: str
    seconds: int
    becomes: str | None
    label: str = "managed"
    priority: int = 500


TABLE = [
    Row("sent", 1790, None),
    Row("sent", 1810, "closed"),
    Row("starting", 7190, None),
    Row("starting", 7210, "failed"),
    Row("running", 7190, None),
    Row("running", 7210, "failed"),
    Row("holding", 2 * DAY - 10, None),
    Row("holding", 2 * DAY + 10, "failed"),
    Row("holding", 10_790, None, priority=801),
    Row("holding", 10_810, "failed", priority=801),
    Row("holding", 10_810, "failed", label="user"),
    Row("transferring", 2 * DAY - 10, None),
    Row("transferring", 2 * DAY + 10, "failed"),
    Row("transferring", DAY + 10, "failed", priority=900),
    Row("transferring", DAY - 10, None, priority=900),
]


BEFORE = {
    "starting": ("starting",),
    "running": ("starting", "running"),
    "holding": ("starting", "running", "holding"),
}
"""What a pilot says until its job is in a state."""


@pytest.fixture(autouse=True)
def _api_is_up(campaign: Campaign) -> None:
    """Let the API have accepted updates for a month."""
    recover.api_is_up(campaign.ctx)
    campaign.change("UPDATE outage SET up_since = now() - interval '30 days'")


def in_state(campaign: Campaign, state: str, **changes: Any) -> HandedJob:
    """One job at the T2 that a pilot brought into a state."""
    label = changes.get("label", "managed")
    task = campaign.submit(replace(an_evgen("evgen", 1), site=T2, **changes))
    campaign.tell(task)
    (job,) = campaign.ask(T2) if label == "managed" else campaign.ask_as(T2, label, owner="prodmanager")
    for status in BEFORE.get(state, ()):
        campaign.say(job, JobStatus(status))
    if state == "transferring":
        campaign.run(job)
        upkeep.collect(campaign.ctx)
    assert campaign.statuses(task) == {state: 1}
    return job


def pass_time(campaign: Campaign, seconds: int) -> None:
    """Let everything have been as it is for so many seconds longer."""
    for table, column in (
        ("in_hand", "last_seen"),
        ("to_collect", "since"),
        ("bunch", "since"),
        ("production_task", "submitted_at"),
        ("job_event", "at"),
    ):
        campaign.change(f"UPDATE {table} SET {column} = {column} - make_interval(secs => :s)", s=seconds)  # noqa: S608


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.state}-{row.seconds}-{row.label}-{row.priority}")
def test_what_lasts_too_long_is_ended_and_tried_again(campaign: Campaign, row: Row) -> None:
    job = in_state(campaign, row.state, label=row.label, priority=row.priority)
    pass_time(campaign, row.seconds)
    recover.watch(campaign.ctx)
    if row.becomes is None:
        assert campaign.statuses(job.task_id) == {row.state: 1}
        return
    assert campaign.statuses(job.task_id) == {row.becomes: 1, "defined": 1}
    charged = campaign.value("SELECT COALESCE(sum(failures), 0) FROM task_file")
    assert charged == (0 if row.becomes == "closed" else 1)
    (event,) = campaign.rows("SELECT who, why FROM job_event WHERE job_id = :j AND to_state = :s", j=job.job_id,
                             s=row.becomes)  # fmt: skip
    assert event["who"] == "watcher"
    assert row.state in event["why"]
    late = campaign.say(job, JobStatus.RUNNING)
    assert (late.accepted, late.command) == (False, KILL)


@pytest.mark.parametrize("state", ["sent", "starting", "running"])
def test_an_outage_of_ours_does_not_kill_running_jobs(campaign: Campaign, state: str) -> None:
    job = in_state(campaign, state)
    pass_time(campaign, DAY)
    campaign.change("UPDATE outage SET up_since = now() - interval '5 minutes'")
    recover.watch(campaign.ctx)
    assert campaign.statuses(job.task_id) == {state: 1}
    campaign.change("UPDATE outage SET seen_at = now() - interval '1 hour', up_since = now() - interval '9 days'")
    recover.watch(campaign.ctx)
    assert campaign.statuses(job.task_id) == {state: 1}


def test_a_heartbeat_resets_the_clock(campaign: Campaign) -> None:
    job = in_state(campaign, "running")
    pass_time(campaign, 7000)
    campaign.say(job, JobStatus.RUNNING)
    pass_time(campaign, 7000)
    recover.watch(campaign.ctx)
    assert campaign.statuses(job.task_id) == {"running": 1}


def test_a_heartbeat_at_the_moment_of_the_watcher_wins_or_hears_the_end(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 12), site=T2))
    campaign.tell(task)
    jobs = campaign.ask(T2, 12)
    for job in jobs:
        campaign.say(job, JobStatus.RUNNING)
    pass_time(campaign, 7210)
    accepted: dict[int, bool] = {}

    def beat() -> None:
        for job in jobs:
            accepted[job.job_id] = campaign.say(job, JobStatus.RUNNING).accepted

    def look() -> None:
        recover.watch(campaign.ctx)

    together(beat, look)
    rows = campaign.rows("SELECT id, status FROM job WHERE id = ANY(:ids)", ids=list(accepted))
    assert {row["id"]: row["status"] == "running" for row in rows} == accepted


@pytest.mark.parametrize("state", ["sent", "running"])
def test_a_silent_job_that_was_told_to_end_is_not_tried_again(campaign: Campaign, state: str) -> None:
    job = in_state(campaign, state)
    control.kill_jobs(campaign.ctx, [job.job_id], "operator")
    pass_time(campaign, 7210)
    recover.watch(campaign.ctx)
    assert campaign.statuses(job.task_id) == {"cancelled": 1}
    assert campaign.drive(job.task_id) == [TaskStage.FAILED]


@pytest.mark.parametrize(("state", "seconds", "moves"), [
    ("assigned", 43_190, False), ("assigned", 43_210, True),
    ("activated", 2 * DAY - 10, False), ("activated", 2 * DAY + 10, True),
])  # fmt: skip
def test_a_bunch_that_waits_too_long_is_brokered_again(
    campaign: Campaign, state: str, seconds: int, moves: bool
) -> None:
    parent = campaign.submit(replace(an_evgen("parent", 2), site=T1))
    campaign.drive(parent)
    task = campaign.submit(replace(a_reader("reader", "mc.parent.EVNT", Split(files_per_job=2)), site=T2))
    campaign.tell(task)
    if state == "activated":
        campaign.move()
        upkeep.round_once(campaign.ctx)
    assert campaign.statuses(task) == {state: 1}
    pass_time(campaign, seconds)
    assert recover.watch(campaign.ctx).rebrokered == moves
    assert campaign.statuses(task) == ({"defined": 1} if moves else {state: 1})
    campaign.change("UPDATE production_task SET submitted_at = now()")
    assert campaign.drive(task) == [TaskStage.DONE]


@pytest.mark.parametrize(("label", "seconds", "ends"), [
    ("user", 7 * DAY - 10, False), ("user", 7 * DAY + 10, True),
    ("managed", 21 * DAY - 10, False), ("managed", 21 * DAY + 10, True),
])  # fmt: skip
def test_no_job_lives_longer_than_its_task_may(campaign: Campaign, label: str, seconds: int, ends: bool) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T2, label=label))
    campaign.tell(task)
    campaign.change("UPDATE production_task SET submitted_at = now() - make_interval(secs => :s)", s=seconds)
    assert recover.watch(campaign.ctx).failed == (2 if ends else 0)
    assert campaign.statuses(task) == ({"failed": 2} if ends else {"activated": 2})


def test_a_retry_begins_a_tasks_lifetime_anew(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T2, max_attempts=1))
    campaign.tell(task)
    campaign.fail(campaign.ask(T2)[0])
    assert campaign.drive(task) == [TaskStage.FINISHED]
    campaign.change("UPDATE production_task SET submitted_at = now() - make_interval(days => 30)")
    control.retry_task(campaign.ctx, task, "tester")
    campaign.tell(task)
    assert recover.watch(campaign.ctx).failed == 0
    campaign.change("UPDATE production_task SET retried_at = now() - make_interval(days => 22)")
    assert recover.watch(campaign.ctx).failed == 1


def test_a_job_that_no_pilot_ever_took_is_given_up_after_a_week(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T2))
    campaign.tell(task)
    pass_time(campaign, 7 * DAY + 10)
    recover.watch(campaign.ctx)
    assert campaign.statuses(task) == {"failed": 2}
    assert campaign.drive(task) == [TaskStage.FAILED]
