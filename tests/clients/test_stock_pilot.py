"""The unmodified panda-pilot in a running system: production jobs, a kill, a failure and its retry; tasks of prun.

Several pilots work at the same time, since one needs two minutes to report a payload that failed. They are ended as
soon as what they are to do has happened: their last minute is about their own threads.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from panda.domain.work import TaskRequest
from panda.services import control, read, submit
from panda.services.context import Context
from tests.clients import stock_pilot
from tests.clients.panda_client import User, write
from tests.clients.stock_pilot import Place
from tests.support.image import MARK, unpacked_image
from tests.support.system import System, running_system
from tests.support.trivial import a_joining, a_making, sums_in_catalogue, sums_of_joining, sums_of_making

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

# Stock pilots are silent for minutes at their end, and send no heartbeat before half an hour.
PATIENT = {f"PANDA_WATCHER__{name}_S": "600" for name in ("SENT", "STARTING", "RUNNING")}
TRUSTED = {"PANDA_PILOT__TRANSFORMS_URL": stock_pilot.TRUSTED_TRANSFORMS}
LIMIT_S = 300.0


@dataclass(slots=True)
class Site:
    """A running system without pilots of its own, and the stock pilots that are started there."""

    system: System
    source: Path
    folder: Path
    pilots: ExitStack
    outputs: list[Path] = field(default_factory=list)

    def submit(self, request: TaskRequest) -> int:
        """A task whose jobs wait for pilots now."""
        task = submit.submit_task(self.system.ctx, request, "tester")
        self.wait_for_ready(task)
        return task

    def wait_for_ready(self, task: int) -> None:
        """Wait until pilots that ask now get jobs of a task."""
        self.wait(lambda: read.counts(self.system.ctx, task).get("activated"), f"activated jobs of task {task}")

    def start_pilot(self, queue: str, heartbeat_s: int = 1800, label: str = "managed") -> None:
        """One more stock pilot at a queue."""
        folder = self.folder / f"{len(self.outputs)}-{queue}"
        storage = self.system.data / "storage" / f"{queue}_DATADISK"
        place = Place(self.source, folder, self.system.api_url, queue, storage, label)
        self.pilots.enter_context(stock_pilot.running(place, heartbeat_s=heartbeat_s))
        self.outputs.append(folder / "stdout.txt")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; what the pilots said last is part of the failure."""
        try:
            self.system.until(lambda: condition() or None, LIMIT_S, what)
        except AssertionError:
            for one in self.outputs:
                print(f"--- {one}", *one.read_text(errors="replace").splitlines()[-40:], sep="\n")
            raise

    def stage(self, task: int) -> str:
        """The stage of a task."""
        return read.task(self.system.ctx, task).stage.value


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose queues have been asked for work, as brokerage wants it."""
    source = stock_pilot.installed()
    without = ("factory", "deployments", "worker")
    with running_system(without=without, settings={**PATIENT, **TRUSTED}) as system, ExitStack() as pilots:
        for queue in ("ALPHA", "BETA", "GAMMA"):
            ask = {"siteName": queue, "computingElement": queue, "prodSourceLabel": "managed", "node": "wn"}
            assert (
                requests.post(f"{system.api_url}/server/panda/getJob", data=ask, timeout=30).json()["StatusCode"] == 20
            )
        yield Site(system, source, tmp_path_factory.mktemp("pilots"), pilots)


def test_the_pilots_own_classes_understand_queue_storages_and_job(site: Site) -> None:
    """Every field that it reads has the type it wants, and nothing is warned of."""
    server = site.system.api_url
    queue = requests.get(f"{server}/cache/schedconfig/ALPHA.all.json", timeout=30).json()
    storages = requests.get(f"{server}/cache/ddmendpoints.json", timeout=30).json()
    task = site.submit(a_making("read", 1, site="ALPHA"))
    ask = {"siteName": "ALPHA", "prodSourceLabel": "managed", "node": "wn"}
    job = requests.post(f"{server}/server/panda/getJob", data=ask, timeout=30).json()
    control.abort_task(site.system.ctx, task, "tester")
    read_as, warnings = stock_pilot.understood(site.source, queue, storages, job)
    assert warnings == []
    seen, elements, work = read_as
    assert (seen["name"], seen["resource"], seen["site"], seen["state"], seen["status"], seen["type"]) == (
        "ALPHA", "ALPHA", "ALPHA", "ACTIVE", "online", "unified",
    )  # fmt: skip
    assert (seen["maxrss"], seen["maxwdir"], seen["maxtime"], seen["corecount"]) == (4000, 20000, 86400, 1)
    assert (seen["container_type"], seen["container_options"], seen["direct_access_lan"]) == ({}, "", False)
    assert seen["acopytools"]["pr"] == seen["acopytools"]["pw"] == list(seen["copytools"]) == ["mv"]
    assert seen["astorages"]["pw"] == seen["astorages"]["pl"] == ["ALPHA_DATADISK"]
    assert {one["name"] for one in elements} == {"ALPHA_DATADISK", "BETA_DATADISK", "GAMMA_DATADISK"}
    for one in elements:
        (protocol,) = one["arprotocols"]["write_lan"]
        assert (one["is_deterministic"], protocol["endpoint"]) == (True, "file://localhost")
        assert protocol["path"].endswith(f"/{one['name']}/")
    assert (work["jobid"], work["taskid"], work["attemptnr"]) == (str(job["PandaID"]), str(task), 1)
    assert work["outdata"] == ["read._000001.txt"]
    assert work["logdata"] == ["read.log._000001.tgz"]
    assert (work["jobparams"], work["transformation"], work["imagename"]) == (job["jobPars"], job["transformation"], "")


def printed(ctx: Context, job_id: int) -> str:
    """What a job's payload printed last, as its pilot told in debug mode."""
    tail = read.whole_job(ctx, job_id).stdout
    return "" if tail is None else tail.text


