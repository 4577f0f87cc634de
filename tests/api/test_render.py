"""The job dictionary is what PanDA's pilots read: parallel lists, the log apart, nothing that breaks their parsers."""

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from panda.domain.dispatch import HandedInput, HandedJob, HandedOutput, UpdateAnswer
from panda_api.envelope import WireResponse
from panda_api.render import wire_job, wire_update
from pilot.job import parse_job

JOB = HandedJob(
    job_id=4711, task_id=10_000_042, task_name="mc.t1/", ordinal=4, attempt=2, lease=3, site="BNL", queue="BNL_Q",
    cloud="US", label="managed", vo="atlas", owner="prodmanager", working_group=None, processing_type="simul",
    priority=500, transformation="sim.py", parameters="--in a,b", release="Sim-1.0", architecture="", container="",
    cores=8, memory_mb=2000, disk_mb=5000, max_wall_s=7200, max_cpu_s=0, first_event=40, n_events=10,
    inputs=(
        HandedInput("IN", "mc", "a.root", "guid-a", 10, "0000000a", "mc.in", "BNL_DISK"),
        HandedInput("IN", "mc", "b.root", None, 20, "0000000b", "mc.in", "BNL_DISK"),
    ),
    outputs=(
        HandedOutput("log", "log", "t1.log._000005.tgz.2", "mc.t1.log", "BNL_DISK"),
        HandedOutput("output", "mc", "t1._000005.root.2", "mc.t1.out", "BNL_DISK"),
        HandedOutput("output", "mc2", "t1._000005.extra.2", "mc2.t1.extra", "BNL_DISK", optional=True),
    ),
    heartbeat_s=1800,
)  # fmt: skip


def test_lists_are_parallel_and_the_log_is_last() -> None:
    job = wire_job(JOB, "http://127.0.0.1:25080")
    expected = {
        "StatusCode": 0,
        "PandaID": 4711,
        "taskID": 10_000_042,
        "attemptNr": 2,
        "lease": 3,
        "heartbeat": 1800,
        "transformation": "sim.py",
        "jobPars": "--in a,b",
        "swRelease": "Sim-1.0",
        "cmtConfig": "NULL",
        "container_name": "NULL",
        "coreCount": 8,
        "maxWalltime": 7200,
        "minRamCount": 2000,
        "maxDiskCount": 5000,
        "inFiles": "a.root,b.root",
        "GUID": "guid-a,NULL",
        "fsize": "10,20",
        "checksum": "ad:0000000a,ad:0000000b",
        "scopeIn": "mc,mc",
        "ddmEndPointIn": "BNL_DISK,BNL_DISK",
        "realDatasetsIn": "mc.in,mc.in",
        "outFiles": "t1._000005.root.2,t1._000005.extra.2,t1.log._000005.tgz.2",
        "realDatasets": "mc.t1.out,mc2.t1.extra,mc.t1.log",
        "scopeOut": "mc,mc2",
        "scopeLog": "log",
        "logFile": "t1.log._000005.tgz.2",
        "allowNoOutput": "t1._000005.extra.2",
    }
    assert {key: job[key] for key in expected} == expected
    # Harvester's parser wants these four (wire-protocol.md 5)
    assert {"taskID", "attemptNr", "jobsetID", "currentPriority"} <= job.keys()


def test_our_own_pilot_reads_the_same_job() -> None:
    job = parse_job(wire_job(JOB))
    assert (job.panda_id, job.attempt, job.lease, job.cores, job.heartbeat_s) == (4711, 2, 3, 8, 1800.0)
    assert [(one.lfn, one.size, one.checksum) for one in job.inputs] == [
        ("a.root", 10, "ad:0000000a"),
        ("b.root", 20, "ad:0000000b"),
    ]
    assert [(one.lfn, one.scope, one.is_optional) for one in job.outputs] == [
        ("t1._000005.root.2", "mc", False),
        ("t1._000005.extra.2", "mc2", True),
    ]
    assert job.log is not None
    assert (job.log.lfn, job.log.scope) == ("t1.log._000005.tgz.2", "log")


def test_a_job_without_files_has_empty_lists() -> None:
    job = wire_job(JOB._replace(inputs=(), outputs=()))
    assert job["inFiles"] == job["outFiles"] == job["scopeOut"] == ""
    assert job["logFile"] == job["logGUID"] == "NULL"
    assert not parse_job(job).inputs
    assert not parse_job(job).outputs


def test_the_log_keeps_its_guid_when_the_answer_is_repeated() -> None:
    assert wire_job(JOB)["logGUID"] == wire_job(JOB)["logGUID"]
    other = JOB._replace(outputs=(JOB.outputs[0]._replace(lfn="other"),))
    assert wire_job(other)["logGUID"] != wire_job(JOB)["logGUID"]


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (UpdateAnswer(accepted=True), {"StatusCode": 0, "command": None}),
        (UpdateAnswer(accepted=True, command="tobekilled"), {"StatusCode": 0, "command": "tobekilled"}),
        (UpdateAnswer(accepted=False, note="alreadydone"), {"StatusCode": 0, "command": None}),
        (UpdateAnswer(accepted=False, known=False), {"StatusCode": 50, "command": "tobekilled"}),
    ],
)
def test_answers_to_updates(answer: UpdateAnswer, data: dict[str, object]) -> None:
    assert wire_update(answer) == data


def test_json_is_as_pandas_clients_read_it() -> None:
    when = datetime(2026, 11, 8, 15, 2, 53, tzinfo=timezone(timedelta(hours=1)))
    body = WireResponse({"when": when, "set": frozenset({"b", "a"}), "utc": datetime(2026, 1, 1, tzinfo=UTC)}).body
    assert bytes(body).endswith(b"}")
    assert orjson.loads(body) == {
        "when": {"__datetime__": "2026-11-08 14:02:53"},
        "set": ["a", "b"],
        "utc": {"__datetime__": "2026-01-01 00:00:00"},
    }
    with pytest.raises(TypeError):
        WireResponse({"x": object()})
