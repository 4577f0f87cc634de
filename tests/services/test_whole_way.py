"""The whole way in one process: from a request to closed datasets, with real files, blocks, transfers and pilots."""

from dataclasses import replace

import pytest

from panda.ddm.port import Did
from panda.domain.states import JobStatus, TaskStage
from panda.domain.work import Split
from panda.errors import Conflict, Refused
from panda.services import control, upkeep
from panda.services.dispatch import KILL
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen, transfers_of


def a_parent(campaign: Campaign, n_jobs: int = 6) -> str:
    """A closed dataset of so many files at the T1; returns its name."""
    task = campaign.submit(replace(an_evgen("parent", n_jobs), site=T1))
    assert campaign.drive(task) == [TaskStage.DONE]
    return "mc.parent.EVNT"


def test_a_task_without_input_ends_with_closed_datasets(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 5), site=T1))
    assert campaign.tell(task) == "AwaitingPilots: 5 activated"
    assert campaign.statuses(task) == {"activated": 5}
    assert campaign.ask(T2) == ()
    jobs = campaign.ask(T1, 10)
    assert [job.ordinal for job in jobs] == [0, 1, 2, 3, 4]
    assert [job.parameters for job in jobs] == [
        f"--seed {n} --out evgen.EVNT._{n:06d}.root" for n in range(1, 6)
    ]  # ${SEED} is the task's seed + serial number
    for job in jobs:
        assert campaign.run(job).accepted
    assert campaign.statuses(task) == {"holding": 5}
    done = upkeep.collect(campaign.ctx)
    assert (done.finished, done.transferring, done.attached) == (5, 0, 10)
    assert upkeep.fold_and_wake(campaign.ctx) > 0
    assert upkeep.due_tasks(campaign.ctx) == [task]
    assert campaign.tell(task) is None
    assert campaign.stage(task) is TaskStage.DONE
    assert list(campaign.files_of("mc.evgen.EVNT")) == [f"evgen.EVNT._{n:06d}.root" for n in range(1, 6)]
    info = campaign.ctx.ddm.dataset(Did("mc", "mc.evgen.EVNT"))
    assert info is not None
    assert (info.open, info.files) == (False, 5)
    assert campaign.rows("SELECT name, state, n_files FROM dataset ORDER BY id") == [
        {"name": "mc.evgen.log", "state": "closed", "n_files": 5},
        {"name": "mc.evgen.EVNT", "state": "closed", "n_files": 5},
    ]
    assert upkeep.due_tasks(campaign.ctx) == []


def test_a_story_told_twice_changes_nothing(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen("evgen", 3))
    campaign.tell(task)
    before = campaign.value("SELECT count(*) FROM job_event")
    assert campaign.tell(task) == "AwaitingPilots: 3 activated"
    assert campaign.value("SELECT count(*) FROM job_event") == before


def test_input_moves_to_the_tier2_and_output_comes_back(campaign: Campaign) -> None:
    dataset = a_parent(campaign, 6)
    task = campaign.submit(replace(a_reader("reader", dataset, Split(files_per_job=2)), site=T2))
    assert campaign.tell(task) == "AwaitingTransfers: 3 assigned"
    assert campaign.ask(T2) == ()
    (block,) = transfers_of(campaign, "dis")
    assert (block["state"], block["n_files"], block["rse"]) == ("requested", 6, "BETA_DATADISK")
    assert campaign.move() == 6
    upkeep.round_once(campaign.ctx)
    assert campaign.statuses(task) == {"activated": 3}
    jobs = campaign.ask(T2, 5)
    assert [[one.lfn for one in job.inputs] for job in jobs] == [
        [f"parent.EVNT._{n:06d}.root", f"parent.EVNT._{n + 1:06d}.root"] for n in (1, 3, 5)
    ]
    for job in jobs:
        campaign.run(job)
    assert upkeep.collect(campaign.ctx).transferring == 3
    assert campaign.statuses(task) == {"transferring": 3}
    assert upkeep.collect(campaign.ctx).finished == 0
    assert campaign.tell(task) == "AwaitingOutputs: 3 transferring"
    assert campaign.move() == 3
    assert upkeep.round_once(campaign.ctx).collected.finished == 3
    assert campaign.tell(task) is None
    assert campaign.stage(task) is TaskStage.DONE
    assert len(campaign.files_of("mc.reader.HITS")) == 3
    here = campaign.ctx.ddm.locations([Did("mc", "mc.reader.HITS")])[Did("mc", "mc.reader.HITS")]
    assert here["ALPHA_DATADISK"].complete
    subs = transfers_of(campaign, "sub")
    assert [(one["state"], one["rse"]) for one in subs] == [("complete", "ALPHA_DATADISK")]


