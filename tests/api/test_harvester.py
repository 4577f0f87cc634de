"""Harvester's 22 calls in wire-protocol.md section 8's order, in its own style, against a real API process.

Style: POST as JSON with `Connection: close`, GET with repeated keys, dates as `datetime/...`, uploads as multipart
with a zlib-compressed part named `file`. What it reads of each answer is asserted as its communicator reads it.
"""

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, func, select

from panda.domain.harvester import kill_worker_ids, report_statistics, set_workers
from panda.errors import NotFound
from panda.services import harvester, survey
from panda.services.context import Context
from panda.store import schema
from tests.api.requests_of import a_file, a_task_form, an_ask
from tests.support.api_process import api_process
from tests.support.telling import tell

ME = "harvester_central_A"
KEPT = {"harvester", "harvester_command", "harvester_dialog", "harvester_metric", "worker", "worker_statistic"}
NOW = datetime(2026, 11, 22, 12, 30, 0, 123456, tzinfo=UTC)
DATE = "datetime/2026-11-22 12:30:00.123456"
UNKNOWN = 999_999
HEADERS = {"Accept": "application/json", "Connection": "close"}


class Communicator:
    """Speaks as Harvester's does: one connection per call, and success only if the envelope says so."""

    def __init__(self, base: str) -> None:
        self.base = f"{base}/api/v1"

    def call(self, verb: str, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """GET with a query or POST as JSON."""
        how: dict[str, Any] = {"params": data} if verb == "GET" else {"json": data}
        return self._read(requests.request(verb, f"{self.base}/{path}", headers=HEADERS, timeout=30, **how))

    def upload(self, path: str, name: str, body: bytes) -> dict[str, Any]:
        """Multipart, one part named `file`."""
        files = {"file": (name, body)}
        return self._read(requests.post(f"{self.base}/{path}", files=files, headers=HEADERS, timeout=30))

    def good(self, verb: str, path: str, data: dict[str, Any] | None = None) -> Any:
        """The data of an answer that must be a success."""
        answer = self.call(verb, path, data)
        assert answer["success"], answer["message"]
        return answer["data"]

    @staticmethod
    def _read(response: requests.Response) -> dict[str, Any]:
        assert response.status_code == 200, response.text
        assert response.headers["connection"] == "close"
        answer: dict[str, Any] = response.json()
        assert set(answer) == {"success", "message", "data"}
        return answer


@pytest.fixture
def factory(ctx: Context, database: str) -> Iterator[Communicator]:
    """Harvester's communicator, and a server process on the grid of two sites."""
    settings = ctx.settings.model_copy(update={"database_url": database.replace("+psycopg2", "")})
    with api_process(settings) as process:
        yield Communicator(process.caller.address)


def activated(factory: Communicator, ctx: Context, n_jobs: int, **resources: int) -> int:
    """A task whose jobs wait for pilots at ALPHA."""
    for queue in ("ALPHA", "BETA"):
        factory.call("POST", "pilot/acquire_jobs", an_ask(queue, prod_source_label="test"))
    form = a_task_form(f"mc.t{n_jobs}", site="ALPHA", n_jobs=n_jobs, resources=resources)
    task_id = int(factory.good("POST", "task/submit", {"request": form}))
    tell(ctx, task_id)
    return task_id


def a_worker(number: int = 1, **more: Any) -> dict[str, Any]:
    """A worker as `convert_to_propagate` makes it: what is unknown is left out."""
    return {
        "workerID": number, "batchID": "4711.0", "queueName": "ALPHA", "status": "running", "computingSite": "ALPHA",
        "nCore": 8, "nodeID": "wn1", "submitTime": DATE, "startTime": DATE, "jobType": "managed",
        "resourceType": "MCORE", "nativeStatus": "2", "nJobs": 1, "computingElement": "ce1.example.org",
        "syncLevel": 0, "submissionHost": "submit1.example.org", "harvesterHost": "harvester1.example.org",
        "minRamCount": 16000, "pandaid_list": [4711], "stdOut": "http://log/1.out",
    } | more  # fmt: skip


def get_jobs(factory: Communicator, n_jobs: int, **criteria: Any) -> tuple[list[dict[str, Any]], str]:
    """As Harvester's `get_jobs`: the jobs, and the words that its job fetcher compares."""
    asked = {
        "site_name": "ALPHA", "node": "harvester1", "prod_source_label": "managed", "computing_element": "harvester1",
        "n_jobs": n_jobs, "scheduler_id": f"harvester-{ME}",
    }  # fmt: skip
    data = factory.call("POST", "pilot/acquire_jobs", asked | criteria)["data"]
    if data["StatusCode"] == 0:
        return data["jobs"], "OK"
    return [], data["errorDialog"]


def test_check_panda_and_is_alive(factory: Communicator) -> None:
    assert factory.call("GET", "system/is_alive")["success"]
    beat = {"startTime": DATE, "sw_version": "0.7.5", "commit_stamp": "2026-03-01", "commands": [{"command": "X"}]}
    factory.good("POST", "harvester/heartbeat", {"harvester_id": ME, "data": beat})
    factory.good("POST", "harvester/heartbeat", {"harvester_id": ME, "data": {}})


def test_get_jobs_gives_several_at_once_and_the_words_of_an_empty_answer(factory: Communicator, ctx: Context) -> None:
    activated(factory, ctx, n_jobs=3)
    jobs, words = get_jobs(factory, 2)
    assert (len(jobs), words) == (2, "OK")
    for job in jobs:
        assert {"PandaID", "taskID", "attemptNr", "jobsetID", "currentPriority", "coreCount"} <= set(job)
        # What the stock pilots that Harvester submits download and run; our own pilot gets the program's bare name.
        assert job["transformation"].endswith("/trf/user/runRelease")
        assert f"--job={job['PandaID']} " in job["jobPars"]
    assert get_jobs(factory, 2, resourceType="MCORE") == ([], "No jobs in PanDA")
    more, _ = get_jobs(factory, 9, resourceType="SCORE")
    assert len({job["PandaID"] for job in (*jobs, *more)}) == 3
    assert get_jobs(factory, 2) == ([], "No jobs in PanDA")


def test_update_jobs_and_check_jobs(factory: Communicator, ctx: Context) -> None:
    activated(factory, ctx, n_jobs=2)
    jobs, _ = get_jobs(factory, 2)
    first, second = (job["PandaID"] for job in jobs)
    updates = [
        {"job_id": one, "site_name": "ALPHA", "job_status": "starting", "job_sub_status": None, "attempt_nr": 1}
        for one in (first, second, UNKNOWN)
    ]
    told = factory.good("POST", "pilot/update_jobs_bulk", {"job_list": updates, "harvester_id": ME})
    assert [one["success"] for one in told] == [True, True, False]
    assert told[0]["data"] == {"StatusCode": 0, "command": None}
    assert told[2]["data"]["command"] == "tobekilled"

    factory.good("POST", "job/kill", {"job_ids": [second]})
    checked = factory.good("GET", "job/get_status", {"job_ids": [first, second, UNKNOWN]})
    assert [one["status"] for one in checked] == ["starting", "starting", "unknown"]
    assert [one["command"] for one in checked] == [None, "tobekilled", "tobekilled"]

    output, log = jobs[0]["outFiles"].split(",")
    finished = {"job_id": first, "job_status": "finished", "attempt_nr": 1, "start_time": "2026-11-22 12:00:00"}
    finished |= {"end_time": "2026-11-22 12:30:00", "core_count": 1, "meta_data": "{}"}
    finished |= {"job_output_report": json.dumps({output: a_file(), log: a_file()})}
    cancelled = {"job_id": second, "job_status": "failed", "job_sub_status": "cancelled", "attempt_nr": 1}
    told = factory.good("POST", "pilot/update_jobs_bulk", {"job_list": [finished, cancelled], "harvester_id": ME})
    assert [one["data"]["StatusCode"] for one in told] == [0, 0]
    checked = factory.good("GET", "job/get_status", {"job_ids": [first, second]})
    assert [one["status"] for one in checked] == ["holding", "holding"]


def test_get_commands_and_ack_commands(factory: Communicator, ctx: Context) -> None:
    factory.good("POST", "harvester/heartbeat", {"harvester_id": ME})
    wanted = {"harvester_id": ME, "n_commands": 5}
    assert factory.good("POST", "harvester/acquire_commands", wanted) == []
    harvester.give(ctx, set_workers("ALPHA", "managed", "SCORE", 7), "ann", harvester=ME)
    (command,) = factory.good("POST", "harvester/acquire_commands", wanted)
    assert command["command"] == "SET_N_WORKERS_JOBTYPE:ALPHA"
    assert (command["params"], command["ack_requested"]) == ({"managed": {"SCORE": 7}}, 1)
    assert factory.good("POST", "harvester/acquire_commands", wanted) == []
    factory.good("POST", "harvester/acknowledge_commands", {"command_ids": [command["command_id"]]})
    (kept,) = harvester.commands(ctx)
    assert kept.acknowledged_at is not None


def test_update_workers_and_their_statistics(factory: Communicator) -> None:
    workers = [a_worker(41), a_worker(42, batchID=4712, status="pending"), a_worker(43, computingSite="NOWHERE")]
    told = factory.good("POST", "harvester/update_workers", {"harvester_id": ME, "workers": workers})
    assert told == [True, True, False]
    assert factory.good("GET", "harvester/get_current_worker_id", {"harvester_id": ME}) == 42

    for running in (9, 2):
        numbers = {"managed": {"SCORE": {"running": running, "submitted": 1, "finished": 0, "to_submit": None}}}
        report = {"harvester_id": ME, "panda_queue": "ALPHA", "statistics": json.dumps(numbers)}
        factory.good("POST", "harvester/report_worker_statistics", report)
    assert factory.good("GET", "harvester/get_worker_statistics") == {
        "ALPHA": {ME: {"managed": {"SCORE": {"finished": 0, "running": 2, "submitted": 1, "to_submit": 0}}}}
    }


def test_get_resource_types_and_job_statistics(factory: Communicator, ctx: Context) -> None:
    types = factory.good("GET", "metaconfig/get_resource_types")
    assert [one["resource_name"] for one in types] == ["SCORE", "SCORE_HIMEM", "MCORE", "MCORE_HIMEM"]
    assert {"mincore", "maxcore", "minrampercore", "maxrampercore"} < set(types[0])

    activated(factory, ctx, n_jobs=3)
    assert len(get_jobs(factory, 2)[0]) == 2
    activated(factory, ctx, n_jobs=2, cores=8)
    assert factory.good("GET", "statistics/active_job_stats_by_site") == {
        "ALPHA": {"assigned": 0, "activated": 3, "running": 0, "sent": 2},
        "BETA": {"assigned": 0, "activated": 0, "running": 0},
    }
    assert factory.good("GET", "statistics/active_job_detailed_stats_by_site") == {
        "ALPHA": {
            "SCORE": {"managed": {"assigned": 0, "activated": 1, "running": 0, "sent": 2}},
            "MCORE": {"managed": {"assigned": 0, "activated": 2, "running": 0}},
        }
    }


def test_send_dialog_messages_and_update_service_metrics(factory: Communicator, ctx: Context) -> None:
    dialog = {
        "diagID": 5, "moduleName": "submitter", "identifier": "queue=ALPHA", "messageLevel": "ERROR",
        "creationTime": "2026-11-22 12:30:00.123456", "diagMessage": "no slots\x07",
    }  # fmt: skip
    measured = [["2026-11-22 12:30:00.123456", "harvester1", json.dumps({"rss_mib": 12.5, "huge": 10**30})]]
    for _ in range(2):
        factory.good("POST", "harvester/add_dialogs", {"harvester_id": ME, "dialogs": [dialog]})
        factory.good("POST", "harvester/update_service_metrics", {"harvester_id": ME, "metrics": measured})
    (said,) = harvester.dialogs(ctx)
    assert (said.level, said.text, said.said_at) == ("ERROR", "no slots ", NOW)
    (found,) = harvester.metrics(ctx)
    assert (found.host, found.at, found.metrics) == ("harvester1", NOW, {"rss_mib": 12.5, "huge": 1e30})
    (shown,) = factory.good("GET", "monitor/harvester", {"show": "metrics"})
    assert shown["metrics"]["huge"] == 1e30


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("creds/get_proxy", {"role": "atlas:/atlas/Role=production"}),
        ("creds/get_token_key", {"client_name": "pilot_server"}),
        ("creds/get_access_token", {"client_name": "pilot_server", "token_key": "k"}),
        ("creds/get_key_pair", {"public_key_name": "a.pub", "private_key_name": "a.priv"}),
    ],
)
def test_credentials_are_none_here(factory: Communicator, path: str, asked: dict[str, Any]) -> None:
    """Its communicator then has no value and this message, and goes on with its own credentials."""
    answer = factory.call("GET", path, asked)
    assert (answer["success"], answer["data"]) == (False, None)
    assert answer["message"].startswith("none here")


