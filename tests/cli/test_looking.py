"""What is seen of a grid at work: files, transfers, errors, the overview, live, a dry run, completion in a shell."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from panda.domain.dispatch import ErrorPair
from panda.domain.states import JobStatus
from panda.domain.work import Split
from panda.services import read, upkeep
from panda.services.context import Context
from tests.cli.conftest import Panda
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen

ROOT = Path(__file__).parents[2]
ZBOSON = ROOT / "examples" / "zboson" / "campaign.yaml"


@pytest.fixture
def campaign(ctx: Context) -> Campaign:
    """The tiny grid at work on the commands' database."""
    return Campaign(ctx).load()


def test_files_with_their_jobs_and_copies(panda: Panda, campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=2, site=T2))
    campaign.drive(task)
    files = json.loads(panda("files", "mc.evgen.EVNT", "--json").out)
    assert [one["lfn"] for one in files] == [f"evgen.EVNT._{n:06d}.root" for n in (1, 2)]
    assert {one["state"] for one in files} == {"attached"}
    assert all(f"{T1}_DATADISK" in one["replicas"] for one in files)
    jobs = [one.id for one in read.jobs_of(campaign.ctx, task)]
    assert [one["job_id"] for one in files] == jobs
    assert len(json.loads(panda("files", "--task", task, "--lfn", "*.tgz", "--json").out)) == 2
    assert "Whose files? Name a dataset" in panda("files").err
    home = [one for one in json.loads(panda("transfers", "--all", "--json").out) if one["kind"] == "sub"]
    assert [(one["n_files"], one["state"]) for one in home] == [(4, "complete")]
    assert home[0]["bytes"] > 0
    assert "outputs from" in panda("task", task).out
    (moved,) = json.loads(panda("task", task, "--json").out)["transfers"]
    assert (moved["kind"], moved["n_files"], moved["bytes"]) == ("sub", 4, home[0]["bytes"])


def test_what_is_under_way(panda: Panda, campaign: Campaign) -> None:
    campaign.drive(campaign.submit(an_evgen(n_jobs=4, site=T1)))
    child = campaign.submit(a_reader("simul", "mc.evgen.EVNT", Split(files_per_job=4), site=T2))
    campaign.tell(child)
    (block,) = json.loads(panda("transfers", "--task", child, "--json").out)
    assert (block["n_files"], block["arrived"], block["site"]) == (4, 0, T2)
    assert block["transfer"] in {"MOVING", "QUEUED"}
    assert f"{T2}_DATADISK" in panda("transfers", "--site", T2).out
    assert json.loads(panda("transfers", "--site", T1, "--json").out) == []
    overview = panda("overview").out
    assert f"{T2}_DATADISK" in overview
    assert "mc.simul" in overview


def test_errors_by_code_and_node(panda: Panda, campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=4, site=T1))
    campaign.tell(task)
    for job in campaign.ask(T1, 3):
        pair = ErrorPair("transform", 65, f"no particle in /data/{job.job_id}/in.root")
        campaign.say(job, JobStatus.RUNNING)
        campaign.say(job, JobStatus.FAILED, errors=(pair,), wall_s=600.0)
    upkeep.round_once(campaign.ctx)
    found = json.loads(panda("errors", "--json").out)
    (error,) = found["errors"]
    assert (error["component"], error["code"], error["jobs"]) == ("transform", 65, 3)
    assert error["fingerprint"] == "no particle in #"
    assert error["wall_s"] == 1800
    assert found["sites"] == [{"site": T1, "failed": 3, "finished": 0}]
    shown = panda("errors", "--task", task, "--hours", 1).out
    assert "transform 65" in shown
    assert "30 min" in shown
    assert json.loads(panda("errors", "--site", T2, "--json").out)["errors"] == []


def test_the_overview_counts_everything(panda: Panda, campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=3))
    campaign.tell(task)
    panda("pause", campaign.submit(an_evgen("b")))
    found = json.loads(panda("overview", "--json").out)
    assert found["overview"]["tasks"] == {"on hold": 1, "running": 1}
    assert sum(found["overview"]["jobs"].values()) == 3
    assert [one["name"] for one in found["overview"]["sites"]] == [T1, T2]
    assert "on hold" in panda("overview").out


