"""Owns the table of the client's functions: a good call of each, and what its own description says it returns."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_HERE: Mapping[str, str] = {
    "requestEventPicking": "no event index to pick from",
    "get_events_status": "no event service",
    "update_events": "no event service",
    "call_idds_command": "no iDDS",
    "call_idds_user_workflow_command": "no iDDS",
    "send_workflow_request": "no workflows of iDDS",
    "submit_workflow_tmp": "no workflows of iDDS",
    "submit_workflow": "no workflows of iDDS",
    "get_workflow_details": "no workflows of iDDS",
    "get_user_name_from_token": "reads the token, calls nobody",
    "get_new_token": "asks the token's issuer, not the server",
}
"""Functions that are not called, and why (wire-protocol.md 7: all but events, workflows, iDDS and HPO)."""


def functions_of(client: Path) -> set[str]:
    """The functions of the client's module for users that call somebody: decorated, or through its own HTTP client."""
    (module,) = client.glob("lib/python*/site-packages/pandaclient/Client.py")
    found = set()
    for one in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_") and not one.name.endswith("_internal"):
            names = {node.id for node in ast.walk(one) if isinstance(node, ast.Name)}
            if one.decorator_list or "_HttpClient" in names or f"{one.name}_internal" in names:
                found.add(one.name)
    return found - {"http_request_decorator"}


@dataclass(slots=True)
class World:
    """What the calls are about: tasks by what became of them, a job of the done one and one that runs, a sandbox."""

    done: int
    failed: int
    failed_too: int
    running: int
    job: int
    running_job: int
    parameters: Mapping[str, Any]
    sandbox: str
    inserted: int = 0

    def other_parameters(self) -> object:
        """The parameters of the running task under another name."""
        return _renamed(self.parameters, "user.tester.sleeps", "user.tester.inserted")

    def insert(self, value: Any) -> bool:
        """Remember the task that was inserted."""
        code, message = value
        self.inserted = int(message.rpartition("jediTaskID=")[2])
        return bool(code == 0 and self.inserted > self.running)


def _renamed(value: object, old: str, new: str) -> object:
    if isinstance(value, Mapping):
        return {key: _renamed(one, old, new) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, old, new) for one in value]
    return value.replace(old, new) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one function: its arguments, and whether what it returned beside status 0 is as it describes."""

    function: str
    arguments: Callable[[World], list[object]]
    good: Callable[[World, Any], bool]


LONG_AGO = "2009-01-01 00:00:00"
ACCEPTED = [True, 0]

CALLS: tuple[Call, ...] = (
    Call("hello", lambda _: [], lambda _, value: isinstance(value, str)),
    Call("get_cert_attributes", lambda _: [], lambda _, value: isinstance(value, dict)),
    Call("set_user_secret", lambda _: ["key", "value"], lambda _, value: value[0] is True),
    Call("get_user_secrets", lambda _: [], lambda _, value: value[0] is True and value[1]["key"] == "value"),
    Call("putFile", lambda world: [world.sandbox], lambda _, value: value == "True"),
    Call(
        "putFile", lambda world: [world.sandbox, False, False, True],
        lambda world, value: value == f"NewFileName:{world.sandbox}",
    ),
    Call("getFile", lambda world: [world.sandbox, "copy"], lambda _, value: value is True),
    Call("insertTaskParams", lambda world: [world.other_parameters()], World.insert),
    Call("getTaskStatus", lambda world: [world.done], lambda _, value: value == "done"),
    Call("getTaskParamsMap", lambda world: [world.running], lambda world, value: value == world.parameters),
    Call("getPandaIDsWithTaskID", lambda world: [world.done], lambda world, value: value == [world.job]),
    Call(
        "getJediTaskDetails", lambda world: [{"jediTaskID": world.done}, True, True],
        lambda world, value: (value["PandaID"], value["outDS"], value["status"])
        == ([world.job], "user.tester.calls_out.txt", "done"),
    ),
    Call("get_task_details_json", lambda world: [world.done], lambda _, value: value[1]["status"] == "done"),
    Call("get_parent_detailed_info", lambda world: [world.running],
         lambda _, value: value["taskName"] == "user.tester.sleeps.build"),
    Call("get_tasks_detailed_info_since", lambda _: [LONG_AGO],
         lambda world, value: {world.done, world.running} <= {one["jediTaskID"] for one in value}),
    Call("getJobIDsJediTasksInTimeRange", lambda _: [LONG_AGO], lambda world, value: str(world.done) in value),
    Call("get_files_in_datasets", lambda world: [world.done, "output"],
         lambda world, value: [file["lfn"] for one in value for file in one["files"]]
         == [f"user.tester.{world.done}._000001.out.txt"]),
    Call("get_job_descriptions", lambda world: [world.failed, True],
         lambda _, value: [one["transExitCode"] for one in value] == [3]),
    Call("getJobStatus", lambda world: [[world.job]],
         lambda world, value: [(one["PandaID"], one["jobStatus"]) for one in value] == [(world.job, "finished")]),
    Call("getFullJobStatus", lambda world: [[world.job]],
         lambda world, value: [(one["PandaID"], one["jobStatus"]) for one in value] == [(world.job, "finished")]),
    Call("getUserJobMetadata", lambda world: [world.done],
         lambda world, value: [one["PandaID"] for one in value] == [world.job]),
    Call("setDebugMode", lambda world: [world.running_job, True, False], lambda _, value: isinstance(value, str)),
    Call("increase_attempt_nr", lambda world: [world.running], lambda _, value: value == ACCEPTED),
    Call("reactivateTask", lambda world: [world.running], lambda _, value: value == [True, 1]),
    Call("pauseTask", lambda world: [world.running], lambda _, value: value == ACCEPTED),
    Call("resumeTask", lambda world: [world.running], lambda _, value: value == ACCEPTED),
    Call("retryTask", lambda world: [world.failed], lambda _, value: value[0] == 0),
    Call("reload_input", lambda world: [world.failed_too], lambda _, value: value == ACCEPTED),
    Call("finishTask", lambda world: [world.running], lambda _, value: value == ACCEPTED),
    Call("killJobs", lambda world: [[world.running_job]], lambda _, value: value == [True]),
    Call("killTask", lambda world: [world.inserted], lambda _, value: value == ACCEPTED),
    Call("send_file_recovery_request", lambda world: [world.done],
         lambda _, value: value[0] is False and "copied again" in value[1]),
)  # fmt: skip
"""In the order in which they can be made. `submitJobs` takes objects: it is called by a test of its own."""