def test_upload_file_keeps_the_pieces_of_a_growing_log(factory: Communicator) -> None:
    for piece in (b"first line\n", b"second line\n"):
        assert factory.upload("file_server/upload_jedi_log", "worker_41.out", zlib.compress(piece))["success"]
    assert factory.upload("file_server/update_jedi_log", "worker_41.out", b"third\n")["success"]
    where: dict[str, str | int] = {"log_name": "worker_41.out", "offset": 6}
    log = requests.get(f"{factory.base}/file_server/download_jedi_log", params=where, timeout=30)
    assert log.text == "line\nsecond line\nthird\n"
    for text in (b"old, and longer", b"executable = pilot"):
        url = factory.upload("file_server/upload_jedi_log", "jdl/worker_41.jdl", text)["data"]
    assert url.endswith("/api/v1/file_server/download_jedi_log?log_name=worker_41.jdl")
    where = {"log_name": "worker_41.jdl"}
    log = requests.get(f"{factory.base}/file_server/download_jedi_log", params=where, timeout=30)
    assert log.text == "executable = pilot"


def test_events_and_checkpoints_are_none_here(factory: Communicator) -> None:
    wanted = {"job_id": 4711, "task_id": 1, "jobset_id": None, "n_ranges": 10, "scattered": True}
    assert factory.good("POST", "event/acquire_event_ranges", wanted) == {"StatusCode": 0, "eventRanges": []}
    ranges = [{"eventRanges": [{"eventRangeID": "1-2-3-4-5", "eventStatus": "finished"}]}]
    updated = factory.good("POST", "event/update_event_ranges", {"event_ranges": json.dumps(ranges), "version": 1})
    assert updated == {"StatusCode": 0, "Returns": [False], "Commands": {}}
    asked = {"job_id": 4711, "jobset_id": "NULL", "task_id": 1}
    assert factory.good("GET", "event/get_available_event_range_count", asked) == 0
    pairs = json.dumps([{"task_id": 1, "job_id": 4711}])
    assert factory.good("GET", "event/get_event_range_statuses", {"job_task_ids": pairs}) == {}
    for path, body in (
        ("event/update_single_event_range", {"event_range_id": "1-2-3", "event_range_status": "finished"}),
        ("file_server/delete_hpo_checkpoint", {"task_id": 1, "sub_id": "2"}),
    ):
        assert "none here" in factory.call("POST", path, body)["message"]
    refused = factory.upload("file_server/upload_hpo_checkpoint", "1_2", b"x")
    assert (refused["success"], "none here" in refused["message"]) == (False, True)