def test_watching_tasks_ends_with_them(panda: Panda, campaign: Campaign) -> None:
    good = campaign.submit(an_evgen(n_jobs=1))
    campaign.drive(good)
    done = panda("watch", good)
    assert (done.code, done.out) == (0, f"{good} done: 1 finished\n")
    bad = campaign.submit(an_evgen("b"))
    panda("kill", "task", bad)
    campaign.drive(bad)
    done = panda("watch", good, bad, "--json", "--every", 0.2)
    assert done.code == 1
    assert [one["stage"] for one in json.loads(done.out)] == ["done", "aborted"]


def rows_of(ctx: Context) -> int:
    with ctx.engine.connect() as connection:
        tables = ("production_task", "dataset", "bunch", "job", "brokerage_decision", "ddm.dataset")
        return sum(connection.execute(text(f"SELECT count(*) FROM {one}")).scalar_one() for one in tables)  # noqa: S608


def test_a_dry_run_shows_expansion_and_brokerage_and_stores_nothing(panda: Panda, campaign: Campaign) -> None:
    before = rows_of(campaign.ctx)
    done = panda("submit", ZBOSON, "--dry-run")
    assert done.err == ""
    assert rows_of(campaign.ctx) == before
    assert "is good: 3 tasks" in done.out
    assert "Nothing was stored" in done.out
    looks = json.loads(panda("submit", ZBOSON, "--dry-run", "--json").out)["previews"]
    evgen = looks["evgen"]
    assert evgen["jobs"] == looks["simreco"]["input_files"]
    assert evgen["cloud"]["chosen"] == "TEST"
    assert evgen["site"]["chosen"] in {T1, T2}
    assert {row[0] for row in evgen["site"]["candidates"]["rows"]} == {T1, T2}
    assert "${" not in evgen["first"][0]["outputs"][0]


def test_a_preview_makes_the_very_jobs_that_expansion_makes(panda: Panda, campaign: Campaign, tmp_path: Path) -> None:
    campaign.drive(campaign.submit(an_evgen(n_jobs=7)))
    file = tmp_path / "task.yaml"
    for number, split in enumerate(("files_per_job: 3", "n_jobs: 2", "bytes_per_job: 900")):
        file.write_text(f"""
            name: mc.child{number}
            transformation: reco
            parameters: --in ${{IN}} --out ${{OUT0}}
            inputs: [{{stream: IN, datasets: [mc.evgen.EVNT]}}]
            outputs: [{{name: OUT, dataset: mc.child{number}.out, lfn: "child{number}._${{SN}}.root"}}]
            split: {{{split}}}
        """)
        look = json.loads(panda("submit", file, "--dry-run", "--json").out)["previews"]["task"]
        task = json.loads(panda("submit", file, "--json").out)["tasks"]["task"]
        campaign.tell(task)
        jobs = read.jobs_of(campaign.ctx, task)
        assert len(jobs) == look["jobs"]
        for job, seen in zip(jobs, look["first"], strict=False):
            assert [one.lfn for one in read.inputs_of(campaign.ctx, job.id)] == seen["inputs"]
        assert read.task(campaign.ctx, task).cloud == look["cloud"]["chosen"]


def test_a_task_by_options(panda: Panda, campaign: Campaign) -> None:
    options = (
        "--name", "mc.opt", "--transformation", "evgen", "--parameters", "--seed ${SEED}", "--output", "mc.opt.out",
        "--log", "mc.opt.log=l._${SN}.tgz", "--jobs", 3, "--priority", 700, "--set", "bunch_size=2",
    )  # fmt: skip
    look = json.loads(panda("submit", *options, "--dry-run", "--json").out)["previews"]["task"]
    assert (look["jobs"], look["bunches"]) == (3, 2)
    assert look["first"][1]["outputs"] == ["mc.opt.out._000002.root", "l._000002.tgz"]
    task = json.loads(panda("submit", *options, "--json").out)["tasks"]["task"]
    assert read.task(campaign.ctx, task).priority == 700
    assert "There is nothing to submit. Name a file" in panda("submit").err
    assert "the options: tasks.task lacks the key" in panda("submit", "--name", "x").err


def test_what_could_never_run_names_the_nearest_once(panda: Panda, campaign: Campaign) -> None:
    refused = panda("submit", ZBOSON, "--set", "evgen.resources.memory_mb=64000", "--dry-run")
    assert refused.code == 1
    assert refused.err.count("memory_mb 4000 MB instead of 64000 MB") == 1
    assert "Task evgen: no site can ever run this" in refused.err


@pytest.mark.parametrize(("kind", "name"), [("site", lambda _: T1), ("dataset", lambda _: "mc.evgen.EVNT")])
def test_why_of_named_things(panda: Panda, campaign: Campaign, kind: str, name: Callable[[int], str]) -> None:
    task = campaign.submit(an_evgen(n_jobs=2))
    campaign.tell(task)
    done = panda("why", kind, name(task))
    assert done.code == 0
    assert json.loads(panda("why", kind, name(task), "--json").out)["title"].lower().startswith(kind)


