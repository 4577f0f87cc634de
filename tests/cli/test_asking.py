"""Commands that ask: tables for people, JSON for programs, errors with exit code 1 on stderr."""

import json

import pytest
from sqlalchemy import Connection, insert

from panda.cli.ports import free_port
from panda.domain.states import BunchState
from panda.store import schema
from tests.cli.conftest import Panda
from tests.support.builders import a_bunch, a_site, a_task, jobs_of


def test_tasks_as_table_and_as_json(panda: Panda, rows: Connection) -> None:
    task = a_task(rows, "mc09.a-task-with-quite-a-long-name-that-must-not-be-cut-off.evgen.e0001")
    a_bunch(rows, task, n_jobs=3)
    a_task(rows, "other", stage="done")
    done = panda("tasks", "mc09.*")
    assert done.code == 0
    assert "mc09.a-task-with-quite-a-long-name-that-must-not-be-cut-off.evgen.e0001" in done.out
    assert "3 defined" in done.out
    assert "other" not in done.out
    (one,) = json.loads(panda("tasks", "--live", "--json").out)
    assert (one["id"], one["jobs"], one["stage"]) == (task, {"defined": 3}, "running")
    assert [one["stage"] for one in json.loads(panda("tasks", "--stage", "done", "--json").out)] == ["done"]


def test_one_task_with_its_data(panda: Panda, rows: Connection) -> None:
    task = a_task(rows, hold="paused by ann")
    rows.execute(insert(schema.dataset).values(scope="mc", name="mc.out", kind="output", task_id=task))
    done = panda("task", task)
    assert f"Task {task} a-task: running, on hold" in done.out
    assert "mc.out" in done.out
    found = json.loads(panda("task", task, "--json").out)
    assert found["task"]["hold"] == "paused by ann"
    assert [one["name"] for one in found["datasets"]] == ["mc.out"]
    assert [one["name"] for one in json.loads(panda("datasets", "mc.*", "--json").out)] == ["mc.out"]
    assert "mc.out" in panda("datasets", "--task", task).out


def test_jobs_and_one_job(panda: Panda, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    job, _ = jobs_of(rows, a_bunch(rows, task, state=BunchState.ACTIVATED, site_id=site))
    assert "activated" in panda("jobs", "--task", task).out
    listed = json.loads(panda("jobs", "--task", task, "--status", "activated", "--limit", 1, "--json").out)
    assert [one["id"] for one in listed] == [job]
    assert json.loads(panda("jobs", "--task", task, "--status", "running", "--json").out) == []
    rows.execute(insert(schema.job_tail).values(job_id=job, text="one\ntwo"))
    shown = panda("job", job).out
    assert "    one\n    two\n" in shown
    assert f"Job {job} of task {task} a-task: activated" in shown
    assert "brokered" in shown
    found = json.loads(panda("job", job, "--json").out)
    assert [one["to_status"] for one in found["history"]] == ["defined", "activated"]


@pytest.mark.parametrize("kind", ["task", "bunch", "job"])
def test_why(panda: Panda, rows: Connection, kind: str) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, state=BunchState.ACTIVATED, site_id=site)
    number = {"task": task, "bunch": bunch, "job": jobs_of(rows, bunch)[0]}[kind]
    done = panda("why", kind, number)
    assert done.code == 0
    assert "No pilot was seen at BNL in 3 h" in done.out
    answer = json.loads(panda("why", kind, number, "--json").out)
    assert answer["title"].startswith(f"{kind.capitalize()} {number}")


def test_sites_and_workers(panda: Panda, rows: Connection) -> None:
    a_site(rows, "BNL", comment="fine")
    values = {"factory": "local", "worker_id": 3, "queue": "BNL", "status": "running"}
    rows.execute(insert(schema.worker).values(values))
    assert "BNL" in panda("sites").out
    assert json.loads(panda("sites", "--json").out)[0]["comment"] == "fine"
    assert "BNL is online since" in panda("site", "BNL").out
    assert "local:3" in panda("workers").out
    assert json.loads(panda("workers", "BNL", "--json").out)[0]["worker_id"] == 3
    assert "There is no queue 'MWT2'. Known queues: BNL." in panda("workers", "MWT2", "--all", "--json").err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("task", 7), "panda: There is no production task 7. `panda tasks` lists them."),
        (("jobs", "--task", 7), "panda: There is no production task 7."),
        (("job", 7), "panda: There is no job 7."),
        (("why", "bunch", 7), "panda: There is no bunch 7."),
        (("site", "CERN"), "panda: There is no site 'CERN'. Known sites: none."),
        (("grid", "check", "nowhere.yaml"), "panda: There is no grid file nowhere.yaml."),
    ],
)
def test_an_error_is_one_sentence_on_stderr(panda: Panda, command: tuple[object, ...], says: str) -> None:
    done = panda(*command)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(says)
    assert done.err.count("\n") == 1


def test_wrong_usage_is_exit_code_2(panda: Panda) -> None:
    assert panda("jobs").code == 2
    assert panda("why", "nothing", 7).code == 2
    assert panda("site", "BNL", "sleepy").code == 2


def test_without_an_api_it_says_how_to_get_one(panda: Panda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_API_URL", f"http://127.0.0.1:{free_port('127.0.0.1')}")
    done = panda("tasks")
    assert (done.code, done.out) == (3, "")
    assert "does not answer" in done.err
    assert "Start it with `panda up`, or name another one with `panda --api-url URL` or PANDA_API_URL." in done.err


def test_the_apis_address_can_be_given(panda: Panda, api_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_API_URL", "nonsense")
    done = panda("sites")
    assert done.code == 1
    assert "'nonsense' is no address of an API. Write http://HOST:PORT." in done.err
    assert panda("--api-url", api_url, "sites").code == 0
