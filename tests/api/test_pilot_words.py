"""What stock pilots may say of a job, whole: every field of section 6 in its types, every line of the table of 9.1."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from panda.services import collect, read
from panda.services.context import Context
from panda_api.app import Application, build
from tests.api.requests_of import an_ask
from tests.api.test_legacy import (
    ACCEPTED,
    BOTH,
    LOG,
    OUTPUT,
    Send,
    asked,
    ended,
    git_pilot,
    one_job,
    pypi_pilot,
    status_of,
    told,
    xml,
)
from tests.api.test_routes import submitted
from tests.support.serving import Caller, serving

MEMORY = ("maxRSS", "maxVMEM", "maxSWAP", "maxPSS", "avgRSS", "avgVMEM", "avgSWAP", "avgPSS")
TRAFFIC = ("totRCHAR", "totWCHAR", "totRBYTES", "totWBYTES", "rateRCHAR", "rateWCHAR", "rateRBYTES", "rateWBYTES")
EVERYTHING: dict[str, object] = {
    **dict.fromkeys(MEMORY, 524_288), **dict.fromkeys(TRAFFIC, 1_234.5),
    "meanCoreCount": 0.97, "nEvents": 10, "nInputFiles": 2, "cpuConsumptionTime": 8, "cpuConversionFactor": "1.0",
    "cpu_architecture_level": "x86_64-v3", "jobMetrics": "nEvents=10 leak=-1.5 chi2=0.2", "batchID": "4711.0#ce1",
    "job_features": "", "source_site": "ALPHA", "destination_site": "BETA", "pilotLog": "2026-11-22 | the end\n",
    "HPCStatus": "None", "allowOtherCountry": False, "metaData": json.dumps({"nEvents": 10}),
}  # fmt: skip


@BOTH
def test_every_field_of_an_update_is_taken_in_its_own_types(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    job = one_job(caller, send)
    assert send(caller, "updateJob", told(job, "running", **EVERYTHING)).content == ACCEPTED
    final = told(job, "finished", **EVERYTHING) | ended() | {"xml": xml(OUTPUT, LOG)}
    assert send(caller, "updateJob", final).content == ACCEPTED
    (view,) = read.jobs(ctx, [job["PandaID"]])
    assert (view.cpu_s, view.max_rss_kb, view.batch_id, view.verdict) == (8.0, 524_288, None, "finished")


def test_a_negated_code_of_a_job_that_could_be_recovered_is_kept_as_it_is(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx)
    job = one_job(caller, git_pilot)
    final = told(job, "failed", **ended(-1137, "Failed to stage-out file")) | {"xml": xml(LOG)}
    assert git_pilot(caller, "updateJob", final).content == ACCEPTED
    collect.collect(ctx)
    (view,) = read.jobs(ctx, [job["PandaID"]])
    assert ("pilot", -1137) in {(one.component, one.code) for one in view.errors}


def test_a_pilot_may_say_what_else_it_wants(caller: Caller, ctx: Context) -> None:
    """Resource type, owner and task are obeyed; the rest is taken and changes nothing here (wire-protocol.md 4.1)."""
    task_id = submitted(caller, ctx, n_jobs=2)
    more = {"jobType": "user", "countryGroup": "us", "taskID": str(task_id), "viaTopic": True}
    for obeyed in ({"resourceType": "MCORE"}, {"prodUserID": "somebody else"}, {"taskID": "4711"}):
        assert git_pilot(caller, "getJob", asked(**more | obeyed)).json()["StatusCode"] == 20
    one_job(caller, git_pilot, **more, resourceType="SCORE", allowOtherCountry=True)
    one_job(caller, pypi_pilot, **more, allowOtherCountry="True")


FINISHED, FAILED = ended(), ended(1305, "Failed to execute payload")


LIVES: dict[tuple[str, ...], str] = {
    ("running", "starting"): "running",
    ("running", "finished", "running"): "holding",
    ("running", "finished", "starting"): "holding",
    ("running", "finished", "transferring"): "holding",
    ("running", "finished", "failed"): "holding",
    ("running", "holding"): "holding",
    ("running", "holding", "transferring", "running"): "holding",
    ("running", "transferring"): "holding",
    ("finished",): "holding",
}


@BOTH
def test_what_a_pilot_says_never_takes_a_job_back(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx, n_jobs=len(LIVES))
    ends = {"finished": FINISHED, "failed": FAILED}
    found: dict[tuple[str, ...], str] = {}
    for life in LIVES:
        job = one_job(caller, send)
        output, log = job["outFiles"].split(",")
        for state in life:
            news = told(job, state, **ends.get(state, {}))
            report = xml(output, log) if state in ends else ""
            assert send(caller, "updateJob", news | {"xml": report}).content == ACCEPTED
        found[life] = status_of(ctx, job)
    assert found == LIVES


@BOTH
def test_after_the_end_everything_is_answered_and_nothing_changed(caller: Caller, ctx: Context, send: Send) -> None:
    task_id = submitted(caller, ctx)
    job = one_job(caller, send)
    assert send(caller, "updateJob", told(job, "failed", **FAILED) | {"xml": xml(LOG)}).content == ACCEPTED
    collect.collect(ctx)
    before = read.jobs_of(ctx, task_id)
    assert [one.status.value for one in before] == ["failed", "defined"]
    for state in ("starting", "running", "holding", "transferring"):
        assert send(caller, "updateJob", told(job, state)).json() == {"StatusCode": 0, "command": "tobekilled"}
    late = told(job, "finished", **FINISHED) | {"xml": xml(OUTPUT, LOG)}
    assert send(caller, "updateJob", late).json() == {"StatusCode": 0, "command": "tobekilled"}
    assert read.jobs_of(ctx, task_id) == before


def test_another_batch_job_with_the_same_job_is_told_to_end(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx)
    job = one_job(caller, git_pilot)
    assert git_pilot(caller, "updateJob", told(job, "running", batchID="7.0#ce1")).content == ACCEPTED
    other = told(job, "finished", **FINISHED, batchID="8.0#ce1") | {"xml": xml(OUTPUT, LOG)}
    assert git_pilot(caller, "updateJob", other).json() == {"StatusCode": 0, "command": "tobekilled"}
    assert status_of(ctx, job) == "running"


# --- one way for both generations -----------------------------------------------------------------------------------
class Noted:
    """An application whose lanes note how many requests of each kind their batches served."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.served: list[tuple[str, int]] = []
        lanes = app.state.lanes
        for lane in (lanes.acquire, lanes.report, lanes.beat):
            lane.serve = self._noting(lane.name, lane.serve)

    def _noting(self, name: str, serve: Any) -> Any:
        def noted(connection: Connection, asked: Sequence[Any]) -> Any:
            self.served.append((name, len(asked)))
            return serve(connection, asked)

        return noted


