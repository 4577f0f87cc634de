"""Dispatch: a job goes to one pilot; reports that come twice, late or from the wrong attempt change nothing."""

from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from panda.domain.dispatch import HandedJob, JobUpdate, OutputReport
from panda.domain.states import JobStatus, TaskStage
from panda.domain.work import Resources, Split
from panda.errors import NotFound
from panda.services import control, dispatch, upkeep
from panda.services.dispatch import KILL
from panda.store import pop, queue, reports
from tests.support.campaign import T1, T2, Campaign, an_evgen
from tests.support.together import flatten, together


def ready(campaign: Campaign, n: int, name: str = "evgen", **changes: Any) -> int:
    """A task with so many jobs ready at the T1."""
    task = campaign.submit(replace(an_evgen(name, n), site=T1, **changes))
    campaign.tell(task)
    assert (
        campaign.value("SELECT count(*) FROM ready r JOIN job j ON j.id = r.job_id WHERE j.task_id = :t", t=task) == n
    )
    return task


SMALL, TINY = Resources(memory_mb=500), Resources(memory_mb=250)


def states(campaign: Campaign, job: HandedJob) -> list[str | None]:
    """What a job went through."""
    rows = campaign.rows("SELECT to_state FROM job_event WHERE job_id = :j ORDER BY id", j=job.job_id)
    return [row["to_state"] for row in rows]


# --- the pop --------------------------------------------------------------------------------------------------------
def test_eight_pilots_at_once_never_get_the_same_job(campaign: Campaign) -> None:
    ready(campaign, 60, bunch_size=60)

    def pilot() -> list[int]:
        mine: list[int] = []
        while jobs := campaign.ask(T1, 3):
            mine += [job.job_id for job in jobs]
        return mine

    got = flatten(together(*[pilot] * 8))
    assert len(got) == len(set(got)) == 60


def test_the_best_priority_goes_first_then_the_oldest(campaign: Campaign) -> None:
    low, high = ready(campaign, 2, "low", priority=100), ready(campaign, 2, "high", priority=900)
    got = [campaign.ask(T1)[0] for _ in range(4)]
    assert [job.task_id for job in got] == [high, high, low, low]
    assert [job.ordinal for job in got] == [0, 1, 0, 1]


def test_an_unknown_queue_is_refused(campaign: Campaign) -> None:
    with pytest.raises(NotFound, match="no queue 'GAMMA'"):
        campaign.ask("GAMMA")


def test_a_repeated_request_gets_the_same_jobs(campaign: Campaign) -> None:
    ready(campaign, 5)
    number = uuid4()
    first = campaign.ask(T1, 2, request_id=number)
    assert campaign.ask(T1, 2, request_id=number) == first
    assert len(campaign.ask(T1, 5)) == 3


def test_a_retry_that_overtakes_its_request_gets_the_same_answer(campaign: Campaign) -> None:
    ready(campaign, 12)
    numbers = [UUID(int=n) for n in range(3)]
    answers = together(*[partial(campaign.ask, T1, 2, request_id=number) for number in numbers * 2])
    for number in range(3):
        assert answers[number] == answers[number + 3]
        assert len(answers[number]) == 2
    assert len({job.job_id for job in flatten(answers)}) == 6


def test_a_request_that_got_nothing_may_get_something_later(campaign: Campaign) -> None:
    number = uuid4()
    assert campaign.ask(T1, request_id=number) == ()
    assert campaign.value("SELECT count(*) FROM pilot_request") == 0
    ready(campaign, 1)
    assert len(campaign.ask(T1, request_id=number)) == 1


@pytest.mark.parametrize("spoiler", ["hold", "abort", "site"])
def test_rows_that_may_not_go_are_thrown_out_and_come_back_when_they_may(campaign: Campaign, spoiler: str) -> None:
    task = ready(campaign, 3, "first", priority=900)
    other = ready(campaign, 1, "second", priority=100)
    spoil, repair = {
        "hold": ("UPDATE production_task SET hold = 'x' WHERE id = :t", "UPDATE production_task SET hold = NULL"),
        "abort": (
            "UPDATE production_task SET stage = 'aborting' WHERE id = :t",
            "UPDATE production_task SET stage = 'running'",
        ),
        "site": ("UPDATE bunch SET state = 'assigned' WHERE task_id = :t", "UPDATE bunch SET state = 'activated'"),
    }[spoiler]
    campaign.change(spoil, t=task)
    assert [job.task_id for job in campaign.ask(T1, 5)] == [other]
    assert campaign.value("SELECT count(*) FROM ready") == 0
    campaign.change(repair)
    upkeep.round_once(campaign.ctx)
    assert [job.task_id for job in campaign.ask(T1, 5)] == [task] * 3