def test_why_of_a_pilot(panda: Panda, campaign: Campaign) -> None:
    campaign.change(
        "INSERT INTO worker (factory, worker_id, queue, status, node, batch_id, diag)"
        " VALUES ('local', 7, :q, 'running', 'node1', '77', 'waits for work')",
        q=T1,
    )
    idle = panda("why", "pilot", "local:7").out
    assert "Pilot local:7 of queue ALPHA: running" in idle
    assert "It says: waits for work." in idle
    assert "It holds no job. Node node1 asked for work" in idle
    assert "No job is ready for a pilot at ALPHA" in idle
    task = campaign.submit(an_evgen(n_jobs=1, site=T1))
    campaign.tell(task)
    assert "it may take them with its next request" in panda("why", "pilot", "local:7").out
    (job,) = campaign.ask(T1, 1, factory="local", worker_id=7)
    assert f"It holds job {job.job_id} of task {task} (sent)" in panda("why", "pilot", "local:7").out
    campaign.change("UPDATE site SET status = 'offline' WHERE name = :n", n=T1)
    assert "`panda site ALPHA online` would change that" in panda("why", "pilot", "local:7").out
    assert "There is no pilot local:8." in panda("why", "pilot", "local:8").err
    assert "Write FACTORY:NUMBER" in panda("why", "pilot", "7").err


def test_an_unknown_dataset_is_answered_with_those_like_it(panda: Panda, campaign: Campaign) -> None:
    campaign.tell(campaign.submit(an_evgen(n_jobs=1)))
    done = panda("why", "dataset", "mc.evgen.EVENT")
    assert done.code == 1
    assert "There is no dataset 'mc.evgen.EVENT'. Did you mean mc.evgen.EVNT" in done.err
    assert "is no number of a task" in panda("why", "task", "mc.evgen").err


def completions(line: str) -> str:
    environment = {**os.environ, "_PANDA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "99"}
    environment["COMP_CWORD"] = str(len(line.split(" ")) - 1)
    done = subprocess.run(
        [sys.executable, "-m", "panda.cli"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout


def test_a_shell_completes_commands_options_and_words() -> None:
    assert {"overview", "tasks", "why"} <= set(completions("panda ").split())
    assert "--dry-run" in completions("panda submit --dr")
    assert {"site", "dataset", "pilot"} <= set(completions("panda why ").split())


def test_the_exit_codes_are_told(panda: Panda) -> None:
    shown = " ".join(panda("--help").out.split())
    assert "3 the API" in shown
    assert "--install-completion" in shown


def test_what_if_decides_again_over_what_was_seen(panda: Panda, campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=2))
    campaign.tell(task)
    site = read.jobs_of(campaign.ctx, task)[0].site
    same = json.loads(panda("what-if", task, "threshold.window_minimum_jobs=30", "--json").out)
    assert (same["different"], same["lines"][0].split(":")[0]) == (0, "Nothing")
    off = json.loads(panda("what-if", task, f"{site}.status=offline", "--json").out)
    assert off["different"] == 1
    assert f"{site} -> " in off["lines"][0]
    stands = {name: (before, after) for name, before, after in off["candidates"]["rows"]}
    assert stands[site][0].startswith("chosen")
    assert stands[site][1] == f"status: {site} is offline"
    then = panda("what-if", task, f"{site}.status=offline", "--at", "2100-01-01", "--json")
    assert json.loads(then.out)["lines"] == off["lines"]
    early = panda("what-if", task, f"{site}.status=offline", "--at", "2001-01-01 00:00:00")
    assert f"No brokerage of task {task} is known until 2001-01-01 00:00:00 UTC" in early.err
    huge = panda("what-if", task, "request.memory_mb=1000000").out
    assert f"{site} -> nobody" in huge
    assert "memory" in huge
    for change, says in (
        ("BNLL.memory_mb=1", "the round did not look at"),
        (f"{T1}.colour=red", "has no 'colour'"),
        (f"{T1}.memory_mb=much", "a whole number"),
        ("nonsense", "SITE.FIELD=VALUE"),
    ):
        answer = panda("what-if", task, change)
        assert (answer.code, says in answer.err) == (1, True), answer.err
    assert "No brokerage" in panda("what-if", campaign.submit(an_evgen("other")), "threshold.sites_kept=3").err
