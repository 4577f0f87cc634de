"""Harvester's old fork on the wire: forms with lists as JSON text, answers as its communicator takes them apart."""

import json
import pickle
from typing import Any

from panda.domain.harvester import set_workers
from panda.services import harvester, read
from panda.services.context import Context
from tests.api.test_harvester import DATE, a_worker
from tests.api.test_legacy import ACCEPTED, LEGACY, LOG, OUTPUT, asked, ended, pypi_pilot, told, xml
from tests.api.test_routes import submitted
from tests.support.serving import Caller

ME = "harvester_old"


def taken(caller: Caller, n_jobs: int) -> list[dict[str, Any]]:
    """As its `get_jobs`: a list even of one."""
    answer = pypi_pilot(caller, "getJob", asked(nJobs=n_jobs, schedulerID=f"harvester-{ME}")).json()
    assert answer["StatusCode"] == 0, answer
    return list(answer["jobs"])


def updated(caller: Caller, *updates: object) -> list[dict[str, Any]]:
    """As its `update_jobs`: a pair, and in each result the text of an answer under `content`."""
    form = {"jobList": json.dumps(updates), "harvester_id": ME}
    good, results = pypi_pilot(caller, "updateJobsInBulk", form).json()
    assert good is True
    return [json.loads(one["content"]) for one in results]


def test_jobs_are_taken_and_updated_many_at_once(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx, n_jobs=2)
    first, second = taken(caller, 5)
    assert first["transformation"].endswith("/trf/user/runRelease")
    assert pypi_pilot(caller, "getJob", asked(nJobs=5)).json()["StatusCode"] == 20
    started = {"startTime": "2026-11-22 12:00:00", "jobSubStatus": None}
    heard = updated(
        caller, told(first, "starting") | started, told(second, "flying"), "x",
        told({"PandaID": 999, "attemptNr": 1}, "running"),
    )  # fmt: skip
    assert heard[0] == json.loads(ACCEPTED)
    assert ("state" in heard[1]["ErrorDiag"], heard[1]["StatusCode"]) == (True, 50)
    assert "object" in heard[2]["ErrorDiag"]
    assert heard[3]["command"] == "tobekilled"
    assert [one.status.value for one in read.jobs(ctx, [first["PandaID"], second["PandaID"]])] == ["starting", "sent"]

    final = told(first, "finished", **ended()) | {"xml": xml(OUTPUT, LOG), "endTime": "2026-11-22 12:30:00"}
    assert updated(caller, final, final) == [json.loads(ACCEPTED)] * 2
    assert read.jobs(ctx, [first["PandaID"]])[0].status.value == "holding"
    refused = pypi_pilot(caller, "updateJobsInBulk", {"jobList": "[{"}).json()
    assert (refused["StatusCode"], "jobList" in refused["ErrorDiag"]) == (50, True)


def test_workers_commands_and_numbers_of_jobs(caller: Caller, ctx: Context) -> None:
    workers = [a_worker(41, startTime=DATE), a_worker(42, computingSite="NOWHERE")]
    form = {"harvesterID": ME, "workers": json.dumps(workers)}
    assert pypi_pilot(caller, "updateWorkers", form).json() == [True, [True, False]]
    wrong = pypi_pilot(caller, "updateWorkers", {"harvesterID": ME, "workers": json.dumps([{"workerID": "x"}])}).json()
    assert "workers[0].workerID" in wrong["fields"]

    life = {"harvesterID": ME, "data": json.dumps({"startTime": DATE})}
    assert pypi_pilot(caller, "harvesterIsAlive", life).json() == [True, "OK"]
    harvester.give(ctx, set_workers("ALPHA", "managed", "SCORE", 7), "ann", harvester=ME)
    wanted = {"harvester_id": ME, "n_commands": "5"}
    (command,) = pypi_pilot(caller, "getCommands", wanted).json()["Commands"]
    assert command["command"] == "SET_N_WORKERS_JOBTYPE:ALPHA"
    assert pypi_pilot(caller, "getCommands", wanted).json() == {"StatusCode": 0, "Commands": []}
    done = {"command_ids": json.dumps([command["command_id"]])}
    assert pypi_pilot(caller, "ackCommands", done).json() == {"StatusCode": 0}
    (kept,) = harvester.commands(ctx)
    assert kept.acknowledged_at is not None

    submitted(caller, ctx, n_jobs=3)
    taken(caller, 1)
    answer = caller.post(f"{LEGACY}/getJobStatisticsPerSite", data="")
    numbers = pickle.loads(answer.content)  # noqa: S301 - as the client does
    assert numbers["ALPHA"] == {"assigned": 0, "activated": 2, "running": 0, "sent": 1}
