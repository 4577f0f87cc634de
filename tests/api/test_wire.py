"""What comes over the wire becomes what the domain means, or is refused with the field's name."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from panda.domain.dispatch import ErrorPair, JobUpdate, OutputReport, PilotAsk, WorkerReport
from panda.domain.states import JobStatus
from panda.domain.work import InputSpec, OutputSpec, Resources, Selection, Split, TaskRequest
from panda.errors import BadRequest
from panda_api.errors import field_name
from panda_api.wire.ddm import Notification
from panda_api.wire.harvester import UpdateWorkers
from panda_api.wire.pilot import AcquireJobs, UpdateJob, UpdateJobsBulk, UpdateWorkerStatus
from panda_api.wire.site import SetSiteStatus
from panda_api.wire.task import (
    ChangePriority,
    InputForm,
    OutputForm,
    ResourcesForm,
    SelectionForm,
    SplitForm,
    SubmitTask,
    TaskCommand,
    TaskForm,
)

REPORT = {"out.root": {"guid": "", "fsize": "6", "adler32": "84B021F", "surl": "file://x", "endpoint": "BNL_DATADISK"}}


def test_a_task_is_submitted_with_every_field_that_a_request_has() -> None:
    own = {"proddb_task", "wire_parameters", "build"}  # filled in by the server, or sent by users' clients only
    forms: dict[type[Any], type[BaseModel]] = {
        TaskRequest: TaskForm, InputSpec: InputForm, OutputSpec: OutputForm, Split: SplitForm,
        Resources: ResourcesForm, Selection: SelectionForm,
    }  # fmt: skip
    for kind, form in forms.items():
        assert {one.name for one in fields(kind)} - own == set(form.model_fields), kind


def test_every_fact_of_a_node_reaches_the_domain() -> None:
    wanted = AcquireJobs.model_validate(
        {
            "site_name": "BNL",
            "node": "wn1",
            "prod_source_label": "managed",
            "n_jobs": 2,
            "memory": 4000,
            "disk_space": 20_000,
            "cpu": 2596.1,
            "cores": 8,
            "remaining_time": 86_400,
            "vo": "atlas",
            "releases": ["A-1", "B-2"],
            "harvester_id": "local",
            "worker_id": "12",
            "request_id": "6f1c2f4e-9b7b-4c5f-9d3a-000000000001",
        }
    )
    assert wanted.ask() == PilotAsk(
        queue="BNL",
        node="wn1",
        label="managed",
        n_jobs=2,
        memory_mb=4000,
        disk_mb=20_000,
        cpu_mhz=2596.1,
        cores=8,
        remaining_s=86_400,
        vo="atlas",
        releases=frozenset({"A-1", "B-2"}),
        factory="local",
        worker_id=12,
        request_id=UUID("6f1c2f4e-9b7b-4c5f-9d3a-000000000001"),
    )


@pytest.mark.parametrize("nothing", [0, "", None])
def test_zero_empty_and_absent_facts_are_unknown(nothing: object) -> None:
    body = {"site_name": "Q", "memory": nothing, "disk_space": nothing, "remaining_time": nothing, "cores": nothing}
    assert AcquireJobs.model_validate(body).ask() == PilotAsk(queue="Q", node="", label="")


def test_harvester_is_known_by_its_scheduler_id() -> None:
    assert AcquireJobs(site_name="Q", scheduler_id="harvester-x").ask().factory == "harvester-x"


def test_a_final_report_reaches_the_domain() -> None:
    told = UpdateJob.model_validate(
        {
            "job_id": "42",
            "job_status": "failed",
            "attempt_nr": 1,
            "lease": 3,
            "node": "wn1",
            "start_time": "2026-11-08 14:00:00",
            "end_time": "datetime/2026-11-08 14:01:40.000000",
            "cpu_consumption_time": 80,
            "max_rss": 1000,
            "pilot_timing": "0|1|2|3|4|5",
            "n_events": 10,
            "job_output_report": json.dumps(REPORT),
            "pilot_error_code": 1305,
            "pilot_error_diag": "bad\x00 payload" + "x" * 600,
            "trans_exit_code": 3,
            "exe_error_code": "65",
            "exe_error_diag": "broken",
        }
    )
    update = told.update()
    assert update == JobUpdate(
        job_id=42,
        status=JobStatus.FAILED,
        attempt=1,
        lease=3,
        node="wn1",
        outputs=(OutputReport("out.root", None, 6, "084b021f", "BNL_DATADISK"),),
        errors=(
            ErrorPair("pilot", 1305, ("bad  payload" + "x" * 600)[:500]),
            ErrorPair("exe", 65, "broken"),
            ErrorPair("transform", 3),
        ),
        n_events=10,
        wall_s=100.0,
        cpu_s=80.0,
        max_rss_kb=1000,
        started_at=datetime(2026, 11, 8, 14, 0, tzinfo=UTC),
        ended_at=datetime(2026, 11, 8, 14, 1, 40, tzinfo=UTC),
        timing="0|1|2|3|4|5",
        body_hash=update.body_hash,
    )


def test_the_same_words_have_the_same_hash_and_others_do_not() -> None:
    first = {"job_id": 1, "job_status": "finished", "job_output_report": json.dumps(REPORT)}
    again = {"job_output_report": REPORT, "job_status": "finished", "job_id": "1"}
    other = first | {"pilot_error_code": 1}
    hashes = [UpdateJob.model_validate(one).update().body_hash for one in (first, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    "when",
    ["2026-11-08 14:00:00", "2026-11-08T14:00:00+00:00", "2026-11-08T15:00:00+01:00", 1794146400, "1794146400.0"],
)
def test_times_are_understood_in_every_form_that_is_sent(when: object) -> None:
    told = UpdateJob.model_validate({"job_id": 1, "job_status": "running", "start_time": when})
    assert told.start_time == datetime(2026, 11, 8, 14, 0, tzinfo=UTC)


def test_workers_reach_the_domain() -> None:
    told = UpdateWorkers.model_validate(
        {
            "harvester_id": "local",
            "workers": [
                {
                    "workerID": 7,
                    "batchID": "123.0",
                    "status": "running",
                    "computingSite": "BNL",
                    "nCore": 8,
                    "submitTime": "datetime/2026-11-08 14:00:00.5",
                    "nodeID": "wn1",
                    "diagMessage": "",
                    "pandaid_list": [5, 6],
                    "somethingNew": 1,
                }
            ],
        }
    )
    assert told.workers[0].report(told.harvester_id) == WorkerReport(
        "local",
        7,
        "BNL",
        "running",
        batch_id="123.0",
        node="wn1",
        cores=8,
        submitted_at=datetime(2026, 11, 8, 14, 0, 0, 500_000, tzinfo=UTC),
        jobs=(5, 6),
    )


def test_a_pilot_that_starts_is_a_running_worker() -> None:
    told = UpdateWorkerStatus(worker_id=7, harvester_id="local", status="started", site="BNL", node_id="wn1")
    assert told.report() == WorkerReport("local", 7, "BNL", "running", node="wn1")


def a_form(**more: object) -> dict[str, object]:
    return {
        "name": "t",
        "transformation": "gen.py",
        "parameters": "--n ${NEVENTS}",
        "outputs": [{"name": "o", "dataset": "mc.t.out", "lfn": "t._${SN}.root"}],
        "split": {"n_jobs": 3},
        **more,
    }


def test_our_own_form_reaches_the_domain() -> None:
    request = TaskForm.model_validate(a_form(resources={"memory_mb": 100}, parent_task=5)).request("tester")
    assert request.owner == "tester"
    assert request.outputs == (OutputSpec("o", "mc.t.out", "t._${SN}.root"),)
    assert request.split == Split(n_jobs=3)
    assert request.resources == Resources(memory_mb=100)
    assert request.parent_task == 5
    assert TaskForm.model_validate(a_form(owner="other")).request("tester").owner == "other"


ROW = {"seq": 1, "at": "2026-11-08T14:00:00Z", "kind": "TRANSFER_OK", "transfer_id": "9", "scope": "mc", "name": "d"}


def test_a_notification_reaches_the_domain() -> None:
    event = Notification.model_validate({"events": [ROW]}).events[0].event()
    assert (event.seq, event.kind, event.transfer_id, str(event.did)) == (1, "TRANSFER_OK", "9", "mc:d")


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (AcquireJobs, {}, "site_name"),
        (AcquireJobs, {"site_name": ""}, "site_name"),
        (AcquireJobs, {"site_name": "a\x00b"}, "site_name"),
        (AcquireJobs, {"site_name": ["Q"]}, "site_name"),
        (AcquireJobs, {"site_name": "Q", "n_jobs": 0}, "n_jobs"),
        (AcquireJobs, {"site_name": "Q", "n_jobs": 10_000}, "n_jobs"),
        (AcquireJobs, {"site_name": "Q", "memory": -5}, "memory"),
        (AcquireJobs, {"site_name": "Q", "memory": "lots"}, "memory"),
        (AcquireJobs, {"site_name": "Q", "memory": 2**40}, "memory"),
        (AcquireJobs, {"site_name": "Q", "request_id": "one"}, "request_id"),
        (AcquireJobs, {"site_name": "Q", "releases": "A-1"}, "releases"),
        (AcquireJobs, {"site_name": "Q", "releases": [1]}, "releases[0]"),
        (UpdateJob, {"job_status": "running"}, "job_id"),
        (UpdateJob, {"job_id": 2**70, "job_status": "running"}, "job_id"),
        (UpdateJob, {"job_id": 1, "job_status": "done"}, "job_status"),
        (UpdateJob, {"job_id": 1, "job_status": "running", "start_time": "yesterday"}, "start_time"),
        (UpdateJob, {"job_id": 1, "job_status": "running", "start_time": {}}, "start_time"),
        (UpdateJob, {"job_id": 1, "job_status": "finished", "job_output_report": "{"}, "job_output_report"),
        (
            UpdateJob,
            {"job_id": 1, "job_status": "finished", "job_output_report": '{"a": {"fsize": 1}}'},
            "job_output_report.a.adler32",
        ),
        (
            UpdateJob,
            {"job_id": 1, "job_status": "finished", "job_output_report": {"../x": REPORT["out.root"]}},
            "job_output_report",
        ),
        (
            UpdateJob,
            {"job_id": 1, "job_status": "finished", "job_output_report": {"a": {"fsize": -1, "adler32": "1"}}},
            "job_output_report.a.fsize",
        ),
        (UpdateJobsBulk, {"job_list": []}, "job_list"),
        (UpdateWorkers, {"harvester_id": "x", "workers": [{"workerID": 1}]}, "workers[0].status"),
        (UpdateWorkerStatus, {"worker_id": 1, "harvester_id": "x", "status": "odd", "site": "Q"}, "status"),
        (SubmitTask, {}, "body"),
        (SubmitTask, {"task_parameters": {}, "request": a_form()}, "body"),
        (SubmitTask, {"request": a_form(outputs=[])}, "request.outputs"),
        (SubmitTask, {"request": a_form(nJobs=3)}, "request.nJobs"),
        (SubmitTask, {"request": a_form(split={"n_jobs": -1})}, "request.split.n_jobs"),
        (SubmitTask, {"request": a_form(resources={"memory_mb": -1})}, "request.resources.memory_mb"),
        (SubmitTask, {"request": a_form(parameters="a\x00")}, "request.parameters"),
        (TaskCommand, {"task_id": "x"}, "task_id"),
        (ChangePriority, {"task_id": 1, "priority": -1}, "priority"),
        (SetSiteStatus, {"site": "BNL", "status": "on"}, "status"),
        (Notification, {"events": [ROW | {"kind": "ODD"}]}, "events[0].kind"),
    ],
)
def test_what_is_wrong_is_named(model: type[BaseModel], body: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    assert field in [field_name(("body", *one["loc"])) for one in caught.value.errors()]


def test_task_parameters_that_mean_nothing_are_refused_by_the_refinement() -> None:
    with pytest.raises(BadRequest, match="jobParameters"):
        SubmitTask(task_parameters={"taskName": "x"}).task("tester", "")
