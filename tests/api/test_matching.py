"""A pilot gets a job if its node can run it and none if it cannot: one acceptance, one refusal per criterion."""

from typing import Any

import pytest

from panda.services.context import Context
from tests.api.requests_of import a_task_form, an_ask
from tests.support.serving import Caller
from tests.support.telling import tell

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # criterion: what the job asks for, a pilot that may not have it, a pilot that may
    "site": ({}, {"site_name": "BETA"}, {"site_name": "ALPHA"}),
    "label": ({}, {"prod_source_label": "user"}, {"prod_source_label": "managed"}),
    "memory": ({"resources": {"memory_mb": 3000}}, {"memory": 2999}, {"memory": 3000}),
    "disk": ({"resources": {"disk_mb": 10_000}}, {"disk_space": 9999}, {"disk_space": 10_000}),
    "cores": ({"resources": {"cores": 8}}, {"cores": 4}, {"cores": 8}),
    "CPU speed": (  # 36,000 HS23 s on one core of 10 HS23 at 2500 MHz take an hour
        {"resources": {"work_hs23_s": 36_000}},
        {"remaining_time": 5000, "cpu": 1250.0},
        {"remaining_time": 5000, "cpu": 2600.0},
    ),
    "resource type": ({"resources": {"cores": 8}}, {"resourceType": "SCORE"}, {"resource_type": "MCORE"}),
    "remaining time": ({"resources": {"wall_s": 3600}}, {"remaining_time": 1800}, {"remaining_time": 7200}),
    "releases": ({"release": "R-1"}, {"releases": ["R-0", "R-2"]}, {"releases": ["R-1", "R-2"]}),
    "VO": ({"vo": "charmm"}, {"vo": "atlas"}, {"vo": "charmm"}),
}


def an_activated_task(caller: Caller, ctx: Context, asked: dict[str, Any]) -> int:
    """A task of one job that waits for a pilot at ALPHA; brokerage wants to have seen pilots there."""
    for queue in ("ALPHA", "BETA"):
        caller.post("/api/v1/pilot/acquire_jobs", an_ask(queue))
    submitted = caller.post("/api/v1/task/submit", {"request": a_task_form(site="ALPHA", **asked)}).json()
    assert submitted["success"], submitted["message"]
    assert tell(ctx, submitted["data"]) == "AwaitingPilots: 1 activated"
    return int(submitted["data"])


@pytest.mark.parametrize("criterion", CASES)
def test_one_refusal_and_one_acceptance(caller: Caller, ctx: Context, criterion: str) -> None:
    asked, unfit, fit = CASES[criterion]
    task_id = an_activated_task(caller, ctx, asked)

    refused = caller.post("/api/v1/pilot/acquire_jobs", an_ask(**unfit)).json()
    assert refused == {
        "success": False,
        "message": "No jobs in PanDA",
        "data": {
            "StatusCode": 20,
            "errorDialog": "No jobs in PanDA",
            "jobs": [],
            "retry_after": ctx.settings.pilot.retry_after_s,
        },
    }
    accepted = caller.post("/api/v1/pilot/acquire_jobs", an_ask(**fit)).json()
    assert accepted["success"], accepted["message"]
    assert [job["taskID"] for job in accepted["data"]["jobs"]] == [task_id]


@pytest.mark.parametrize("criterion", [one for one in CASES if one not in {"site", "label"}])
def test_what_a_pilot_does_not_know_never_refuses(caller: Caller, ctx: Context, criterion: str) -> None:
    asked, _, _ = CASES[criterion]
    an_activated_task(caller, ctx, asked)
    assert caller.post("/api/v1/pilot/acquire_jobs", an_ask()).json()["success"]