def test_a_child_waits_for_its_parents_dataset(campaign: Campaign) -> None:
    parent = campaign.submit(replace(an_evgen("evgen", 4), site=T1))
    child = campaign.submit(a_reader("child", "mc.evgen.EVNT", Split(files_per_job=4)))
    assert campaign.tell(child) == f"AwaitingInput: dataset mc.evgen.EVNT of task {parent} is not closed yet"
    assert campaign.drive(parent, child) == [TaskStage.DONE, TaskStage.DONE]
    assert len(campaign.files_of("mc.child.HITS")) == 1


def test_a_failure_is_retried_up_to_the_limit(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T1))
    for attempt in (1, 2, 3):
        campaign.turn()
        campaign.tell(task)
        for job in campaign.ask(T1, 5):
            assert job.attempt == attempt or job.ordinal == 1
            if job.ordinal == 0:
                assert campaign.fail(job).accepted
            else:
                campaign.run(job)
    assert campaign.drive(task) == [TaskStage.FINISHED]
    assert campaign.statuses(task) == {"failed": 3, "finished": 1}
    assert list(campaign.files_of("mc.evgen.EVNT")) == ["evgen.EVNT._000002.root"]
    assert campaign.value("SELECT failures FROM task_file WHERE task_id = :t", t=task) == 3
    assert campaign.value("SELECT error FROM production_task WHERE id = :t", t=task) == "1 of 2 jobs finished"


def test_a_second_attempt_writes_under_another_name(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1), site=T1))
    campaign.tell(task)
    campaign.fail(campaign.ask(T1)[0])
    assert campaign.drive(task) == [TaskStage.DONE]
    assert list(campaign.files_of("mc.evgen.EVNT")) == ["evgen.EVNT._000001.root.2"]


def test_a_task_whose_every_job_fails_is_failed(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1, max_attempts=1), site=T1))
    campaign.tell(task)
    campaign.fail(campaign.ask(T1)[0])
    assert campaign.drive(task) == [TaskStage.FAILED]
    assert campaign.files_of("mc.evgen.EVNT") == {}


def test_a_report_without_outputs_fails_the_job(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1, max_attempts=1), site=T1))
    campaign.tell(task)
    (job,) = campaign.ask(T1)
    campaign.say(job, JobStatus.FINISHED, outputs=())
    assert campaign.drive(task) == [TaskStage.FAILED]
    (row,) = campaign.rows("SELECT errors FROM job_report WHERE job_id = :j", j=job.job_id)
    assert (row["errors"][0]["component"], row["errors"][0]["code"]) == ("pilot", 1165)


def test_outputs_that_are_not_at_the_site_fail_the_job(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1, max_attempts=1), site=T1))
    campaign.tell(task)
    (job,) = campaign.ask(T1)
    outputs = campaign.write(job)
    campaign.path(job.outputs[0].rse, job.outputs[0].scope, job.outputs[0].lfn).unlink()
    campaign.say(job, JobStatus.FINISHED, outputs=outputs)
    assert campaign.drive(task) == [TaskStage.FAILED]
    (row,) = campaign.rows("SELECT errors FROM job_report WHERE job_id = :j", j=job.job_id)
    assert (row["errors"][0]["component"], row["errors"][0]["code"]) == ("ddm", 200)


# --- orders ---------------------------------------------------------------------------------------------------------
def test_abort_cancels_what_waits_and_tells_the_pilots(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 4), site=T1))
    campaign.tell(task)
    done, held = campaign.ask(T1, 2)
    campaign.run(done)
    upkeep.collect(campaign.ctx)
    campaign.say(held, JobStatus.RUNNING)
    control.abort_task(campaign.ctx, task, "operator")
    campaign.turn()
    assert campaign.statuses(task) == {"finished": 1, "running": 1, "cancelled": 2}
    assert campaign.ask(T1) == ()
    assert campaign.say(held, JobStatus.RUNNING).command == KILL
    campaign.fail(held, 1144)
    assert campaign.drive(task) == [TaskStage.ABORTED]
    assert campaign.statuses(task) == {"finished": 1, "cancelled": 3}
    assert list(campaign.files_of("mc.evgen.EVNT")) == ["evgen.EVNT._000001.root"]
    with pytest.raises(Conflict):
        control.abort_task(campaign.ctx, task, "operator")


def test_a_task_aborted_before_it_began_ends(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen("evgen", 2))
    control.abort_task(campaign.ctx, task, "operator")
    assert campaign.drive(task) == [TaskStage.ABORTED]


def test_a_paused_task_hands_out_nothing_until_it_is_resumed(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 4), site=T1))
    campaign.tell(task)
    (running,) = campaign.ask(T1)
    control.pause_task(campaign.ctx, task, "operator")
    assert campaign.ask(T1) == ()
    upkeep.round_once(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM ready") == 0
    assert campaign.run(running).accepted
    control.resume_task(campaign.ctx, task, "operator")
    assert campaign.drive(task) == [TaskStage.DONE]


def test_resume_right_after_pause_leaves_jobs_ready(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 4), site=T1))
    campaign.tell(task)
    control.pause_task(campaign.ctx, task, "operator")
    control.resume_task(campaign.ctx, task, "operator")
    while campaign.value("SELECT count(*) FROM pending_action WHERE done_at IS NULL"):
        campaign.change("UPDATE pending_action SET repeat_at = now()")
        control.work_off(campaign.ctx)
        assert campaign.value("SELECT count(*) FROM ready") == 4


