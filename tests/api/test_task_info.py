"""What PanDA's clients read of tasks and jobs, and the commands that pbook sends beside them."""

import json
from typing import Any

import pytest

from panda.services import read
from panda.services.context import Context
from tests.api.requests_of import a_file, an_ask
from tests.api.test_routes import V1, bad, good, submitted, taken, update_of
from tests.domain.test_refine import prun
from tests.support.serving import Caller
from tests.support.telling import tell
from tests.support.tokens import headers_of

TASKS = f"{V1}/task/get_tasks_detailed_info_since"


def ids(caller: Caller, **filters: Any) -> list[int]:
    return [one["jediTaskID"] for one in good(caller.get(TASKS, filters=json.dumps(filters), n_tasks=100))]


def test_tasks_are_found_by_pbooks_filters(caller: Caller, ctx: Context) -> None:
    first, second = submitted(caller, ctx), submitted(caller, ctx, name="mc.t2")
    good(caller.post(f"{V1}/task/pause", {"task_id": second}))
    assert ids(caller) == [second, first]
    assert ids(caller, jediTaskID=str(first)) == [first]
    assert ids(caller, jediTaskID=f"{first}|{second}|5") == [second, first]
    assert ids(caller, reqID=first) == [first]
    assert ids(caller, taskName="mc.t2") == [second]
    assert ids(caller, taskName="mc.*") == [second, first]
    assert ids(caller, status="paused") == [second]
    assert ids(caller, status="running") == [first]
    assert ids(caller, superStatus="running") == [second, first]
    assert ids(caller, superStatus="submitting") == []
    assert ids(caller, userName="somebody") == []
    assert good(caller.get(TASKS, since="2199-01-01 00:00:00")) == []
    assert len(good(caller.get(TASKS, since="None", n_tasks=1))) == 1


@pytest.mark.parametrize("filters", ['{"colour": "red"}', "[]", "{", '{"jediTaskID": "x"}', '{"status": {}}'])
def test_a_filter_without_sense_is_refused(caller: Caller, filters: str) -> None:
    bad(caller.get(TASKS, filters=filters), "filter")


def test_users_find_their_own_tasks(caller: Caller, ctx: Context) -> None:
    ann, bob = (Caller(caller.address, headers_of(name, "atlas")) for name in ("Tester A", "Bob"))
    wanted = {"task_parameters": prun(site="ALPHA", vo="atlas")}
    task_id = good(ann.post(f"{V1}/task/submit", wanted))
    assert (ids(ann), ids(bob), ids(caller)) == ([task_id], [], [task_id])
    assert ids(ann, userName="Tester A") == [task_id]
    bad(bob.get(TASKS, filters='{"userName": "Tester A"}'), "your own only")
    told = good(ann.get(f"{V1}/task/get_task_parameters", task_id=task_id))
    assert told == wanted["task_parameters"]
    modified = good(ann.get(f"{V1}/task/get_tasks_modified_since", since="2009-01-01 00:00:00", dn="None"))
    assert modified == [task_id]
    full = {"since": "2009-01-01 00:00:00", "full": True, "min_task_id": "None", "prod_source_label": "user"}
    assert list(good(ann.get(f"{V1}/task/get_tasks_modified_since", **full))) == [str(task_id)]
    assert bad(bob.get(f"{V1}/task/get_task_parameters", task_id=task_id), "not Bob's") == 3


def test_a_name_that_is_taken_is_told_as_a_duplicate(caller: Caller) -> None:
    wanted = {"task_parameters": prun(site="ALPHA", vo="atlas")}
    task_id = good(caller.post(f"{V1}/task/submit", wanted))
    assert bad(caller.post(f"{V1}/task/submit", wanted), "exists already") == 2
    assert ids(caller) == [task_id]


