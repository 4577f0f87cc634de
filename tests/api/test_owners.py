"""Users see and steer their own tasks, managers those of their VO; nobody becomes somebody else by asking."""

from collections.abc import Iterator
from typing import Any

import pytest

from panda.services import read
from panda.services.context import Context
from panda_api.app import build
from tests.api.requests_of import a_task_form, an_ask
from tests.api.test_routes import bad, good
from tests.domain.test_refine import prun
from tests.support.serving import Caller, serving
from tests.support.tokens import headers_of

V1 = "/api/v1"
READS = ("get_status", "get_details", "get_detailed_info", "get_job_ids")
COMMANDS = ("pause", "resume", "finish", "kill", "retry")


@pytest.fixture
def address(ctx: Context) -> Iterator[str]:
    """Where the app is served."""
    with serving(build(ctx)) as where:
        yield where


def a_prun(**more: Any) -> dict[str, object]:
    return {"task_parameters": prun(site="ALPHA", vo="atlas", processingType="run", **more)}


def a_user(address: str, name: str = "Tester One", origin: str = "atlas", **claims: object) -> Caller:
    return Caller(address, headers_of(name, origin, **claims))


def test_users_see_and_steer_their_own_tasks_only(address: str, ctx: Context) -> None:
    ann, bob = a_user(address), a_user(address, "Bob Other")
    task_id = good(ann.post(f"{V1}/task/submit", a_prun()))
    assert read.task(ctx, task_id).owner == "Tester One"
    for call in READS:
        assert bad(bob.get(f"{V1}/task/{call}", task_id=task_id), "not Bob Other's") == 3
        good(ann.get(f"{V1}/task/{call}", task_id=task_id))
    for command in COMMANDS:
        assert bad(bob.post(f"{V1}/task/{command}", {"task_id": task_id}), "your own only") == 3
    for command in ("pause", "resume", "kill"):
        assert good(ann.post(f"{V1}/task/{command}", {"task_id": task_id})) == 0
    assert bad(bob.get(f"{V1}/task/get_status", task_id=5), "no production task 5") == 2


def test_managers_reach_their_vo_and_operators_everything(address: str, ctx: Context) -> None:
    task_id = good(a_user(address).post(f"{V1}/task/submit", a_prun()))
    manager, stranger = a_user(address, "Max", "atlas:production"), a_user(address, "Sue", "charmm:production")
    assert good(manager.post(f"{V1}/task/pause", {"task_id": task_id})) == 0
    assert bad(stranger.post(f"{V1}/task/resume", {"task_id": task_id}), "VO 'charmm'") == 3
    assert good(Caller(address).post(f"{V1}/task/resume", {"task_id": task_id})) == 0


def test_jobs_belong_to_the_owner_of_their_task(address: str) -> None:
    ann, bob, pilot = a_user(address), a_user(address, "Bob"), a_user(address, "p", "atlas:pilot")
    wanted = a_task_form(label="user", owner=None, vo="atlas")
    for output in wanted["outputs"]:
        output["dataset"] = f"user.tester.{output['dataset']}"
    made = good(ann.post(f"{V1}/job/submit", {"request": wanted, "jobs": [{"parameters": "-a"}]}))
    asked = {"job_ids": made["job_ids"]}
    assert bad(bob.post(f"{V1}/job/kill", asked), "not Bob's")["code"] == "not_owner"
    for call in ("get_status", "get_description"):
        assert bad(bob.get(f"{V1}/job/{call}", **asked), "not Bob's")["code"] == "not_owner"
        good(pilot.get(f"{V1}/job/{call}", **asked))
    assert good(ann.post(f"{V1}/job/kill", asked)) == [True]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vo": "charmm"}, "you are of VO 'atlas'"),
        ({"label": "managed"}, "takes the production role"),
        ({"owner": "Bob"}, "the task's owner is 'Bob'"),
        ({"working_group": "higgs"}, "not in group 'higgs'"),
        ({"label": "user"}, "not of your scope"),
    ],
)
def test_what_takes_the_production_role_is_refused_to_users(
    address: str, ctx: Context, changes: dict[str, Any], says: str
) -> None:
    answer = a_user(address).post(
        f"{V1}/task/submit", {"request": a_task_form(**{"label": "user", "owner": None, **changes})}
    )
    assert answer.status_code == 403
    assert says in answer.json()["message"]
    assert read.tasks(ctx) == []


def test_a_users_priority_has_a_limit(address: str, ctx: Context) -> None:
    ann = a_user(address)
    task_id = good(ann.post(f"{V1}/task/submit", a_prun(taskPriority=9000)))
    assert read.task(ctx, task_id).priority == 1000
    answer = ann.post(f"{V1}/task/change_priority", {"task_id": task_id, "priority": 9000})
    assert answer.status_code == 403
    assert "production manager" in answer.json()["message"]


def test_users_are_no_pilots_and_the_server_tells_who_one_is(address: str) -> None:
    ann = a_user(address, groups=["higgs"])
    assert ann.post(f"{V1}/pilot/acquire_jobs", an_ask()).status_code == 403
    told = good(ann.get(f"{V1}/system/get_attributes"))["environment"]
    assert (told["name"], told["vo"], told["nickname"], told["groups"]) == ("Tester One", "atlas", "tester", "higgs")
    broken = Caller(address, {"Authorization": "Bearer no.token", "Origin": "atlas"})
    answer = broken.get(f"{V1}/system/get_attributes")
    assert answer.status_code == 403
    assert "2 parts" in answer.json()["message"]