def test_priority_reaches_waiting_jobs(campaign: Campaign) -> None:
    low = campaign.submit(replace(an_evgen("low", 2), site=T1))
    high = campaign.submit(replace(an_evgen("high", 2), site=T1))
    campaign.tell(low)
    campaign.tell(high)
    control.set_priority(campaign.ctx, high, 900, "operator")
    control.work_off(campaign.ctx)
    assert [job.task_id for job in campaign.ask(T1, 2)] == [high, high]
    assert [job.task_id for job in campaign.ask(T1, 2)] == [low, low]
    with pytest.raises(Refused):
        control.set_priority(campaign.ctx, high, -1, "operator")


def test_kill_ends_waiting_jobs_and_tells_the_pilot_of_a_running_one(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 3), site=T1))
    campaign.tell(task)
    (held,) = campaign.ask(T1)
    waiting = campaign.value("SELECT max(id) FROM job WHERE task_id = :t", t=task)
    assert control.kill_jobs(campaign.ctx, [held.job_id, waiting, 999_999], "operator") == {
        held.job_id: True, waiting: True, 999_999: False,
    }  # fmt: skip
    assert campaign.statuses(task) == {"activated": 1, "sent": 1, "cancelled": 1}
    assert campaign.say(held, JobStatus.RUNNING).command == KILL
    campaign.fail(held, 1305)
    assert campaign.drive(task) == [TaskStage.FINISHED]
    assert campaign.statuses(task) == {"finished": 1, "cancelled": 2}


def test_a_site_that_goes_off_gives_its_waiting_jobs_back(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen("evgen", 4))
    campaign.tell(task)
    site = campaign.value("SELECT s.name FROM bunch b JOIN site s ON s.id = b.site_id WHERE b.task_id = :t", t=task)
    other = T1 if site == T2 else T2
    (held,) = campaign.ask(site)
    control.set_site_status(campaign.ctx, site, "offline", "operator", "power cut")
    assert campaign.ask(site) == ()
    campaign.turn()
    assert campaign.statuses(task) == {"activated": 3, "sent": 1}
    assert len(campaign.ask(other, 1)) == 1
    assert campaign.run(held).accepted
    control.set_site_status(campaign.ctx, site, "online", "operator")
    campaign.turn()


def test_a_retry_after_the_end_writes_to_a_continuation(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 2, max_attempts=1), site=T1))
    campaign.tell(task)
    good, bad = campaign.ask(T1, 2)
    campaign.run(good)
    campaign.fail(bad)
    assert campaign.drive(task) == [TaskStage.FINISHED]
    assert control.retry_task(campaign.ctx, task, "operator") == 1
    assert campaign.drive(task) == [TaskStage.DONE]
    assert list(campaign.files_of("mc.evgen.EVNT")) == ["evgen.EVNT._000001.root"]
    assert list(campaign.files_of("mc.evgen.EVNT.r1")) == ["evgen.EVNT._000002.root.2"]
    info = campaign.ctx.ddm.dataset(Did("mc", "mc.evgen.EVNT.r1"))
    assert info is not None
    assert not info.open
    with pytest.raises(Conflict):
        control.retry_task(campaign.ctx, task, "operator")


def test_a_child_of_a_task_that_made_nothing_fails_and_says_so(campaign: Campaign) -> None:
    parent = campaign.submit(an_evgen("evgen", 2))
    child = campaign.submit(a_reader("child", "mc.evgen.EVNT", Split(files_per_job=1)))
    control.abort_task(campaign.ctx, parent, "operator")
    assert campaign.drive(parent, child) == [TaskStage.ABORTED, TaskStage.FAILED]
    assert campaign.value("SELECT error FROM production_task WHERE id = :t", t=child) == "the input datasets are empty"


def test_a_task_told_to_finish_ends_with_what_its_running_jobs_make(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 4), site=T1))
    campaign.tell(task)
    good, bad = campaign.ask(T1, 2)
    control.finish_task(campaign.ctx, task, "operator")
    control.work_off(campaign.ctx)
    assert campaign.statuses(task) == {"sent": 2, "cancelled": 2}
    campaign.run(good)
    campaign.fail(bad)  # its next attempt is not waited for
    for _ in range(4):
        campaign.change("UPDATE pending_action SET repeat_at = now()")
        campaign.turn()
    assert campaign.stage(task) is TaskStage.FINISHED
    assert campaign.statuses(task) == {"finished": 1, "failed": 1, "cancelled": 3}
    campaign.change("UPDATE pending_action SET repeat_at = now()")
    control.work_off(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM pending_action WHERE done_at IS NULL") == 0