def test_a_build_step_is_a_task_of_its_own_that_lists_do_not_show(caller: Caller, ctx: Context) -> None:
    spec = {"archiveName": "sources.1.tar.gz", "jobParameters": "-i ${IN} -o ${OUT} --sourceURL ${SURL} -r . "}
    task_id = good(
        caller.post(f"{V1}/task/submit", {"task_parameters": prun(site="ALPHA", vo="atlas", buildSpec=spec)})
    )
    assert ids(caller) == [task_id]
    build_step = good(caller.get(f"{V1}/task/get_parent_detailed_info", task_id=task_id))
    assert (build_step["taskName"], build_step["taskType"]) == ("user.tester.t1.build", "build")
    assert build_step["transPath"] == "http://127.0.0.1:25080/trf/user/buildGen"
    assert good(caller.get(f"{V1}/task/get_parent_detailed_info", task_id=build_step["jediTaskID"])) is None
    good(caller.post(f"{V1}/task/kill", {"task_id": task_id}))
    assert good(caller.get(f"{V1}/task/get_status", task_id=build_step["jediTaskID"])) == "aborting"


def test_files_and_jobs_of_a_task(caller: Caller, ctx: Context) -> None:
    task_id = submitted(caller, ctx, n_jobs=2)
    job = taken(caller)
    report = {"mc.t1._000001.root": a_file(), "mc.t1._000001.log.tgz": a_file()}
    good(caller.post(f"{V1}/pilot/update_job", update_of(job, "finished", job_output_report=report)))
    described = good(caller.get(f"{V1}/task/get_job_descriptions", task_id=task_id))
    assert sorted(one["jobStatus"] for one in described) == ["activated", "holding"]
    filled = ["--seed 1 --out mc.t1._000001.root", "--seed 2 --out mc.t1._000002.root"]
    assert [one["jobParameters"] for one in described] == filled
    assert good(caller.get(f"{V1}/task/get_job_descriptions", task_id=task_id, unsuccessful_only=True)) == []
    for call in ("get_description", "get_description_incl_archive"):
        (one,) = good(caller.post(f"{V1}/job/{call}", {"job_ids": [job["PandaID"]]}))
        assert (one["PandaID"], one["Files"], one["jobParameters"]) == (job["PandaID"], [], job["jobPars"])
    types = {"dataset_types": ["input", "output", "log"]}
    assert good(caller.get(f"{V1}/task/get_datasets_and_files", task_id=task_id, **types)) == []
    assert good(caller.get(f"{V1}/job/get_metadata_for_analysis_jobs", task_id=task_id)) == []


def test_debug_reaches_the_pilot_of_a_running_job_only(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx, n_jobs=2)
    job = taken(caller)
    good(caller.post(f"{V1}/job/set_debug_mode", {"job_id": job["PandaID"], "mode": True}))
    assert good(caller.post(f"{V1}/pilot/update_job", update_of(job, "running")))["command"] == "debug"
    good(caller.post(f"{V1}/job/set_debug_mode", {"job_id": job["PandaID"], "mode": False}))
    assert good(caller.post(f"{V1}/pilot/update_job", update_of(job, "running", stdout="a\nb")))["command"] is None
    told = read.whole_job(ctx, job["PandaID"]).stdout
    assert told is not None
    assert told.text == "a\nb"
    waiting = next(
        one for one in good(caller.get(f"{V1}/task/get_job_ids", task_id=10_000_000)) if one != job["PandaID"]
    )
    bad(caller.post(f"{V1}/job/set_debug_mode", {"job_id": waiting, "mode": True}), "no pilot holds it")
    bad(caller.post(f"{V1}/job/set_debug_mode", {"job_id": 999, "mode": True}), "no job 999")


def test_a_command_reaches_the_pilot_and_what_it_shows_comes_back(caller: Caller, ctx: Context) -> None:
    submitted(caller, ctx, n_jobs=2)
    job = taken(caller)
    number = job["PandaID"]

    def order(command: str, who: Caller = caller) -> Any:
        return who.post(f"{V1}/job/set_command", {"job_id": number, "command": command})

    def heard(**more: Any) -> Any:
        return good(caller.post(f"{V1}/pilot/update_job", update_of(job, "running", **more)))["command"]

    for command in ("tail payload.stdout", "ls -l work", "debug"):
        assert good(order(command)) is True
        assert heard() == heard() == command
    heard(stdout="what it saw")
    assert read.tail(ctx, number).text == "what it saw"  # type: ignore[union-attr]  # there is one
    assert good(order("debugoff")) is True
    assert heard() is None
    bad(order("rm -rf x"), "first word is none of tail")
    bad(order("ls -l", Caller(caller.address, headers_of("Bob"))), "not Bob's")
    assert heard() is None
    bad(caller.post(f"{V1}/job/set_command", {"job_id": number + 1, "command": "ls -l"}), "no pilot has job")
    bad(caller.post(f"{V1}/job/set_command", {"job_id": 999, "command": "ls -l"}), "no job 999")
    assert good(order("tobekilled")) is True
    assert heard() == "tobekilled"
    bad(order("ls -l"), "is being killed")
    assert good(order("debugoff")) is True
    assert heard() == "tobekilled"


