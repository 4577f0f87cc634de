"""Stock pilots on the wire, in the style of recorded runs: the git pilot's gzip JSON, the PyPI pilot's forms."""

import gzip
import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from panda.services import collect, control, read
from panda.services.context import Context
from panda.store import schema
from panda_api.wire.legacy import update_of
from tests.api.test_routes import good, submitted
from tests.support.serving import Caller

LEGACY = "/server/panda"
ACCEPTED = b'{"StatusCode":0,"command":"NULL"}'
OUTPUT, LOG = "mc.t1._000001.root", "mc.t1._000001.log.tgz"

Send = Callable[[Caller, str, Mapping[str, object]], Any]


def git_pilot(caller: Caller, method: str, fields: Mapping[str, object]) -> Any:
    """3.11: gzip JSON that says nothing of gzip, no Accept."""
    headers = {"Content-Type": "application/json", "User-Agent": "pilot/3.11.5.1 (Python 3.11.7; Linux x86_64)"}
    body = gzip.compress(json.dumps(dict(fields)).encode())
    return caller.post(f"{LEGACY}/{method}", data=body, headers=headers | {"Accept": ""})


def pypi_pilot(caller: Caller, method: str, fields: Mapping[str, object]) -> Any:
    """3.7: one `data=` line of a curl configuration for each field; booleans are Python's words."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    body = "&".join(urlencode({name: value}) for name, value in fields.items())
    return caller.post(f"{LEGACY}/{method}", data=body.encode(), headers=headers | {"User-Agent": "curl/7.88.1"})


BOTH = pytest.mark.parametrize("send", [git_pilot, pypi_pilot])


def asked(**more: object) -> dict[str, object]:
    """What both pilots send for a job."""
    return {
        "siteName": "ALPHA", "computingElement": "ALPHA", "prodSourceLabel": "managed", "diskSpace": 20000,
        "workingGroup": "", "cpu": 2596.1, "mem": 14105.5, "node": "vm", "allowOtherCountry": False, **more,
    }  # fmt: skip


def told(job: Mapping[str, Any], state: str, **more: object) -> dict[str, object]:
    """What both pilots send for an update."""
    return {
        "jobId": str(job["PandaID"]), "state": state, "timestamp": "2026-11-22T19:44:09+00:00", "siteName": "ALPHA",
        "node": "vm", "attemptNr": job["attemptNr"], "schedulerID": "unknown", "pilotID": "unknown|PR|3.11.5.1",
        "startTime": 1795355769.98, "xml": "", "metaData": "", "coreCount": 1,
        "cpuConsumptionUnit": "s+AMD EPYC 512 KB 2-Core Processor+AVX2", **more,
    }  # fmt: skip


def ended(code: int = 0, diagnosis: str = "", exit_code: int = 0) -> dict[str, object]:
    """The fields of a final update."""
    return {
        "pilotTiming": "0|0|0|0|1|0", "pilotLog": "", "endTime": 1795355779.1, "pilotErrorCode": code,
        "pilotErrorDiag": diagnosis, "transExitCode": exit_code, "exeErrorCode": 0, "exeErrorDiag": "",
    }  # fmt: skip


def xml(*lfns: str) -> str:
    """An output report as 3.7 writes it: no endpoint, an empty guid."""
    entry = {"guid": "", "fsize": 6, "adler32": "084b021f", "surl": "file://localhost/x"}
    return json.dumps(dict.fromkeys(lfns, entry))


def one_job(caller: Caller, send: Send, **more: object) -> dict[str, Any]:
    answer = send(caller, "getJob", asked(**more))
    assert answer.status_code == 200
    assert answer.text.startswith("{")
    assert answer.text.endswith("}")  # a newline would make a query string of it
    job: dict[str, Any] = answer.json()
    assert job["StatusCode"] == 0, job
    return job


def status_of(ctx: Context, job: Mapping[str, Any]) -> str:
    (view,) = read.jobs(ctx, [job["PandaID"]])
    return view.status.value


@BOTH
def test_a_pilot_of_one_task_gets_its_jobs_only(caller: Caller, ctx: Context, send: Send) -> None:
    first = submitted(caller, ctx, n_jobs=2)  # one of them goes to the pilot that asks before the second task comes
    second = submitted(caller, ctx, name="mc.t2")
    assert one_job(caller, send, taskID=second)["taskID"] == second
    assert send(caller, "getJob", asked(taskID=second)).json()["StatusCode"] == 20
    refused = send(caller, "getJob", asked(taskID="first")).json()
    assert refused["StatusCode"] == 50
    assert "taskID" in refused["errorDialog"]
    ask = {"site_name": "ALPHA", "prod_source_label": "managed", "node": "vm"}
    none = caller.post("/api/v1/pilot/acquire_jobs", {**ask, "task_id": second}).json()
    assert (none["success"], none["message"]) == (False, "No jobs in PanDA")
    (job,) = good(caller.post("/api/v1/pilot/acquire_jobs", {**ask, "task_id": first}))["jobs"]
    assert job["taskID"] == first
    assert "task_id" in caller.post("/api/v1/pilot/acquire_jobs", {**ask, "task_id": "first"}).json()["message"]


# --- whole conversations (wire-protocol.md 12) ----------------------------------------------------------------------
@BOTH
def test_a_job_from_getjob_to_its_report(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    assert caller.get("/cache/schedconfig/ALPHA.all.json").json()["catchall"] == "mv_final_destination"
    job = one_job(caller, send)
    assert send(caller, "updateJob", told(job, "starting")).content == ACCEPTED
    assert send(caller, "updateJob", told(job, "running")).content == ACCEPTED
    script = caller.get("/trf/user/" + job["transformation"].rsplit("/", 1)[1])
    assert script.text.startswith("#!/usr/bin/env python3\n")
    assert send(caller, "updateJob", told(job, "running")).content == ACCEPTED
    assert status_of(ctx, job) == "running"
    final = told(job, "finished", **ended()) | {"xml": xml(OUTPUT, LOG)}
    for _ in range(2):
        assert send(caller, "updateJob", final).content == ACCEPTED
    assert status_of(ctx, job) == "holding"
    (view,) = read.jobs(ctx, [job["PandaID"]])
    assert (view.verdict, view.timing) == ("finished", "0|0|0|0|1|0")
    assert view.wall_s == pytest.approx(9.12, abs=0.01)
    assert send(caller, "updateJob", told(job, "running")).content == ACCEPTED
    assert status_of(ctx, job) == "holding"
    assert send(caller, "getJob", asked()).json()["StatusCode"] == 20


@BOTH
def test_a_kill_is_heard_and_leaves_a_cancelled_job(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    job = one_job(caller, send)
    send(caller, "updateJob", told(job, "starting"))
    control.kill_jobs(ctx, [job["PandaID"]], "tester")
    assert send(caller, "updateJob", told(job, "running")).json() == {"StatusCode": 0, "command": "tobekilled"}
    final = told(job, "failed", **ended(1144, "This job was killed by panda server : tobekilled"))
    assert send(caller, "updateJob", final).content == ACCEPTED
    collect.collect(ctx)
    assert status_of(ctx, job) == "cancelled"


@BOTH
def test_a_payload_that_fails_leaves_its_exit_code_and_is_tried_again(caller: Caller, ctx: Context, send: Send) -> None:
    task_id = submitted(caller, ctx)
    job = one_job(caller, send)
    last = {"xml": xml(LOG), "pilotLog": "the payload said no\n"}
    final = told(job, "failed", **ended(1368, "Remote file open timed out", 3)) | last
    assert send(caller, "updateJob", final).content == ACCEPTED
    collect.collect(ctx)
    (failed, again) = read.jobs_of(ctx, task_id)
    # The log that it reports is nowhere in this test; that is said beside the reason, not instead of it.
    assert {(one.component, one.code) for one in failed.errors} == {("pilot", 1368), ("transform", 3), ("ddm", 200)}
    assert (failed.status.value, again.attempt) == ("failed", 2)
    assert send(caller, "updateJob", final).content == ACCEPTED


@BOTH
def test_a_pilot_of_a_factory_tells_of_itself(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    worker = {"workerID": "7", "harvesterID": "harv", "site": "ALPHA", "node_id": "vm"}
    assert send(caller, "updateWorkerPilotStatus", worker | {"status": "started"}).json() == {"StatusCode": 0}
    job = one_job(caller, send, harvester_id="harv", worker_id="7")
    (view,) = read.jobs(ctx, [job["PandaID"]])
    assert (view.factory, view.worker_id) == ("harv", 7)
    assert send(caller, "updateWorkerPilotStatus", worker | {"status": "finished"}).json() == {"StatusCode": 0}
    lost = send(caller, "updateWorkerPilotStatus", worker | {"status": "started", "site": "NOWHERE"}).json()
    assert (lost["StatusCode"], "NOWHERE" in lost["ErrorDiag"]) == (50, True)


def test_the_job_is_what_stock_pilots_need(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx, release="R-1")
    job = one_job(caller, git_pilot)
    assert job["transformation"] == f"{ctx.settings.api_url}/trf/user/runRelease"
    words = shlex.split(job["jobPars"])
    options, arguments = words[: words.index("--")], words[words.index("--") + 1 :]
    assert arguments == ["--seed", "1", "--out", OUTPUT]
    software = ctx.settings.data_dir / "sites" / "ALPHA" / "software"
    assert {f"--software={software}", "--release=R-1", "--program=gen.py", f"--job={job['PandaID']}"} <= set(options)
    assert job["outFiles"] == f"{OUTPUT},{LOG}"
    assert (job["scopeOut"], job["scopeLog"], job["logFile"]) == ("mc", "mc", LOG)
    assert job["ddmEndPointOut"] == "ALPHA_DATADISK,ALPHA_DATADISK"
    assert job["container_name"] == ""


def test_all_queues_in_one_file(caller: Caller) -> None:
    queues = caller.get("/cache/schedconfig/pandaqueues.json").json()
    assert sorted(queues) == ["ALPHA", "BETA"]
    assert queues["ALPHA"] == caller.get("/cache/schedconfig/ALPHA.all.json").json()
    assert queues["ALPHA"]["acopytools"]["pw"] == ["mv"]


def test_unknown_transforms_are_not_there(caller: Caller) -> None:
    missing = caller.get("/trf/user/runAthena")
    assert missing.status_code == 404
    assert "runRelease" in missing.json()["message"]
    assert caller.get("/trf/user/__init__").status_code == 404


# --- single calls ---------------------------------------------------------------------------------------------------
@BOTH
def test_status_of_jobs(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    job = one_job(caller, send)
    answer = send(caller, "getStatus", {"ids": f"{job['PandaID']},999,x"}).json()
    assert answer == {"StatusCode": 0, "status": "sent,notfound,notfound", "attemptNr": "1,0,0"}
    assert "ids" in send(caller, "getStatus", {}).json()["errorDialog"]


@BOTH
def test_debug_mode_goes_on_and_off_and_never_hides_a_kill(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    job = one_job(caller, send)
    heard = []
    for mode in (True, False, True):
        assert send(caller, "setDebugMode", {"pandaID": job["PandaID"], "modeOn": mode}).json() == {"StatusCode": 0}
        heard.append(send(caller, "updateJob", told(job, "running")).json()["command"])
    control.kill_jobs(ctx, [job["PandaID"]], "tester")
    send(caller, "setDebugMode", {"pandaID": job["PandaID"], "modeOn": False})
    heard.append(send(caller, "updateJob", told(job, "running")).json()["command"])
    assert heard == ["debug", "NULL", "debug", "tobekilled"]
    assert send(caller, "setDebugMode", {"pandaID": 999, "modeOn": True}).json()["StatusCode"] == 50


@BOTH
def test_what_a_payload_prints_in_debug_mode_is_kept_and_shown(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    job = one_job(caller, send)
    number = job["PandaID"]
    assert read.whole_job(ctx, number).stdout is None
    good(caller.post("/api/v1/job/set_debug_mode", {"job_id": number, "mode": True}))
    assert send(caller, "updateJob", told(job, "running")).json()["command"] == "debug"
    for text in ("first line\n", "first line\nsecond \x07 <b>line</b>\n"):
        send(caller, "updateJob", told(job, "running", stdout=text))
    stranger = told(job | {"attemptNr": 7}, "running", stdout="not mine")
    assert send(caller, "updateJob", stranger).json()["command"] == "tobekilled"
    kept = read.whole_job(ctx, number).stdout
    assert kept is not None
    assert kept.text == "first line\nsecond   <b>line</b>\n"
    page = caller.get(f"/job/{number}").text
    assert "second   &lt;b&gt;line&lt;/b&gt;" in page
    send(caller, "updateJob", told(job, "running", stdout="x" * 200_000))
    again = read.whole_job(ctx, number).stdout
    assert again is not None
    assert again.text == "x" * 10_000


@BOTH
def test_a_report_with_md5_only_is_refused_with_its_reason(caller: Caller, ctx: Context, send: Send) -> None:
    """The catalogue registers adler32; the pilot may send its report again, with that."""
    submitted(caller, ctx)
    job = one_job(caller, send)
    entry = {"guid": "", "fsize": 6, "md5sum": "0cc175b9c0f1b6a831c399e269772661"}
    final = told(job, "finished", **ended()) | {"xml": json.dumps({OUTPUT: entry, LOG: entry})}
    refusal = send(caller, "updateJob", final).json()
    assert (refusal["StatusCode"], "adler32" in refusal["ErrorDiag"]) == (50, True)
    assert untouched(ctx, job)
    assert send(caller, "updateJob", final | {"xml": xml(OUTPUT, LOG)}).content == ACCEPTED


def test_what_is_not_here_is_said_in_the_shape_that_pilots_read(caller: Caller) -> None:
    absent = {name: pypi_pilot(caller, name, {"x": "y"}).json() for name in ("getProxy", "getKeyPair")}
    assert {name: (one["StatusCode"], "keeps no" in one["errorDialog"]) for name, one in absent.items()} == {
        "getProxy": (90, True),
        "getKeyPair": (80, True),
    }
    assert caller.get(f"{LEGACY}/get_access_token", client_name="pilot_server").json()["userProxy"] == ""
    assert pypi_pilot(caller, "get_user_secrets", {"get_json": True, "keys": "A,B"}).json() == [False, {}]
    events = pypi_pilot(caller, "getEventRanges", {"pandaID": 1, "jobsetID": 1, "taskID": 1, "nRanges": 1}).json()
    assert events == {"StatusCode": 0, "eventRanges": []}
    assert pypi_pilot(caller, "updateEventRanges", {"eventRanges": "[]"}).json()["StatusCode"] == 0
    assert caller.get(f"{LEGACY}/isAlive").json()["alive"] is True
    types = git_pilot(caller, "getResourceTypes", {}).json()["ResourceTypes"]["ResourceTypes"]
    assert {"resource_name", "mincore", "maxcore", "minrampercore", "maxrampercore"} == set(types[0])
    assert "SCORE" in {one["resource_name"] for one in types}


def test_a_node_that_describes_itself_hears_that_nothing_is_kept(caller: Caller) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Accept": "application/json"}
    node = {"site": "ALPHA", "panda_queue": "ALPHA", "host_name": "wn1", "cpu_model": "EPYC", "n_logical_cpus": 2}
    for call in ("update_worker_node", "update_worker_node_gpu"):
        path = f"/api/v1/pilot/{call}"
        answer = caller.post(path, data=gzip.compress(json.dumps(node).encode()), headers=headers).json()
        assert (answer["success"], "none here" in answer["message"]) == (False, True)
        assert caller.post(path, {"site": "ALPHA"}).json()["data"]["fields"] == ["host_name"]


def test_events_of_outputs_come_from_the_payloads_own_report() -> None:
    said = json.dumps({"nEvents": 40, "outputs": {OUTPUT: {"events": 20}, "other": {"events": 3}, LOG: {"events": -1}}})
    update = update_of(told({"PandaID": 1, "attemptNr": 1}, "finished", xml=xml(OUTPUT, LOG), metaData=said))
    assert update.n_events == 40
    assert {one.lfn: one.events for one in update.outputs or ()} == {OUTPUT: 20, LOG: None}
    for odd in ("[1]", "{", '{"outputs": 3}', '{"outputs": {"x": 3}}', None, 5):
        update = update_of(told({"PandaID": 1, "attemptNr": 1}, "finished", xml=xml(OUTPUT), metaData=odd))
        assert [one.events for one in update.outputs or ()] == [None]


# --- bad input ------------------------------------------------------------------------------------------------------
def untouched(ctx: Context, job: Mapping[str, Any]) -> bool:
    """Nothing of an update of this job was kept."""
    with ctx.engine.connect() as connection:
        reports = connection.scalar(select(func.count()).select_from(schema.job_report))
    return reports == 0 and status_of(ctx, job) == "sent"


@BOTH
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", "flying"),
        ("jobId", "NULL"),
        ("jobId", "-3"),
        ("attemptNr", "first"),
        ("xml", "{not json"),
        ("xml", '{"a b": {"fsize": 1, "adler32": "00000001"}}'),
        ("xml", '{"a": {"fsize": 1, "adler32": "odd"}}'),
        ("endTime", "soon"),
        ("pilotErrorCode", "x"),
        ("maxRSS", "much"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_stored(
    caller: Caller, ctx: Context, send: Send, field: str, value: str
) -> None:
    submitted(caller, ctx)
    job = one_job(caller, send)
    answer = send(caller, "updateJob", told(job, "finished", **ended()) | {"xml": xml(OUTPUT, LOG)} | {field: value})
    assert answer.status_code == 200
    refusal = answer.json()
    assert refusal["StatusCode"] == 50
    assert any(one.startswith(field) for one in refusal["fields"]), refusal
    assert field in refusal["ErrorDiag"]
    assert untouched(ctx, job)


@BOTH
def test_missing_fields_are_named(caller: Caller, send: Send) -> None:
    refusal = send(caller, "updateJob", {"node": "vm"}).json()
    assert (refusal["StatusCode"], refusal["fields"]) == (50, ["jobId", "state"])
    assert send(caller, "getJob", {"node": "vm"}).json()["fields"] == ["siteName"]
    unknown = send(caller, "getJob", asked(siteName="GAMMA")).json()
    assert (unknown["StatusCode"], "GAMMA" in unknown["errorDialog"]) == (50, True)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"\x1f\x8b nonsense", 400, "gzip"),
        (gzip.compress(b'{"jobId":', mtime=0)[:-9], 400, "gzip"),
        (gzip.compress(b" " * 11 * 1024**2, mtime=0), 413, "10 MiB"),
        (b'{"jobId": ', 200, "JSON"),
        (b'{"jobId": NaN}', 200, "NaN"),
        (b"[1]", 200, "one JSON object"),
        (b'{"a":' * 2000, 200, "JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 200, "depth"),
        (b"just words", 200, "form"),
        (b"jobId=1&jobId=2&state=running", 200, "twice"),
        (b"jobId=%ff%fe\xff", 200, "form"),
        (b"&".join(b"f%d=1" % one for one in range(1001)), 200, "form"),
    ],
)
def test_a_broken_body_is_refused(caller: Caller, body: bytes, status: int, says: str) -> None:
    answer = caller.post(f"{LEGACY}/updateJob", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert says in answer.text
    if status == 200:
        assert answer.json()["StatusCode"] == 50


@BOTH
def test_strangers_and_latecomers_change_nothing(caller: Caller, ctx: Context, send: Send) -> None:
    submitted(caller, ctx)
    job = one_job(caller, send)
    unknown = send(caller, "updateJob", told({"PandaID": 999, "attemptNr": 1}, "running")).json()
    assert (unknown["StatusCode"], unknown["command"]) == (50, "tobekilled")
    other = send(caller, "updateJob", told(job | {"attemptNr": 2}, "finished", **ended())).json()
    assert other == {"StatusCode": 0, "command": "tobekilled"}
    assert untouched(ctx, job)
    send(caller, "updateJob", told(job, "failed", **ended(1144)))
    collect.collect(ctx)
    before = status_of(ctx, job)
    late = send(caller, "updateJob", told(job, "finished", **ended()) | {"xml": xml(OUTPUT, LOG)}).json()
    assert (late["StatusCode"], status_of(ctx, job)) == (0, before)


def test_an_unknown_method_is_forbidden_with_a_text(caller: Caller) -> None:
    answer = caller.post(f"{LEGACY}/getNothing", data="a=1")
    assert answer.status_code == 403
    assert "getNothing" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")
