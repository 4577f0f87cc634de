"""The unmodified panda-client against a whole system: from prun to fetched outputs, and every command of pbook."""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from panda.domain.states import JobStatus
from panda.services import narrate, read
from panda.services.sandbox import expire
from tests.api.test_process import a_certificate, running
from tests.clients.functions import CALLS, NOT_HERE, World, functions_of
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


def test_every_function_of_the_client_is_called_or_left_out_for_a_reason() -> None:
    called = {one.function for one in CALLS} | {"submitJobs"}
    assert functions_of(installed()) == called | set(NOT_HERE)
    assert not called & set(NOT_HERE)


def test_functions_of_the_client_return_what_they_describe(system: System, user: User) -> None:
    def submitted(name: str, command: str, *more: str) -> int:
        return user.submitted("--exec", command, "--outDS", f"user.tester.{name}", "--outputs", "out.txt", *more)

    once = ("--noBuild", "--maxAttempt", "1")
    done, failed, failed_too = (
        submitted(name, command, *once)
        for name, command in (("calls", "bash say.sh x"), ("fail1", "exit 3"), ("fail2", "exit 3"))
    )
    running = submitted("sleeps", "sleep 600", "--bexec", "true")
    assert system.wait_for_ends([done, failed, failed_too], LIMIT_S) == ["done", "failed", "failed"]
    (job,) = read.job_ids(system.ctx, done)
    sandbox = "jobO.of-a-test.tar.gz"
    with tarfile.open(user.folder / sandbox, "w:gz") as packed:
        packed.add(user.folder / "say.sh", "say.sh")
    running_job = first_job(system, running, JobStatus.RUNNING)
    parameters = user.call("getTaskParamsMap", running)[1]
    world = World(done, failed, failed_too, running, job, running_job, parameters, sandbox)
    for one in CALLS:
        status, value = user.call(one.function, *one.arguments(world))
        assert status == 0, (one.function, value)
        assert one.good(world, value), (one.function, value)
    assert (user.folder / "copy").read_bytes() == (user.folder / sandbox).read_bytes()
    sandboxes_expire(system, user, sandbox)


def sandboxes_expire(system: System, user: User, sandbox: str) -> None:
    """What nobody used for long is gone for the client, and can be uploaded again."""
    with system.ctx.engine.begin() as connection:
        old = text(
            "UPDATE cache_file SET used_at = now() - make_interval(days => CAST(:days AS int)) WHERE name = :name"
        )
        connection.execute(old, {"days": system.settings.cache_days + 1, "name": sandbox})
    expire(system.ctx)
    assert user.call("getFile", sandbox, "gone")[0] != 0
    assert user.call("putFile", sandbox, False, False, True) == [0, "True"]


def test_submitted_job_specs_run_with_the_files_they_name(system: System, user: User) -> None:
    common = {"AtlasRelease": "Trivial-1.0", "VO": user.vo, "maxAttempt": 1, "prodSourceLabel": "user"}
    making = [
        (
            {**common, "transformation": "make", "jobParameters": f"--serial 1 --seed {seed} --output made.{seed}.txt"},
            [{"type": "output", "lfn": f"made.{seed}.txt", "dataset": "user.tester.made"},
             {"type": "log", "lfn": f"made.{seed}.log.tgz", "dataset": "user.tester.made.log"}],
        )
        for seed in (7, 5)
    ]  # fmt: skip
    status, answered = user.submit_jobs(*making)
    assert status == 0
    ids = [one[0] for one in answered]
    first, second = read.jobs(system.ctx, ids)
    assert first.task_id == second.task_id
    assert system.wait_for_ends([first.task_id], LIMIT_S) == ["done"]
    outputs = user.outputs(first.task_id)
    assert {name: made.splitlines()[0] for name, made in outputs.items()} == {
        "made.5.txt": "seed 5", "made.7.txt": "seed 7"
    }  # fmt: skip

    reading = (
        {**common, "transformation": "join", "jobParameters": "--input made.7.txt,made.5.txt --output both.txt"},
        [{"type": "input", "lfn": f"made.{seed}.txt", "dataset": "user.tester.made"} for seed in (7, 5)]
        + [{"type": "output", "lfn": "both.txt", "dataset": "user.tester.both"}],
    )
    assert user.submit_jobs(({**reading[0], "eventService": 1}, reading[1])) == [255, None]
    status, ((joined, *_),) = user.submit_jobs(reading)
    assert status == 0
    task_id = read.job(system.ctx, joined).task_id
    assert system.wait_for_ends([task_id], LIMIT_S) == ["done"]
    assert user.outputs(task_id) == {"both.txt": f"part\n{outputs['made.7.txt']}part\n{outputs['made.5.txt']}"}