def test_what_harvester_says_is_kept_and_shown(factory: Communicator, ctx: Context) -> None:
    factory.good(
        "POST", "harvester/heartbeat", {"harvester_id": ME, "data": {"startTime": DATE, "sw_version": "0.7.5"}}
    )
    factory.good("POST", "harvester/heartbeat", {"harvester_id": ME})
    factory.good("POST", "harvester/update_workers", {"harvester_id": ME, "workers": [a_worker(41)]})
    later = {"workerID": 41, "status": "finished", "computingSite": "ALPHA", "endTime": DATE, "diagMessage": "done"}
    factory.good("POST", "harvester/update_workers", {"harvester_id": ME, "workers": [later | {"nativeExitCode": 0}]})
    (one,) = harvester.instances(ctx)
    assert (one.name, one.version, one.started_at, one.host) == (ME, "0.7.5", NOW, "127.0.0.1")
    (worker,) = survey.workers(ctx, live=False)
    assert (worker.computing_element, worker.submission_host) == ("ce1.example.org", "submit1.example.org")
    assert (worker.status, worker.ended_at, worker.diag, worker.n_jobs) == ("finished", NOW, "done", 1)
    assert worker.details["nativeExitCode"] == "0"
    assert worker.details["stdOut"] == "http://log/1.out"