def test_each_want_gets_its_slots_whatever_the_others_lack(campaign: Campaign) -> None:
    """Of the first class the best two rows may not go, of the second one there are too few, the third has enough."""
    held, low = ready(campaign, 2, "held", priority=900), ready(campaign, 4, "low", priority=100)
    few, many = ready(campaign, 1, "few", resources=SMALL), ready(campaign, 3, "many", resources=TINY)
    campaign.change("UPDATE production_task SET hold = 'x' WHERE id = :t", t=held)
    classes = {
        row["task_id"]: (row["class_id"], row["site_id"])
        for row in campaign.rows("""
            SELECT DISTINCT j.task_id, r.class_id, c.site_id FROM ready r JOIN job j ON j.id = r.job_id
            JOIN requirement_class c ON c.id = r.class_id""")
    }
    assert len(set(classes.values())) == 3
    wants = [pop.Want(*classes[low], 3), pop.Want(*classes[few], 2), pop.Want(*classes[many], 2)]
    with campaign.ctx.engine.connect() as connection:
        with connection.begin() as first:
            found = pop.take(connection, wants)
            first.rollback()
        jobs = {one.slot: (one.task_id, one.ordinal) for one in found if one.job_id is not None}
        assert jobs == {1: (low, 0), 2: (low, 1), 3: (low, 2), 4: (few, 0), 6: (many, 0), 7: (many, 1)}

        (thrown,) = pop.take(connection, [replace(wants[0], n=1)])
        assert (thrown.slot, thrown.job_id, thrown.waited_at) == (1, None, 900)
        connection.rollback()


def test_a_class_that_was_emptied_is_found_again(campaign: Campaign) -> None:
    ready(campaign, 1, "one")
    assert len(campaign.ask(T1)) == 1
    assert campaign.ask(T1) == ()
    assert campaign.value("SELECT max(max_priority) FROM requirement_class") == queue.EMPTY
    ready(campaign, 1, "two")
    assert len(campaign.ask(T1)) == 1


# --- pilots that want jobs of one task ------------------------------------------------------------------------------
def test_a_pilot_that_names_a_task_gets_jobs_of_that_only(campaign: Campaign) -> None:
    low, high = ready(campaign, 3, "low", priority=100), ready(campaign, 2, "high", priority=900)
    mine = campaign.ask(T1, 2, task_id=low)
    assert [(job.task_id, job.ordinal) for job in mine] == [(low, 0), (low, 1)]
    assert states(campaign, mine[0])[-1] == "sent"
    number = uuid4()
    last = campaign.ask(T1, 5, task_id=low, request_id=number)
    assert [job.ordinal for job in last] == [2]
    assert campaign.ask(T1, 5, task_id=low, request_id=number) == last
    assert campaign.ask(T1, 5, task_id=low) == ()
    assert campaign.ask(T1, 5, task_id=low + high) == ()
    assert campaign.ask(T2, 5, task_id=high) == ()
    assert [job.task_id for job in campaign.ask(T1, 5)] == [high, high]
    campaign.check()


def test_a_task_that_is_not_for_the_pilot_or_held_gives_nothing_to_who_names_it(campaign: Campaign) -> None:
    task = ready(campaign, 2)
    assert campaign.ask_as(T1, "user", task_id=task) == ()
    campaign.change("UPDATE production_task SET hold = 'x' WHERE id = :t", t=task)
    assert campaign.ask(T1, 2, task_id=task) == ()


def test_pilots_that_want_one_task_never_get_the_same_job(campaign: Campaign) -> None:
    task = ready(campaign, 40, bunch_size=40)

    def pilot(**names: int) -> list[int]:
        mine: list[int] = []
        while jobs := campaign.ask(T1, 3, **names):
            mine += [job.job_id for job in jobs]
        return mine

    got = flatten(together(*[partial(pilot, task_id=task), partial(pilot)] * 3))
    assert len(got) == len(set(got)) == 40


# --- what a pilot gets ----------------------------------------------------------------------------------------------
def test_a_job_carries_what_its_task_and_its_numbers_say(campaign: Campaign) -> None:
    ready(campaign, 3, split=Split(events_per_job=10, n_events=25), seed=7, parameters="${SEED} ${MAXEVENTS} ${OUT0}")
    jobs = campaign.ask(T1, 3)
    assert [(job.first_event, job.n_events) for job in jobs] == [(0, 10), (10, 10), (20, 5)]
    assert jobs[2].parameters == "10 5 evgen.EVNT._000003.root"
    assert [(one.kind, one.lfn, one.rse) for one in jobs[0].outputs] == [
        ("output", "evgen.EVNT._000001.root", "ALPHA_DATADISK"),
        ("log", "evgen.log._000001.tgz", "ALPHA_DATADISK"),
    ]
    assert {job.lease for job in jobs} == {1}
    for job in jobs:
        campaign.run(job)