def test_over_https_the_client_checks_the_servers_certificate(tmp_path: Path, database: str) -> None:
    certificate, key = a_certificate(tmp_path)
    settings = {"PANDA_TLS_CERTIFICATE": str(certificate), "PANDA_TLS_KEY": str(key)}
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    shutil.copy(certificate, trusted)
    subprocess.run(["openssl", "rehash", str(trusted)], check=True)
    with running(tmp_path, database, **settings) as (address, _process):
        user = User(address, tmp_path / "ann", more={"X509_CERT_DIR": str(trusted)})
        assert user.call("getJobStatus", [1]) == [0, [None]]
        write(user.folder, {"sources.https.tar.gz": "not unpacked here"})
        assert user.call("putFile", "sources.https.tar.gz", False, False, True) == [0, "True"]
        assert user.call("getFile", "sources.https.tar.gz", "copy")[0] == 0
        stranger = User(address, tmp_path / "bob", more={"X509_CERT_DIR": str(tmp_path)})
        assert stranger.call("getJobStatus", [1]) == [255, None]


def test_the_files_sites_and_secrets_that_prun_asks_for(system: System, user: User) -> None:
    assert user.call("set_user_secret", "pass", "word")[0] == 0
    options = ("--outputs", "out.txt", "--noBuild")
    source = user.submitted(
        "--exec", "bash say.sh %RNDM:0", "--outDS", "user.tester.source", "--nJobs", "4", "--site", "ALPHA,BETA",
        "--excludedSite", "ALPHA", *options,
    )  # fmt: skip
    assert system.wait_for_ends([source], LIMIT_S) == ["done"]
    assert {one.site for one in read.jobs_of(system.ctx, source)} == {"BETA"}

    wanted = ("--exec", "bash say.sh chosen %IN; cat panda_secrets.json >> out.txt", "--useSecrets", *options,
              "--inDS", "user.tester.source_out.txt/", "--nFilesPerJob", "1")  # fmt: skip
    matched = user.submitted(
        *wanted, "--outDS", "user.tester.matched", "--match", "*00000[1-3].out.txt", "--antiMatch", "*000002*",
        "--nSkipFiles", "1",
    )  # fmt: skip
    write(user.folder, {"files.txt": f"user.tester.{source}._000004.out.txt\n"})
    listed = user.submitted(*wanted, "--outDS", "user.tester.listed", "--inputFileList", "files.txt")
    assert system.wait_for_ends([matched, listed], LIMIT_S) == ["done", "done"]
    for task_id, number in ((matched, 3), (listed, 4)):
        (output,) = user.outputs(task_id).values()
        chosen, of_source, secrets = output.splitlines()
        assert (chosen, of_source) == ("said chosen", f"said {number}")
        assert json.loads(secrets)["pass"] == "word"


def test_pbook_retry_after_a_failed_build_builds_again_and_runs_the_jobs(
    system: System, user: User, tmp_path: Path
) -> None:
    task_id = user.submitted(
        "--exec", "bash say.sh built", "--bexec", f"cat {tmp_path / 'part'} > lib.txt", "--maxAttempt", "1",
        "--outDS", "user.tester.rebuilt", "--outputs", "out.txt",
    )  # fmt: skip
    assert system.wait_for_ends([task_id], LIMIT_S) == ["failed"]
    assert read.job_ids(system.ctx, task_id) == []
    (tmp_path / "part").write_text("in time\n", encoding="utf-8")
    assert "Failed" not in user.pbook("retry", str(task_id)).text
    assert system.wait_for_ends([task_id], LIMIT_S) == ["done"]
    assert list(user.outputs(task_id).values()) == ["said built\nin time\n"]