def test_commands_go_to_who_serves_the_queue_and_to_nobody_twice(factory: Communicator, ctx: Context) -> None:
    sweep = {"panda_queue": "ALPHA", "status_list": ["submitted"], "ce_list": "ALL", "submission_host_list": ["h1"]}
    assert "no Harvester instance" in factory.call("POST", "harvester/add_sweep_command", sweep)["message"]
    for name in (ME, "other"):
        factory.good("POST", "harvester/heartbeat", {"harvester_id": name})
    factory.good("POST", "harvester/update_workers", {"harvester_id": ME, "workers": [a_worker()]})
    assert list(factory.good("POST", "harvester/add_sweep_command", sweep)) == [ME]
    harvester.give(ctx, kill_worker_ids((1, 2)), "ann", harvester=ME)
    harvester.give(ctx, report_statistics("ALPHA"), "ann", harvester="other")
    with pytest.raises(NotFound, match="no Harvester instance 'nobody'"):
        harvester.give(ctx, report_statistics("ALPHA"), "ann", harvester="nobody")
    first = factory.good("POST", "harvester/acquire_commands", {"harvester_id": ME, "n_commands": 1})
    assert first[0]["params"] == {
        "status": ["submitted"], "computingSite": ["ALPHA"], "computingElement": "ALL", "submissionHost": ["h1"],
    }  # fmt: skip
    second = factory.good("POST", "harvester/acquire_commands", {"harvester_id": ME, "n_commands": 9})
    assert [(one["command"], one["params"]) for one in second] == [("SYNC_WORKERS_KILL", [1, 2])]
    numbers = [one["command_id"] for one in (*first, *second)]
    for says in ("2 acknowledged", "0 acknowledged"):
        answer = factory.call("POST", "harvester/acknowledge_commands", {"command_ids": [*numbers, 12345]})
        assert (answer["success"], answer["message"]) == (True, says)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("heartbeat", {}, "harvester_id"),
        ("heartbeat", {"harvester_id": ME, "data": {"startTime": "yesterday"}}, "data.startTime"),
        ("heartbeat", {"harvester_id": ME, "data": {"a": "\x00"}}, "data"),
        ("heartbeat", {"harvester_id": ME, "data": {"a": "x" * 200_000}}, "data"),
        ("update_workers", {"harvester_id": ME, "workers": [a_worker(), a_worker(status=None)]}, "workers[1].status"),
        (
            "update_workers",
            {"harvester_id": ME, "workers": [a_worker(submitTime="datetime/x")]},
            "workers[0].submitTime",
        ),
        ("report_worker_statistics", {"harvester_id": ME, "panda_queue": "ALPHA", "statistics": "{"}, "statistics"),
        (
            "report_worker_statistics",
            {"harvester_id": ME, "panda_queue": "ALPHA", "statistics": '{"a": {"b": {"c": -1}}}'},
            "statistics.a.b.c",
        ),
        ("add_dialogs", {"harvester_id": ME, "dialogs": [{"diagID": "x"}]}, "dialogs[0].diagID"),
        (
            "update_service_metrics",
            {"harvester_id": ME, "metrics": [["2026-11-22 12:30:00", "h", "["]]},
            "metrics[0][2]",
        ),
        ("acquire_commands", {"harvester_id": ME, "n_commands": 0}, "n_commands"),
        ("acknowledge_commands", {"command_ids": "1"}, "command_ids"),
        ("add_sweep_command", {"panda_queue": "ALPHA", "status_list": []}, "status_list"),
    ],
)
def test_wrong_requests_name_the_field_and_keep_nothing(
    factory: Communicator, engine: Engine, path: str, body: dict[str, Any], field: str
) -> None:
    answer = factory.call("POST", f"harvester/{path}", body)
    assert answer["success"] is False
    assert field in answer["data"]["fields"]
    tables = [table for table in schema.metadata.sorted_tables if table.name in KEPT]
    with engine.connect() as connection:
        kept = {name: connection.scalar(select(func.count()).select_from(name)) for name in tables}
    assert kept == dict.fromkeys(tables, 0)