# --- reports --------------------------------------------------------------------------------------------------------
@pytest.fixture
def job(campaign: Campaign) -> HandedJob:
    """A job in a pilot's hand."""
    ready(campaign, 1)
    return campaign.ask(T1)[0]


def test_a_job_goes_through_its_states_once(campaign: Campaign, job: HandedJob) -> None:
    for status in (JobStatus.STARTING, JobStatus.STARTING, JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.STARTING):
        assert campaign.say(job, status).accepted
    assert states(campaign, job) == ["sent", "starting", "running"]


@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"lease": 2}, {"lease": 0}])
@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.FINISHED, JobStatus.FAILED])
def test_the_wrong_attempt_or_lease_changes_nothing(
    campaign: Campaign, job: HandedJob, wrong: dict[str, Any], status: JobStatus
) -> None:
    answer = campaign.say(job, status, **wrong)
    assert (answer.accepted, answer.command) == (False, KILL)
    assert states(campaign, job) == ["sent"]
    assert campaign.value("SELECT count(*) FROM job_report") == 0


@pytest.mark.parametrize(
    ("known", "told", "ends"),
    [("7.0#ce1", "8.0#ce1", True), ("7.0#ce1", "7.0#ce1", False), ("7.0#ce1", "42", False), ("41", "42", False)],
)
@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.FINISHED])
def test_a_second_batch_job_with_the_same_job_is_ended(
    campaign: Campaign, job: HandedJob, known: str, told: str, ends: bool, status: JobStatus
) -> None:
    campaign.say(job, JobStatus.RUNNING, batch_id=known)
    answer = campaign.say(job, status, batch_id=told)
    assert (answer.accepted, answer.command) == (not ends, "tobekilled" if ends else None)
    assert campaign.say(job, JobStatus.RUNNING, batch_id=known).accepted


def test_a_job_that_never_was(campaign: Campaign) -> None:
    answer = dispatch.update(campaign.ctx, JobUpdate(4_711, JobStatus.RUNNING))
    assert (answer.known, answer.accepted, answer.command) == (False, False, KILL)


def test_a_job_that_no_pilot_has(campaign: Campaign) -> None:
    ready(campaign, 1)
    waiting = campaign.value("SELECT max(id) FROM job")
    answer = dispatch.update(campaign.ctx, JobUpdate(waiting, JobStatus.FINISHED, attempt=1))
    assert (answer.accepted, answer.note) == (False, "the job is not in a pilot's hand")


@pytest.mark.parametrize("status", [JobStatus.ACTIVATED, JobStatus.CLOSED, JobStatus.CANCELLED])
def test_a_pilot_cannot_say_everything(campaign: Campaign, job: HandedJob, status: JobStatus) -> None:
    assert not campaign.say(job, status).accepted
    assert states(campaign, job) == ["sent"]


def test_the_first_final_report_counts(campaign: Campaign, job: HandedJob) -> None:
    outputs = campaign.write(job)
    assert campaign.say(job, JobStatus.FINISHED, outputs=outputs).accepted
    assert campaign.say(job, JobStatus.FAILED).accepted
    assert campaign.value("SELECT verdict FROM job_report") == "finished"
    upkeep.collect(campaign.ctx)
    assert states(campaign, job) == ["sent", "holding", "finished"]
    late = campaign.say(job, JobStatus.FAILED)
    assert (late.accepted, late.note) == (False, "alreadydone")
    assert states(campaign, job) == ["sent", "holding", "finished"]


def test_the_same_final_report_again_is_fine_and_changes_nothing(campaign: Campaign, job: HandedJob) -> None:
    outputs = campaign.write(job)
    campaign.say(job, JobStatus.FINISHED, outputs=outputs, body_hash="abc")
    upkeep.collect(campaign.ctx)
    again = campaign.say(job, JobStatus.FINISHED, outputs=outputs, body_hash="abc")
    assert (again.accepted, again.command) == (True, None)
    assert states(campaign, job) == ["sent", "holding", "finished"]


