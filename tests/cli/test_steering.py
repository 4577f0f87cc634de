"""Commands that change something: grid, submit, and what people do to sites, tasks and jobs."""

import json
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Connection, text

from panda.domain.states import BunchState
from panda.proddb import engine as proddb_engine
from panda.proddb import submit as proddb
from panda.services import grid, read
from panda.services.context import Context
from panda.settings import load
from tests.cli.conftest import Panda
from tests.support.builders import a_bunch, a_site, a_task, jobs_of

ROOT = Path(__file__).parents[2]
TINY = ROOT / "deployments" / "grids" / "tiny.yaml"
ZBOSON = ROOT / "examples" / "zboson" / "campaign.yaml"


@pytest.fixture
def tiny(ctx: Context) -> Context:
    """The tiny grid, loaded."""
    grid.load(ctx, grid.read_grid_file(TINY))
    return ctx


def test_a_grid_is_checked_and_loaded(panda: Panda, rows: Connection) -> None:
    assert "is good: 1 clouds, 2 sites, 2 storages" in panda("grid", "check", TINY).out
    assert rows.execute(text("SELECT count(*) FROM site")).scalar_one() == 0
    assert panda("grid", "load", TINY).out == "1 clouds, 2 sites, 2 queues, 2 storages.\n"
    assert rows.execute(text("SELECT count(*) FROM site")).scalar_one() == 2
    assert "Offline, because the file does not name them: ALPHA, BETA" in panda("grid", "load").out


def test_a_campaign_becomes_tasks_that_know_their_parents(panda: Panda, tiny: Context) -> None:
    done = panda("submit", ZBOSON, "--set", "evgen.split.n_events=2500", "--tag", "t1", "--json")
    assert done.err == ""
    made = json.loads(done.out)["tasks"]
    assert list(made) == ["evgen", "simreco", "merge"]
    merge = read.task(tiny, made["merge"])
    assert (merge.parent_id, merge.campaign) == (made["simreco"], "zboson")
    assert merge.name.endswith(".t1")
    with tiny.engine.connect() as connection:
        events = connection.execute(text("SELECT n_events FROM production_task ORDER BY id")).scalars().all()
    assert events == [2500, None, None]
    again = panda("submit", ZBOSON, "--tag", "t1")
    assert again.code == 1
    assert "Task evgen: dataset" in again.err
    assert len(read.tasks(tiny)) == 3


def test_a_dry_run_stores_nothing_and_finds_what_no_site_can_run(panda: Panda, tiny: Context) -> None:
    done = panda("submit", ZBOSON, "--dry-run")
    assert done.code == 0
    assert "is good: 3 tasks" in done.out
    refused = panda("submit", ZBOSON, "--set", "merge.resources.memory_mb=64000")
    assert refused.code == 1
    assert refused.err.startswith("panda: Task merge: no site can ever run this")
    assert "memory_mb 4000 MB" in refused.err
    assert read.tasks(tiny) == []


def test_a_campaign_goes_into_proddb(panda: Panda, tiny: Context) -> None:
    done = panda("submit", ZBOSON, "--proddb", "--json")
    assert done.err == ""
    made = json.loads(done.out)
    assert (made["where"], list(made["tasks"])) == ("proddb", ["evgen", "simreco", "merge"])
    engine = proddb_engine.connect(load())
    (merge,) = proddb.task_states(engine, [made["tasks"]["merge"]])
    assert merge.parent == made["tasks"]["simreco"]
    engine.dispose()
    assert read.tasks(tiny) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("evgen.split.n_events", "--set 'evgen.split.n_events' changes nothing. Write --set key=value"),
        ("evgen.split.n_events=[", "--set evgen.split.n_events: '[' is no YAML value"),
        ("evgen.splitt.n_events=1", "unknown key 'splitt'. Did you mean 'split'"),
    ],
)
def test_bad_changes_are_refused(panda: Panda, tiny: Context, change: str, says: str) -> None:
    done = panda("submit", ZBOSON, "--set", change)
    assert done.code == 1
    assert says in done.err


def test_bad_files_are_refused(panda: Panda, tmp_path: Path) -> None:
    assert "There is no file" in panda("submit", tmp_path / "none.yaml").err
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    assert "cannot be read as YAML" in panda("submit", bad).err
    bad.write_text(yaml.safe_dump({"transformation": "x"}))
    assert f"{bad}: tasks.task lacks the key" in panda("submit", bad).err


def test_a_sites_status_is_set_with_a_comment(panda: Panda, rows: Connection) -> None:
    a_site(rows, "BNL")
    done = panda("site", "BNL", "offline", "--comment", "power cut")
    assert "BNL is offline since" in done.out
    assert "(power cut)" in done.out
    assert json.loads(panda("site", "BNL", "online", "--json").out)["status"] == "online"


def test_a_task_is_paused_resumed_hurried_and_killed(panda: Panda, ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    a_bunch(rows, task)
    assert panda("pause", task, "--why", "tests").code == 0
    assert read.task(ctx, task).hold == "tests by local operator"
    assert panda("resume", task).code == 0
    assert read.task(ctx, task).hold is None
    assert panda("priority", task, 900).out == f"Task {task} has priority 900.\n"
    assert read.task(ctx, task).priority == 900
    assert panda("kill", "task", task, "--why", "wrong tune").code == 0
    assert read.task(ctx, task).stage.value == "aborting"
    assert panda("priority", task + 1, 5).code == 1


def test_waiting_jobs_are_killed_at_once_and_ended_ones_are_told_apart(
    panda: Panda, ctx: Context, rows: Connection
) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    first, second = jobs_of(rows, a_bunch(rows, task, state=BunchState.ACTIVATED, site_id=site))
    assert panda("kill", "job", first).code == 0
    assert read.job(ctx, first).status.value == "cancelled"
    done = panda("kill", "job", first, second, "--json")
    assert (done.code, json.loads(done.out)) == (1, {str(first): False, str(second): True})


def test_the_pilot_of_a_running_job_is_told_what_to_look_at(panda: Panda, ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    (job, *_) = jobs_of(rows, a_bunch(rows, task, state=BunchState.ACTIVATED, site_id=site))
    done = panda("debug", job)
    assert (done.code, "no pilot has job" in done.err) == (1, True)
    rows.execute(
        text("INSERT INTO in_hand (job_id, lease, site_id, queue) VALUES (:j, 1, :s, 'BNL')"), {"j": job, "s": site}
    )
    for words, command in ((), "debug"), (("--command", "tail a.log"), "tail a.log"), (("--off",), None):
        assert panda("debug", job, *words).code == 0
        assert read.job(ctx, job).command == command
    done = panda("debug", job, "--command", "rm x")
    assert (done.code, "first word" in done.err) == (1, True)


def test_what_failed_is_retried_and_what_waits_is_finished(panda: Panda, ctx: Context, rows: Connection) -> None:
    task = a_task(rows, expanded=True)
    a_bunch(rows, task)
    nothing = panda("retry", task)
    assert nothing.code == 1
    assert nothing.err.startswith("panda: ")
    assert panda("finish", task).out == f"Task {task} ends with what it has.\n"