def test_nobody_but_the_owner_looks_into_a_job_with_secrets(caller: Caller, ctx: Context) -> None:
    ann = Caller(caller.address, headers_of("Tester A", "atlas"))
    body = {"task_parameters": prun(site="ALPHA", vo="atlas", useSecrets=True)}
    task_id = good(ann.post(f"{V1}/task/submit", body))
    for queue in ("ALPHA", "BETA"):
        caller.post(f"{V1}/pilot/acquire_jobs", an_ask(queue, prod_source_label="user"))
    tell(ctx, task_id)
    job = taken(caller, prod_source_label="user")
    order = {"job_id": job["PandaID"], "command": "tail panda_secrets.json"}
    refused = caller.post(f"{V1}/job/set_command", order)
    assert "holds its owner's secrets" in refused.json()["message"]
    assert good(caller.post(f"{V1}/job/set_command", order | {"command": "debug"})) is True
    assert good(ann.post(f"{V1}/job/set_command", order)) is True


@pytest.mark.parametrize(
    ("more", "says"),
    [
        *(({key: "a\x00b"}, f"key '{key}' holds a NUL") for key in ("site", "architecture", "sourceURL", "vo")),
        ({"excludedSite": ["a\x00b"]}, "key 'excludedSite'[0] holds a NUL"),
        ({"log": {"type": "template", "value": "a\x00b"}}, "key 'log' key 'value' holds a NUL"),
        ({"a\x00b": 1}, "holds a NUL"),
        ({"nEventsPerJob": 2**31}, "events_per_job is 2147483648; at most 2147483647"),
        ({"coreCount": 2**15}, "cores is 32768; at most 10000"),
        ({"ramCount": 2**40}, "memory_mb is"),
        ({"maxWalltime": 2**40}, "wall_s is"),
        ({"cpuTime": 2**50}, "work_hs23_s is"),
        ({"nFilesPerJob": 2**31}, "files_per_job is"),
        ({"currentPriority": 30_001}, "priority is 30001; at most 30000"),
        ({"maxAttempt": 51}, "max_attempts is 51; at most 50"),
    ],
)
def test_what_the_database_cannot_hold_is_refused_by_its_name(caller: Caller, more: dict[str, Any], says: str) -> None:
    bad(caller.post(f"{V1}/task/submit", {"task_parameters": prun(site="ALPHA", vo="atlas") | more}), says)
    assert ids(caller) == []


def test_commands_beside_pbooks(caller: Caller, ctx: Context) -> None:
    task_id = submitted(caller, ctx)
    assert good(caller.post(f"{V1}/task/reactivate", {"task_id": task_id})) == 1
    assert good(caller.post(f"{V1}/task/increase_attempts", {"task_id": task_id, "increase": 4})) == 0
    assert (
        caller.post(f"{V1}/task/increase_attempts", {"task_id": task_id, "increase": 50})
        .json()["message"]
        .endswith("50 attempts")
    )
    assert bad(caller.post(f"{V1}/task/reload_input", {"task_id": task_id}), "no failed job") == 4
    for command in ("reactivate", "reload_input", "increase_attempts"):
        assert bad(caller.post(f"{V1}/task/{command}", {"task_id": 5}), "5") == 2


def test_a_request_to_recover_files_is_told_that_nobody_takes_it(caller: Caller, ctx: Context) -> None:
    task_id, path = submitted(caller, ctx), f"{V1}/file_server/upload_file_recovery_request"
    bad(caller.post(path, {"task_id": task_id, "dry_run": False}), "none here: a lost copy is copied again")
    bad(caller.post(path, {"task_id": 5}), "no production task 5")
    assert "not Bob's" in Caller(caller.address, headers_of("Bob")).post(path, {"task_id": task_id}).json()["message"]
    bad(caller.post(path, {"task_id": "x"}), "task_id")
