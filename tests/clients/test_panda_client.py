"""The unmodified panda-client against a whole system: from prun to fetched outputs, and every command of pbook."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from panda.domain.states import JobStatus
from panda.services import narrate, read
from tests.clients.panda_client import User, installed, write
from tests.support.image import MARK, unpacked_image
from tests.support.system import System, running_system

LIMIT_S = 420.0
GRID = Path(__file__).with_name("users.yaml")
SAY = """
echo "said $1" > out.txt
for input in $(echo "$2" | tr , ' '); do cat $input >> out.txt; done
test -f lib.txt && cat lib.txt >> out.txt
true
"""

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One system for all tests of this file."""
    installed()
    with running_system(grid=GRID, without=["worker", "deployments"]) as made:
        yield made


@pytest.fixture
def user(system: System, tmp_path: Path) -> User:
    """Ann with a sandbox of one script."""
    write(tmp_path / "ann", {"say.sh": SAY})
    return User(system.api_url, tmp_path / "ann")


def first_job(system: System, task_id: int, status: JobStatus) -> int:
    """Return the first job of a task that has this status, when there is one."""
    (job, *_) = system.until(lambda: read.jobs_of(system.ctx, task_id, status), LIMIT_S, f"a {status} job")
    return job.id


def test_prun_with_input_and_build_step_from_submission_to_fetched_outputs(system: System, user: User) -> None:
    words = """bash say.sh "a  'quoted' \\$HOME number %RNDM:100" """
    options = ("--outputs", "out.txt", "--noBuild", "--nJobs", "2")
    first = user.submitted("--exec", words, "--outDS", "user.tester.first", *options)
    assert system.wait_for_ends([first], LIMIT_S) == ["done"]
    outputs = user.outputs(first)
    # Each job's own number; the quotes, blanks and $HOME came to the user's shell as they were given.
    assert [name.partition("._")[2] for name in sorted(outputs)] == ["000001.out.txt", "000002.out.txt"]
    assert [one.rpartition(" ")[2] for _, one in sorted(outputs.items())] == ["101\n", "102\n"]
    assert all(one.startswith("said a  'quoted' ") for one in outputs.values())

    same = user.prun("--exec", "true", "--outDS", "user.tester.first", "--outputs", "out.txt", "--noBuild")
    assert "exists already" in same.text

    second = user.submitted(
        "--exec", "bash say.sh second %IN", "--bexec", "echo built > lib.txt", "--outDS", "user.tester.second",
        "--inDS", "user.tester.first_out.txt/", "--nFilesPerJob", "1", "--outputs", "out.txt", "--site", "BETA",
    )  # fmt: skip
    assert system.wait_for_ends([second], LIMIT_S) == ["done"]
    both = user.outputs(second)
    assert sorted(both.values()) == sorted(f"said second\n{one}built\n" for one in outputs.values())
    assert {one.site for one in read.jobs_of(system.ctx, second)} == {"BETA"}


def test_prun_with_an_image_runs_where_containers_run(system: System, user: User, tmp_path: Path) -> None:
    image = str(unpacked_image(tmp_path / "image"))
    options = ("--exec", "cat /etc/mark > out.txt", "--outputs", "out.txt", "--containerImage", image)
    refused = user.prun(*options, "--outDS", "user.tester.nowhere", "--site", "ALPHA").text
    assert "ALPHA has no container runtime" in refused
    task = user.submitted(*options, "--outDS", "user.tester.image")
    assert system.wait_for_ends([task], LIMIT_S) == ["done"]
    assert list(user.outputs(task).values()) == [MARK]
    (job,) = read.jobs_of(system.ctx, task)
    assert job.site == "BETA"
    assert "ALPHA has no container runtime" in str(narrate.narrate(system.ctx, task))