def test_jobs_of_production_tasks_reach_closed_datasets_through_stock_pilots(site: Site) -> None:
    ctx = site.system.ctx
    making = a_making("made", 2, site="BETA")
    made = site.submit(making)
    failing = site.submit(a_making("failing", 1, "--once 000001", site="ALPHA"))
    hanging = site.submit(a_making("hanging", 1, "--hanging 000001", site="GAMMA"))
    for queue, heartbeat_s in (("BETA", 1800), ("BETA", 1800), ("ALPHA", 1800), ("GAMMA", 5)):
        site.start_pilot(queue, heartbeat_s)

    site.wait(lambda: read.counts(ctx, hanging).get("running"), "the job that hangs to run")
    (job,) = read.jobs_of(ctx, hanging)
    assert control.set_debug(ctx, job.id, "tester", on=True)
    site.wait(lambda: printed(ctx, job.id), "the pilot to send what its payload prints")
    assert "job 000001 hangs" in printed(ctx, job.id)
    control.send_command(ctx, job.id, "ls -l payload.stdout", "tester")
    site.wait(lambda: "/payload.stdout" in printed(ctx, job.id), "the pilot to send what its folder holds")
    control.send_command(ctx, job.id, "tail payload.stdout", "tester")
    site.wait(lambda: "job 000001 hangs" in printed(ctx, job.id), "the pilot to send the end of a file")
    assert control.kill_jobs(ctx, [job.id], "tester") == {job.id: True}

    site.wait(lambda: site.stage(made) == "done", "the first task to end")
    assert sums_in_catalogue(ctx, made) == list(sums_of_making(2).items())
    joined = site.submit(a_joining("joined", making, 2, site="BETA"))
    site.start_pilot("BETA")
    site.wait(lambda: site.stage(joined) == "done", "the task with input to end")
    assert sums_in_catalogue(ctx, joined) == list(sums_of_joining(2, 2).items())

    site.wait(lambda: read.counts(ctx, hanging).get("cancelled"), "the killed job to be cancelled")
    (job,) = read.jobs_of(ctx, hanging)
    assert ("pilot", 1144) in {(one.component, one.code) for one in job.errors}

    site.wait(lambda: {"failed", "activated"} <= read.counts(ctx, failing).keys(), "the failed job to be tried again")
    site.start_pilot("ALPHA")
    site.wait(lambda: site.stage(failing) == "done", "the retry to end")
    first, second = read.jobs_of(ctx, failing)
    assert [first.status.value, second.status.value] == ["failed", "finished"]
    assert ("transform", 4) in {(one.component, one.code) for one in first.errors}
    assert sums_in_catalogue(ctx, failing) == list(sums_of_making(1).items())


def test_a_task_of_prun_goes_from_submission_over_stock_pilots_to_fetched_outputs(site: Site, tmp_path: Path) -> None:
    write(tmp_path, {"say.sh": 'cat lib.txt > out.txt && echo "said $1, number $2" >> out.txt\n'})
    user = User(site.system.api_url, tmp_path)
    task = user.submitted(
        "--exec", """bash say.sh "a  'quoted' \\$HOME" %RNDM:100""", "--bexec", "echo built > lib.txt", "--nJobs", "2",
        "--outDS", "user.tester.stock", "--outputs", "out.txt", "--site", "BETA",
    )  # fmt: skip
    build = next(one.id for one in read.tasks(site.system.ctx) if one.name == "user.tester.stock.build")
    site.wait_for_ready(build)
    site.start_pilot("BETA", label="user")
    site.wait_for_ready(task)
    site.start_pilot("BETA", label="user")
    site.start_pilot("BETA", label="user")
    site.wait(lambda: site.stage(task) == "done", "the task of prun to end")
    found = [text for _, text in sorted(user.outputs(task).items())]
    assert found == [f"built\nsaid a  'quoted' $HOME, number {number}\n" for number in (101, 102)]


def test_a_command_in_an_image_runs_through_a_stock_pilot(site: Site, tmp_path: Path) -> None:
    """The pilot's `generic` plug-in starts no container; `runGen` does, inside the pilot's own processes."""
    image = str(unpacked_image(tmp_path / "image"))
    task = User(site.system.api_url, tmp_path).submitted(
        "--exec", "cat /etc/mark > out.txt", "--outputs", "out.txt", "--containerImage", image, "--noBuild",
        "--outDS", "user.tester.boxed",
    )  # fmt: skip
    site.wait_for_ready(task)
    site.start_pilot("GAMMA", label="user")
    site.wait(lambda: site.stage(task) == "done", "the task in an image to end")
    assert list(User(site.system.api_url, tmp_path).outputs(task).values()) == [MARK]
