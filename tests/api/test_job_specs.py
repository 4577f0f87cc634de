"""What `Client.submitJobs` sends is answered with PandaIDs, or refused by the attribute's name, nothing stored."""

import json
from typing import Any

import pytest

from panda.domain.specform import FILE_ATTRIBUTES
from panda.services import read
from panda.services.context import Context
from tests.api.requests_of import a_task_form
from tests.api.test_routes import V1, bad, good
from tests.support.jobspecs import a_file, a_spec, an_evgen_spec, sent
from tests.support.serving import Caller
from tests.support.tokens import headers_of


def test_job_specs_are_answered_with_their_pandaids_in_order(caller: Caller) -> None:
    body = sent(an_evgen_spec(1), an_evgen_spec(5, "other"), an_evgen_spec(2))
    answered = good(caller.post(f"{V1}/job/submit", body))
    ids = [one[0] for one in answered]
    assert len(set(ids)) == 3
    told = good(caller.post(f"{V1}/job/get_description", {"job_ids": ids}))
    assert answered == [[one["PandaID"], one["jediTaskID"], one["jobName"]] for one in told]
    names = [spec[-1][0][FILE_ATTRIBUTES.index("lfn")] for spec in json.loads(body["jobs"])]
    assert [one["jobParameters"] for one in told] == [
        f"--number {number} -o {name}" for number, name in zip((1, 5, 2), names, strict=True)
    ]
    assert told[0]["jediTaskID"] == told[2]["jediTaskID"] != told[1]["jediTaskID"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (sent(an_evgen_spec(1), an_evgen_spec(2, eventService=1)), "jobs[1] attribute 'eventService' is not served"),
        (sent(an_evgen_spec(1, computingSite="NOWHERE")), "there is no site 'NOWHERE'"),
        (sent(an_evgen_spec(1, AtlasRelease="R-9")), "release 'R-9' is installed nowhere"),
        (sent(), "at least one job spec"),
        ({"jobs": "Not JSON"}, "neither a list nor the JSON"),
        ({"jobs": '{"a": 1}'}, "specs"),
        ({"jobs": "[NaN]"}, "neither a list nor the JSON"),
        ({"jobs": "[1]"}, "specs[0]"),
        ({"jobs": []}, "at least one of jobs"),
        ({"jobs": [{"parameters": "-a"}]}, "give request"),
        ({"request": a_task_form(), "jobs": json.dumps([an_evgen_spec(1)])}, "at least one job spec alone"),
    ],
)
def test_what_cannot_be_jobs_is_refused_and_nothing_stored(
    caller: Caller, ctx: Context, body: dict[str, Any], says: str
) -> None:
    bad(caller.post(f"{V1}/job/submit", body), says)
    assert read.tasks(ctx) == []


def test_users_submit_in_their_own_name_scope_and_priority(caller: Caller, ctx: Context) -> None:
    ann = Caller(caller.address, headers_of("Tester A", "atlas"))
    mine = a_spec(a_file("output", "out.root", "user.tester.specs"), transformation="gen.py", currentPriority=5000)
    refused = ann.post(f"{V1}/job/submit", sent(an_evgen_spec(1)))
    assert refused.status_code == 403
    assert "label 'managed'" in refused.json()["message"]
    ((job, definition, sets),) = good(ann.post(f"{V1}/job/submit", sent(mine)))
    (task,) = read.tasks(ctx)
    assert (definition, sets) == (task.id, {"jobsetID": None})
    assert (task.owner, task.vo, task.label, task.priority) == ("Tester A", "atlas", "user", 1000)
    assert read.job_ids(ctx, task.id) == [job]
    form = a_task_form("user.tester.own", label="user", owner=None, priority=900)
    for output in form["outputs"]:
        output["dataset"] = f"user.tester.{output['dataset']}"
    body = {"request": form, "jobs": [{"parameters": "-a", "priority_offset": 3000}]}
    (own,) = good(ann.post(f"{V1}/job/submit", body))["job_ids"]
    (told,) = good(ann.post(f"{V1}/job/get_description", {"job_ids": [own]}))
    assert told["currentPriority"] == 1000
