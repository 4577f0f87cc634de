"""Loose jobs with files of their own run like any others: inputs by name, literal outputs, retries, failures apart."""

from dataclasses import replace

import pytest

from panda.domain.jobspec import loose_jobs
from panda.domain.states import TaskStage
from panda.domain.work import LooseJob, LooseJobs, Split
from panda.errors import NameTaken, Refused
from panda.services.loose import submit_jobs
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen
from tests.support.jobspecs import State, a_file, an_evgen_spec


@pytest.fixture
def made(campaign: Campaign) -> Campaign:
    """A campaign with two closed datasets, of three files and of one."""
    tasks = [campaign.submit(replace(an_evgen(name, n), site=T1)) for name, n in (("evgen", 3), ("lib", 1))]
    assert campaign.drive(*tasks) == [TaskStage.DONE, TaskStage.DONE]
    return campaign


def groups_of(*specs: State) -> tuple[LooseJobs, ...]:
    return loose_jobs(specs, owner="tester", vo="atlas", programs="").groups


def reading(number: int, *files: int, **attributes: object) -> State:
    """A job that reads some of the three files, and the one that all read."""
    inputs = [a_file("input", f"evgen.EVNT._{file:06d}.root", "mc.evgen.EVNT") for file in files]
    library = a_file("input", "lib.EVNT._000001.root", "mc.lib.EVNT")
    return an_evgen_spec(number, "read", [*inputs, library], **attributes)


def test_jobs_read_the_files_they_name_and_write_the_names_they_say(made: Campaign) -> None:
    (jobs,) = submit_jobs(made.ctx, groups_of(reading(1, 3, 1), reading(2, 1), reading(3)), "tester")
    made.tell(jobs.task_id)
    made.turn()
    held = {one.job_id: one for queue in (T1, T2) for one in made.ask(queue, 10)}
    assert sorted(held) == sorted(jobs.job_ids)
    first, second, third = (held[one] for one in jobs.job_ids)
    assert [one.lfn for one in first.inputs] == [
        "evgen.EVNT._000003.root", "evgen.EVNT._000001.root", "lib.EVNT._000001.root"
    ]  # fmt: skip
    assert [one.dataset for one in second.inputs] == ["mc.evgen.EVNT", "mc.lib.EVNT"]
    assert [one.lfn for one in third.inputs] == ["lib.EVNT._000001.root"]
    assert first.parameters == "--number 1 -o read.first-1.root"
    made.fail(first)
    made.run(second)
    made.run(third)
    assert made.drive(jobs.task_id) == [TaskStage.DONE]
    assert sorted(made.files_of("mc.read.EVNT")) == ["read.first-1.root.2", "read.first-2.root", "read.first-3.root"]


def test_a_file_that_all_jobs_read_is_not_charged_with_the_failures_of_all(made: Campaign) -> None:
    specs = [reading(number, 1, maxAttempt=2, computingSite=T1) for number in (1, 2, 3)]
    (jobs,) = submit_jobs(made.ctx, groups_of(*specs), "tester")
    made.tell(jobs.task_id)
    for one in made.ask(T1, 10):
        made.fail(one)
    made.turn()
    assert made.statuses(jobs.task_id) == {"failed": 3, "defined": 3}
    assert made.drive(jobs.task_id) == [TaskStage.DONE]


def test_several_groups_are_stored_together_or_not_at_all(made: Campaign) -> None:
    before = made.value("SELECT count(*) FROM production_task")
    with pytest.raises(NameTaken, match=r"mc\.evgen\.EVNT"):
        submit_jobs(made.ctx, groups_of(an_evgen_spec(1, "new"), an_evgen_spec(1, "evgen")), "tester")
    with pytest.raises(Refused, match=r"in none of the datasets mc\.lib\.EVNT: nowhere"):
        submit_jobs(made.ctx, groups_of(an_evgen_spec(1, "new", [a_file("input", "nowhere", "mc.lib.EVNT")])), "tester")
    with pytest.raises(Refused, match="does not exist"):
        submit_jobs(made.ctx, groups_of(an_evgen_spec(1, "new", [a_file("input", "x", "mc.nothing")])), "tester")
    assert made.value("SELECT count(*) FROM production_task") == before
    two = submit_jobs(made.ctx, groups_of(an_evgen_spec(1, "new"), an_evgen_spec(1, "newer")), "tester")
    assert made.drive(*(one.task_id for one in two)) == [TaskStage.DONE, TaskStage.DONE]


def test_a_dataset_that_is_still_made_is_no_input_of_a_loose_job(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 1), site=T1))
    with pytest.raises(Refused, match=f"still being made by task {task}") as refused:
        submit_jobs(campaign.ctx, groups_of(an_evgen_spec(1, "read", [a_file("input", "x", "mc.evgen.EVNT")])), "me")
    assert "when it is closed" in refused.value.hint


def test_loose_jobs_of_our_own_form_read_files_too(made: Campaign) -> None:
    request = a_reader("loose", "mc.evgen.EVNT", Split(n_jobs=1))
    jobs = (LooseJob("-a ${IN}", ("evgen.EVNT._000002.root",)), LooseJob("-b ${IN}"))
    (stored,) = submit_jobs(made.ctx, [LooseJobs(request, jobs)], "tester")
    made.tell(stored.task_id)
    made.turn()
    held = sorted((one for queue in (T1, T2) for one in made.ask(queue, 10)), key=lambda one: one.ordinal)
    assert [one.parameters for one in held] == ["-a evgen.EVNT._000002.root", "-b "]
    for one in held:
        made.run(one)
    assert made.drive(stored.task_id) == [TaskStage.DONE]