def test_statistics_of_an_unknown_queue_are_refused(factory: Communicator) -> None:
    report = {"harvester_id": ME, "panda_queue": "NOWHERE", "statistics": "{}"}
    answer = factory.call("POST", "harvester/report_worker_statistics", report)
    assert answer["success"] is False
    assert "no queue 'NOWHERE'" in answer["message"]


@pytest.mark.parametrize(
    ("name", "piece", "says"),
    [
        ("..", b"x", "no name of a log"),
        (".hidden", b"x", "no name of a log"),
        ("a b", b"x", "no name of a log"),
        ("cut.out", zlib.compress(b"x" * 1000)[:-5], "ends too early"),
        ("broken.out", b"\x78\x9c" + b"\xff" * 20, "is not"),
        ("bomb.out", zlib.compress(b"\0" * 30_000_000), "larger than 20 MiB"),
    ],
)
def test_what_is_no_log_is_refused(factory: Communicator, ctx: Context, name: str, piece: bytes, says: str) -> None:
    answer = factory.upload("file_server/upload_jedi_log", name, piece)
    assert answer["success"] is False
    assert says in answer["message"]
    assert not (ctx.settings.data_dir / "worker_logs").exists()


def test_a_log_does_not_grow_for_ever(factory: Communicator) -> None:
    piece = zlib.compress(b"\0" * 15_000_000)
    assert factory.upload("file_server/upload_jedi_log", "long.out", piece)["success"]
    refused = factory.upload("file_server/update_jedi_log", "long.out", piece)
    assert (refused["success"], "larger than 20 MiB" in refused["message"]) == (False, True)
    missing = requests.get(f"{factory.base}/file_server/download_jedi_log", params={"log_name": "none"}, timeout=30)
    assert "there is no log 'none'" in missing.json()["message"]