def test_pbook_pauses_resumes_kills_and_shows(system: System, user: User) -> None:
    options = ("--outputs", "out.txt", "--noBuild", "--nJobs", "3")
    task_id = user.submitted("--exec", "sleep 600; bash say.sh late", "--outDS", "user.tester.long", *options)
    number = str(task_id)
    running = first_job(system, task_id, JobStatus.RUNNING)
    assert read.task(system.ctx, task_id).owner == "Ann Tester"
    assert user.call("pauseTask", task_id) == [0, [True, 0]]  # this version's pbook has no such command
    assert user.call("getTaskStatus", task_id) == [0, "paused"]
    assert user.call("resumeTask", task_id) == [0, [True, 0]]
    assert user.call("getTaskStatus", task_id) == [0, "running"]
    shown = user.pbook("show", number).text
    assert number in shown
    assert "user.tester.long/" in shown
    assert "running" in shown

    other = User(user.server, user.folder, name="Bob Other", nickname="other")
    assert number not in other.pbook("show").text
    refused = other.pbook("kill", number).text
    assert "not Bob Other's" in refused or "not owned" in refused

    said = user.pbook("kill", number)
    assert f"jediTaskID={number} will be killed" in said.text
    assert system.wait_for_ends([task_id], LIMIT_S) == ["aborted"]
    assert read.job(system.ctx, running).status is JobStatus.CANCELLED
    assert "aborted" in user.pbook("show", number).text


def test_a_failing_payload_is_told_retried_and_finished(system: System, user: User) -> None:
    (user.folder / "once.sh").write_text('test "$1" != 2 && echo good > out.txt && exit 0\nexit 3\n', encoding="utf-8")
    task_id = user.submitted(
        "--exec", "bash once.sh %RNDM:0", "--outDS", "user.tester.fails", "--outputs", "out.txt", "--noBuild",
        "--nJobs", "2", "--maxAttempt", "1",
    )  # fmt: skip
    assert system.wait_for_ends([task_id], LIMIT_S) == ["finished"]
    shown = user.pbook("show", str(task_id), "--format=plain").text
    assert "50%" in shown
    status, failed = user.call("get_job_descriptions", task_id, True)
    assert status == 0
    assert [one["transExitCode"] for one in failed] == [3]

    assert "Failed" not in user.pbook("retry", str(task_id)).text
    assert system.wait_for_ends([task_id], LIMIT_S) == ["finished"]
    assert len(read.jobs_of(system.ctx, task_id)) == 3

    waits = user.submitted("--exec", "sleep 600", "--outDS", "user.tester.waits", "--outputs", "out.txt", "--noBuild")
    first_job(system, waits, JobStatus.RUNNING)
    assert f"jediTaskID={waits} will be finished" in user.pbook("finish", str(waits)).text
    job = first_job(system, waits, JobStatus.RUNNING)
    assert user.call("killJobs", [job]) == [0, [True]]
    assert system.wait_for_ends([waits], LIMIT_S) == ["failed"]


def test_functions_of_the_client(system: System, user: User) -> None:
    assert user.call("hello")[0] == 0
    assert user.call("get_cert_attributes")[0] == 0
    assert user.call("set_user_secret", "key", "value")[1][0] is True
    assert user.call("get_user_secrets") == [0, [True, {"key": "value"}]]
    task_id = user.submitted(
        "--exec", "bash say.sh x", "--outDS", "user.tester.calls", "--outputs", "out.txt", "--noBuild"
    )
    again = user.prun("--exec", "true", "--outDS", "user.tester.again", "--outputs", "o", "--noBuild", "--noSubmit")
    assert again.code == 0
    status, parameters = user.call("getTaskParamsMap", task_id)
    assert (status, parameters["taskName"]) == (0, "user.tester.calls/")
    assert system.wait_for_ends([task_id], LIMIT_S) == ["done"]
    (job,) = ok(user.call("getPandaIDsWithTaskID", task_id))
    assert ok(user.call("get_task_details_json", task_id))[1]["status"] == "done"
    details = ok(user.call("getJediTaskDetails", {"jediTaskID": task_id}, True, True))
    assert (details["PandaID"], details["outDS"]) == ([job], "user.tester.calls_out.txt")
    assert len(ok(user.call("getJobStatus", [job]))) == len(ok(user.call("getFullJobStatus", [job]))) == 1
    assert [one["PandaID"] for one in ok(user.call("getUserJobMetadata", task_id))] == [job]
    assert str(task_id) in ok(user.call("getJobIDsJediTasksInTimeRange", "2009-01-01 00:00:00"))
    assert user.call("increase_attempt_nr", task_id)[1][0] is False
    name = next(word for word in parameters["jobParameters"] if "-a jobO" in word["value"])["value"].split()[1]
    assert user.call("getFile", name) == [0, True]
    assert (user.folder / name).stat().st_size > 0


def ok(answer: Any) -> Any:
    """What a call gave that must have succeeded."""
    status, value = answer
    assert status == 0, answer
    return value