def left_by(campaign: Campaign, job: HandedJob) -> list[object]:
    """What the report of a job left behind in every table, without numbers and times of its own."""
    own = {"id", "job_id", "at", "xid", "since", "next_at", "body_hash"}
    tables = ("job_event", "job_report", "to_collect", "in_hand")
    kept = [
        campaign.rows(f"SELECT * FROM {table} WHERE job_id = :j ORDER BY 1", j=job.job_id)  # noqa: S608 - tables
        for table in tables
    ]
    kept.append(campaign.rows("SELECT status, attempt, lease, site_id FROM job WHERE id = :j", j=job.job_id))
    return [[{name: value for name, value in row.items() if name not in own} for row in rows] for rows in kept]


def test_the_usual_end_is_written_as_any_other(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(campaign, 2)
    first, second = campaign.ask(T1, 2)
    told: dict[str, Any] = {
        "batch_id": "7.0#ce1", "n_events": 3, "wall_s": 2.5, "cpu_s": 1.5, "max_rss_kb": 7, "timing": "1|2",
        "started_at": campaign.ctx.clock(), "ended_at": campaign.ctx.clock(), "body_hash": "abc",
        "outputs": (OutputReport('a"b', None, 1, "0a0b0c0d", "R1"), OutputReport("c", "g", 2, "0a0b0c0e", None, 4)),
    }  # fmt: skip
    for job in (first, second):
        campaign.say(job, JobStatus.RUNNING, batch_id="7.0#ce1")
    assert campaign.say(first, JobStatus.FINISHED, **told).accepted
    monkeypatch.setattr(reports, "finish", lambda *_: {})
    assert campaign.say(second, JobStatus.FINISHED, **told).accepted
    assert left_by(campaign, first) == left_by(campaign, second)
    assert states(campaign, first) == ["sent", "running", "holding"]


@pytest.mark.parametrize("wrong", [{"attempt": 7}, {"lease": 7}, {"batch_id": "8.0#ce1"}])
def test_the_end_that_another_pilot_reports_changes_nothing(
    campaign: Campaign, job: HandedJob, wrong: dict[str, Any]
) -> None:
    campaign.say(job, JobStatus.RUNNING, batch_id="7.0#ce1")
    before = left_by(campaign, job)
    answer = campaign.say(job, JobStatus.FINISHED, **wrong)
    assert (answer.accepted, answer.command) == (False, KILL)
    assert left_by(campaign, job) == before


def test_reports_that_come_at_once_count_once(campaign: Campaign, job: HandedJob) -> None:
    outputs = campaign.write(job)
    said = together(*[partial(campaign.say, job, JobStatus.FINISHED, outputs=outputs)] * 4)
    assert all(one.accepted for one in said)
    assert states(campaign, job) == ["sent", "holding"]


@pytest.mark.parametrize("late", [JobStatus.STARTING, JobStatus.RUNNING, JobStatus.HOLDING, JobStatus.TRANSFERRING])
def test_a_late_sign_of_life_does_not_take_a_job_back(campaign: Campaign, late: JobStatus) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1), site=T2))
    campaign.tell(task)
    (job,) = campaign.ask(T2)
    campaign.run(job)
    assert campaign.say(job, late).accepted
    campaign.check()
    upkeep.collect(campaign.ctx)
    assert campaign.statuses(task) == {"transferring": 1}
    campaign.say(job, late)
    campaign.check()
    assert campaign.drive(task) == [TaskStage.DONE]


def test_a_pilot_that_keeps_its_outputs_may_still_report(campaign: Campaign, job: HandedJob) -> None:
    campaign.say(job, JobStatus.RUNNING)
    assert campaign.say(job, JobStatus.HOLDING).accepted
    assert not upkeep.collect(campaign.ctx).anything
    campaign.check()
    assert campaign.say(job, JobStatus.FINISHED, outputs=campaign.write(job)).accepted
    assert upkeep.collect(campaign.ctx).finished == 1


def test_a_command_waits_for_the_next_heartbeat(campaign: Campaign, job: HandedJob) -> None:
    assert campaign.say(job, JobStatus.RUNNING).command is None
    assert control.set_debug(campaign.ctx, job.job_id, "operator", on=True)
    assert campaign.say(job, JobStatus.RUNNING).command == "debug"
    control.kill_jobs(campaign.ctx, [job.job_id], "operator")
    assert control.set_debug(campaign.ctx, job.job_id, "operator", on=False)
    assert campaign.say(job, JobStatus.RUNNING).command == "tobekilled"
    assert not control.set_debug(campaign.ctx, 999, "operator", on=True)


def test_a_killed_job_that_finished_all_the_same_is_finished(campaign: Campaign, job: HandedJob) -> None:
    control.kill_jobs(campaign.ctx, [job.job_id], "operator")
    assert campaign.run(job).accepted
    assert campaign.drive(job.task_id) == [TaskStage.DONE]
