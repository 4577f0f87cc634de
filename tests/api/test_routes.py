"""Every route over real rows: tasks and jobs as clients, pilots and factories ask for them and tell of them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select

from panda.ddm.notification import SIGNATURE_HEADER, body_of, sign
from panda.ddm.port import DdmEvent, Did, EventKind
from panda.embedded import Address
from panda.services import control, upkeep
from panda.services.context import Context
from panda.store import schema
from tests.api.requests_of import a_file, a_task_form, an_ask
from tests.domain.test_refine import prun
from tests.support.database import run_as_administrator
from tests.support.serving import Caller
from tests.support.telling import tell

V1 = "/api/v1"


def good(answer: Any) -> Any:
    """The data of an answer that must be a success."""
    assert answer.status_code == 200, answer.text
    envelope = answer.json()
    assert set(envelope) == {"success", "message", "data"}
    assert envelope["success"], envelope["message"]
    return envelope["data"]


def bad(answer: Any, says: str) -> Any:
    """The data of an answer that must be a failure that says this."""
    assert answer.status_code == 200, answer.text
    envelope = answer.json()
    assert envelope["success"] is False
    assert says in envelope["message"]
    return envelope["data"]


def submitted(caller: Caller, ctx: Context, n_jobs: int = 1, **more: Any) -> int:
    """A task whose jobs wait for pilots."""
    for queue in ("ALPHA", "BETA"):
        caller.post(f"{V1}/pilot/acquire_jobs", an_ask(queue))
    task_id = good(caller.post(f"{V1}/task/submit", {"request": a_task_form(site="ALPHA", n_jobs=n_jobs, **more)}))
    tell(ctx, task_id)
    return int(task_id)


def taken(caller: Caller, **facts: Any) -> dict[str, Any]:
    """The one job a pilot gets."""
    (job,) = good(caller.post(f"{V1}/pilot/acquire_jobs", an_ask(**facts)))["jobs"]
    return dict(job)


def update_of(job: dict[str, Any], status: str, **more: Any) -> dict[str, Any]:
    known = {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"], "lease": job["lease"], "node": "wn1"}
    return {**known, "job_status": status, **more}


def test_a_job_from_submission_to_its_report(caller: Caller, ctx: Context) -> None:
    task_id = submitted(caller, ctx)
    job = taken(caller, harvester_id="local", worker_id=7)
    assert job["jobPars"] == "--seed 1 --out mc.t1._000001.root"
    asked = {"job_ids": [job["PandaID"], 999]}
    assert good(caller.get(f"{V1}/job/get_status", **asked)) == [
        {"status": "sent", "command": None},
        {"status": "unknown", "command": "tobekilled"},
    ]
    for status in ("starting", "running", "running"):
        answer = good(caller.post(f"{V1}/pilot/update_job", update_of(job, status)))
        assert answer == {"StatusCode": 0, "command": None}
    assert good(caller.get(f"{V1}/pilot/get_job_status", **asked)) == [
        {"job_id": job["PandaID"], "status": "running", "attempt_number": 1},
        {"job_id": 999, "status": "not found", "attempt_number": 0},
    ]
    report = {"mc.t1._000001.root": a_file(), "mc.t1._000001.log.tgz": a_file()}
    final = update_of(job, "finished", job_output_report=report, end_time="2026-11-08 14:00:00")
    for _ in range(2):
        assert good(caller.post(f"{V1}/pilot/update_job", final))["command"] is None
    assert good(caller.get(f"{V1}/task/get_detailed_info", task_id=task_id))["njobsByStatus"] == {"holding": 1}
    (described, unknown) = good(caller.get(f"{V1}/job/get_description", **asked))
    assert unknown is None
    assert (described["jobStatus"], described["modificationHost"]) == ("holding", "wn1")
    assert described["endTime"] == {"__datetime__": "2026-11-08 14:00:00"}
    assert good(caller.post(f"{V1}/job/get_description", asked)) == [described, None]


def test_the_same_request_id_gets_the_same_job(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx, n_jobs=2)
    again = {"request_id": "6f1c2f4e-9b7b-4c5f-9d3a-000000000001"}
    first, second = taken(caller, **again), taken(caller, **again)
    assert first == second
    assert taken(caller, request_id="6f1c2f4e-9b7b-4c5f-9d3a-000000000002")["PandaID"] != first["PandaID"]


def test_updates_of_another_attempt_or_lease_change_nothing(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx)
    job = taken(caller)
    for stale in ({"attempt_nr": 2}, {"lease": job["lease"] + 1}):
        answer = good(caller.post(f"{V1}/pilot/update_job", update_of(job, "running") | stale))
        assert answer == {"StatusCode": 0, "command": "tobekilled"}
    assert good(caller.get(f"{V1}/job/get_status", job_ids=[job["PandaID"]]))[0]["status"] == "sent"


def test_an_update_of_no_job_is_refused(caller: Caller) -> None:
    answer = caller.post(f"{V1}/pilot/update_job", {"job_id": 999, "job_status": "running"})
    assert bad(answer, "there is no job 999") == {"StatusCode": 50, "command": "tobekilled"}


def test_bulk_updates_are_judged_one_by_one(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx)
    job = taken(caller)
    told = [{"job_id": "x"}, update_of(job, "running"), {"job_id": 999, "job_status": "running"}]
    answers = good(caller.post(f"{V1}/pilot/update_jobs_bulk", {"job_list": told, "harvester_id": "h"}))
    assert [one["success"] for one in answers] == [False, True, False]
    assert answers[0]["data"]["fields"] == ["job_id", "job_status"]
    assert good(caller.get(f"{V1}/job/get_status", job_ids=[job["PandaID"]]))[0]["status"] == "running"


def test_a_kill_reaches_the_pilot_with_its_next_update(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx, n_jobs=2)
    job = taken(caller)
    assert good(caller.post(f"{V1}/job/kill", {"job_ids": [job["PandaID"], 999], "code": 9})) == [True, False]
    assert good(caller.post(f"{V1}/pilot/update_job", update_of(job, "running")))["command"] == "tobekilled"


def test_prun_is_understood(caller: Caller) -> None:
    answer = caller.post(
        f"{V1}/task/submit", {"task_parameters": prun(site=None, vo="atlas", processingType="run"), "parent_tid": None}
    )
    task_id = good(answer)
    assert answer.json()["message"] == f"succeeded. new jediTaskID={task_id}"
    assert task_id >= 10_000_000
    assert good(caller.get(f"{V1}/task/get_status", task_id=task_id)) == "registered"


def test_what_clients_read_of_a_task(caller: Caller, ctx: Context) -> None:
    task_id = submitted(caller, ctx, n_jobs=2)
    ids = good(caller.get(f"{V1}/task/get_job_ids", task_id=task_id))
    assert len(ids) == 2
    details = good(
        caller.get(f"{V1}/task/get_details", task_id=task_id, include_parameters="True", include_status="True")
    )
    assert details["PandaID"] == ids
    assert (details["outDS"], details["logDS"], details["status"]) == ("mc.t1.out", "mc.t1.log", "running")
    assert details["taskParams"]["transPath"] == "gen.py"
    info = good(caller.get(f"{V1}/task/get_detailed_info", task_id=task_id))
    assert (info["jediTaskID"], info["taskName"], info["njobs"]) == (task_id, "mc.t1", 2)
    assert set(info["creationDate"]) == {"__datetime__"}


def test_pause_resume_priority_kill_and_what_they_leave(caller: Caller, ctx: Context) -> None:
    task_id = submitted(caller, ctx, n_jobs=2)
    command = {"task_id": task_id}
    assert good(caller.post(f"{V1}/task/pause", command)) == 0
    assert good(caller.get(f"{V1}/task/get_status", **command)) == "paused"
    control.work_off(ctx)
    bad(caller.post(f"{V1}/pilot/acquire_jobs", an_ask()), "No jobs in PanDA")
    assert good(caller.post(f"{V1}/task/resume", command)) == 0
    assert good(caller.post(f"{V1}/task/change_priority", command | {"priority": 800})) == 0
    upkeep.round_once(ctx)
    assert taken(caller)["currentPriority"] == 800
    assert good(caller.post(f"{V1}/task/kill", command)) == 0
    assert good(caller.get(f"{V1}/task/get_status", **command)) == "aborting"
    control.work_off(ctx)
    assert good(caller.get(f"{V1}/task/get_detailed_info", **command))["njobsByStatus"]["cancelled"] == 1


def test_commands_to_nothing_or_at_the_wrong_time_carry_pandas_codes(caller: Caller, ctx: Context) -> None:
    for command in ("kill", "finish", "pause", "resume", "retry"):
        assert bad(caller.post(f"{V1}/task/{command}", {"task_id": 5}), "5") == 2
    task_id = submitted(caller, ctx)
    assert bad(caller.post(f"{V1}/task/retry", {"task_id": task_id}), "no failed job") == 4
    assert bad(caller.post(f"{V1}/task/retry", {"task_id": task_id, "new_parameters": {"a": 1}}), "as it is") == 4
    assert good(caller.post(f"{V1}/task/finish", {"task_id": task_id, "soft": True})) == 0


def test_loose_jobs_get_a_task_of_their_own(caller: Caller) -> None:
    body = {"request": a_task_form(), "jobs": [{"parameters": "--a 1"}, {"parameters": "--a 2", "priority_offset": 5}]}
    made = good(caller.post(f"{V1}/job/submit", body))
    assert len(made["job_ids"]) == 2
    first, second = good(caller.get(f"{V1}/job/get_description", job_ids=made["job_ids"]))
    assert (first["jobParameters"], second["jobParameters"]) == ("--a 1", "--a 2")
    assert second["currentPriority"] == first["currentPriority"] + 5


def test_factories_hear_the_demand_and_tell_of_their_pilots(caller: Caller, ctx: Context) -> None:
    assert good(caller.get(f"{V1}/harvester/get_current_worker_id", harvester_id="local")) == 0
    submitted(caller, ctx, n_jobs=3)
    workers = [
        {"workerID": 7, "status": "submitted", "computingSite": "ALPHA", "batchID": "b7"},
        {"workerID": 8, "status": "submitted", "computingSite": "NOWHERE"},
    ]
    told = {"harvester_id": "local", "workers": workers}
    assert good(caller.post(f"{V1}/harvester/update_workers", told)) == [True, False]
    started = {"worker_id": 7, "harvester_id": "local", "status": "started", "site": "ALPHA", "node_id": "wn1"}
    assert good(caller.post(f"{V1}/pilot/update_worker_status", started)) == {"StatusCode": 0}
    bad(caller.post(f"{V1}/pilot/update_worker_status", started | {"site": "NOWHERE"}), "NOWHERE")
    demand = {one["queue"]: one for one in good(caller.get(f"{V1}/harvester/demand"))}
    assert demand["ALPHA"]["activated"] == 3
    assert demand["ALPHA"]["pilots_running"] == 1
    assert demand["ALPHA"]["label"] == "unified"
    assert demand["BETA"]["activated"] == 0
    assert good(caller.get(f"{V1}/harvester/get_current_worker_id", harvester_id="local")) == 7


def test_pilots_fetch_queue_and_storages(caller: Caller) -> None:
    queue = caller.get("/cache/schedconfig/ALPHA.all.json").json()
    assert (queue["nickname"], queue["maxrss"], queue["astorages"]["write_lan"]) == ("ALPHA", 16000, ["ALPHA_DATADISK"])
    missing = caller.get("/cache/schedconfig/GAMMA.all.json")
    assert missing.status_code == 404
    assert "GAMMA" in missing.json()["message"]
    storages = caller.get("/cache/ddmendpoints.json").json()
    assert storages["BETA_DATADISK"]["arprotocols"]["read_lan"][0]["endpoint"] == "file://localhost"


def test_a_site_goes_off_and_on(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx)
    off = {"site": "ALPHA", "status": "offline", "comment": "power"}
    assert good(caller.post(f"{V1}/site/set_status", off)) == 0
    bad(caller.post(f"{V1}/pilot/acquire_jobs", an_ask()), "No jobs in PanDA")
    assert caller.get("/cache/schedconfig/ALPHA.all.json").json()["status"] == "offline"
    bad(caller.post(f"{V1}/site/set_status", off | {"site": "GAMMA"}), "GAMMA")


def test_the_server_tells_how_it_is_and_who_asks(caller: Caller, ctx: Context) -> None:
    assert caller.get(f"{V1}/system/is_alive").json()["message"] == "alive=true"
    attributes = good(caller.get(f"{V1}/system/get_attributes"))["environment"]
    assert attributes["name"] == "local operator"
    assert "operator" in attributes["roles"]
    assert caller.get("/healthz").json()["database"] == "ok"
    upkeep.fold(ctx)
    assert caller.get("/healthz").json()["folded_age_s"] >= 0


def test_a_database_that_is_away_is_told_as_such(caller: Caller, ctx: Context, cluster: Address) -> None:
    name = ctx.engine.url.database
    run_as_administrator(cluster, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    try:
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - ours
        run_as_administrator(cluster, end)
        assert caller.get("/healthz").status_code == 503
        answer = caller.post(f"{V1}/pilot/acquire_jobs", an_ask())
        assert answer.status_code == 503
        assert answer.json()["data"]["StatusCode"] == 10
        assert "Retry-After" in answer.headers
    finally:
        run_as_administrator(cluster, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert caller.get("/healthz").status_code == 200


# --- notifications --------------------------------------------------------------------------------------------------
def notified(caller: Caller, body: bytes, signature: str) -> Any:
    headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature}
    return caller.post(f"{V1}/ddm/notify", data=body, headers=headers)


WHEN = datetime(2026, 11, 8, tzinfo=UTC)
EVENT = DdmEvent(1, WHEN, EventKind.TRANSFER_OK, "77", Did("mc", "mc.d"), "ALPHA_DATADISK", "")


def test_only_the_signed_word_of_the_data_management_counts(caller: Caller) -> None:
    body = body_of([EVENT])
    assert good(notified(caller, body, sign("the-key", body))) == 0
    for signature in ("", sign("another", body), sign("the-key", body + b" ")):
        answer = notified(caller, body, signature)
        assert answer.status_code == 403
        assert SIGNATURE_HEADER in answer.json()["message"]


def test_what_was_not_kept_is_never_answered_with_200(caller: Caller) -> None:
    body = b'{"events": [{"seq": 1}]}'
    answer = notified(caller, body, sign("the-key", body))
    assert answer.status_code == 400
    assert answer.json()["data"]["fields"]


def test_a_notification_activates_the_bunch_whose_last_block_arrived(caller: Caller, ctx: Context) -> None:
    task_id = submitted(caller, ctx)
    with ctx.engine.begin() as connection:
        bunch = connection.execute(select(schema.bunch.c.id)).scalar_one()
        block = connection.execute(
            schema.block.insert()
            .values(name="b_dis1", kind="dis", task_id=task_id, site_id=1, rse="ALPHA_DATADISK", transfer_id="77",
                    state="requested")
            .returning(schema.block.c.id)
        ).scalar_one()  # fmt: skip
        connection.execute(schema.bunch.update().values(state="assigned", generation=1, staged=True))
        connection.execute(schema.bunch_block.insert().values(bunch_id=bunch, generation=1, block_id=block))
        connection.execute(schema.ready.delete())
    bad(caller.post(f"{V1}/pilot/acquire_jobs", an_ask()), "No jobs in PanDA")
    body = body_of([EVENT])
    assert good(notified(caller, body, sign("the-key", body))) == 1
    assert good(notified(caller, body, sign("the-key", body))) == 0
    assert taken(caller)["taskID"] == task_id


# --- bad input leaves nothing ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"task_parameters": {"taskName": "x"}}, None),
        ({"request": a_task_form(split={"n_jobs": -1})}, "request.split.n_jobs"),
        ({"request": a_task_form(label="odd")}, None),
        ({"request": a_task_form(release="R-9")}, None),
        ({"request": a_task_form(resources={"memory_mb": 10**9})}, None),
        ({"request": a_task_form(site="GAMMA")}, None),
        ({"request": a_task_form(name="a b")}, None),
        ({"request": a_task_form(inputs=[{"datasets": ["mc.never.made"]}])}, None),
    ],
)
def test_a_bad_task_leaves_nothing(caller: Caller, ctx: Context, body: dict[str, Any], field: str | None) -> None:
    data = bad(caller.post(f"{V1}/task/submit", body), "")
    if field is not None:
        assert field in data["fields"]
    with ctx.engine.connect() as connection:
        for table in (schema.production_task, schema.dataset, schema.pending_action):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_bad_input_to_other_calls_names_the_field(caller: Caller) -> None:
    assert bad(caller.get(f"{V1}/job/get_status"), "job_ids")["fields"] == ["job_ids"]
    assert bad(caller.get(f"{V1}/job/get_status", job_ids=["x"]), "job_ids")["fields"] == ["job_ids[0]"]
    assert bad(caller.get(f"{V1}/task/get_status", task_id="x"), "task_id")["fields"] == ["task_id"]
    unknown = bad(caller.post(f"{V1}/pilot/acquire_jobs", an_ask("GAMMA")), "there is no queue 'GAMMA'")
    assert unknown["StatusCode"] == 50


def test_the_watcher_hears_that_updates_are_taken(caller: Caller, ctx: Context) -> None:
    assert caller.get("/healthz").status_code == 200
    with ctx.engine.connect() as connection:
        age = connection.execute(select(func.extract("epoch", func.now() - schema.outage.c.seen_at))).scalar_one()
    assert 0 <= age < ctx.settings.watcher.outage_gap_s