@pytest.fixture
def noted(ctx: Context) -> Iterator[tuple[Caller, Noted]]:
    """A caller of an application that notes."""
    made = Noted(build(ctx))
    with serving(made.app) as address:
        yield Caller(address), made


def in_legacy_words(caller: Caller) -> None:
    """Take a job, say that it runs, and end it."""
    job = one_job(caller, git_pilot)
    for state, more in (("running", {}), ("finished", FINISHED)):
        assert git_pilot(caller, "updateJob", told(job, state, **more)).content == ACCEPTED


def in_todays_words(caller: Caller) -> None:
    """The same."""
    (job,) = caller.post("/api/v1/pilot/acquire_jobs", an_ask()).json()["data"]["jobs"]
    for status in ("running", "finished"):
        said = {"job_id": job["PandaID"], "attempt_nr": 1, "job_status": status}
        assert caller.post("/api/v1/pilot/update_job", said).json()["success"]


def test_legacy_calls_and_todays_go_through_the_same_batches(noted: tuple[Caller, Noted], ctx: Context) -> None:
    caller, app = noted
    submitted(caller, ctx)
    app.served.clear()
    in_legacy_words(caller)
    legacy = list(app.served)
    submitted(caller, ctx, name="mc.t2")
    app.served.clear()
    in_todays_words(caller)
    assert legacy == app.served == [("acquire", 1), ("beat", 1), ("report", 1)]
