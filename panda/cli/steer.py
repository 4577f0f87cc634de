"""Owns `panda kill|pause|resume|retry|finish|priority|debug`: what people may do to tasks and jobs that run.

Each answers when the order is stored; the conductor, or Bamboo, carries it out.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, one_command, print_json
from panda.cli.remote import Api, api

AT_ONCE = 1000
"""Jobs of one call: the API takes no more."""

TaskId = Annotated[
    int, typer.Argument(metavar="ID", help="The production task's number.", autocompletion=complete.tasks)
]

Why = Annotated[str, typer.Option(help="The reason, for everybody to read.")]


class Kind(StrEnum):
    """What can be killed."""

    TASK = "task"
    JOB = "job"


def kill(
    kind: Annotated[Kind, typer.Argument(help="What the numbers stand for.")],
    numbers: Annotated[list[int], typer.Argument(metavar="ID...", help="Their numbers.")],
    *,
    why: Why = "killed by hand",
    as_json: AsJson = False,
) -> None:
    """Kill jobs or whole tasks; running jobs hear it with their next heartbeat. Exit code 1: some had ended already."""
    with api() as panda:
        if kind is Kind.JOB:
            done = dict(zip(numbers, _kill_jobs(panda, numbers, why), strict=True))
        else:
            for number in numbers:
                panda.post("/api/v1/task/kill", {"task_id": number, "why": why})
            done = dict.fromkeys(numbers, True)
    if as_json:
        print_json(done)
    else:
        for number, killed in done.items():
            print(f"{kind.value} {number}: {'is being killed' if killed else 'has ended already or never existed'}")
    if not all(done.values()):
        raise typer.Exit(1)


def _kill_jobs(panda: Api, numbers: list[int], why: str) -> list[bool]:
    killed: list[bool] = []
    for start in range(0, len(numbers), AT_ONCE):
        order = {"job_ids": numbers[start : start + AT_ONCE], "why": why}
        killed += panda.post("/api/v1/job/kill", order).data
    return killed


def pause(task_id: TaskId, *, why: Why = "paused", as_json: AsJson = False) -> None:
    """Hold a task: no further job is handed out, running ones go on."""
    said = f"Task {task_id} is on hold; `panda resume {task_id}` lets it go on."
    _order("pause", {"task_id": task_id, "why": why}, said, as_json)


def resume(task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Let a task on hold go on."""
    _order("resume", {"task_id": task_id}, f"Task {task_id} goes on.", as_json)


def finish(task_id: TaskId, *, as_json: AsJson = False) -> None:
    """End a task with what it has: waiting jobs are cancelled, running ones finish."""
    _order("finish", {"task_id": task_id}, f"Task {task_id} ends with what it has.", as_json)


def retry(task_id: TaskId, *, as_json: AsJson = False) -> None:
    """Try again what failed of a task; after its end the outputs go to new datasets."""
    _order("retry", {"task_id": task_id}, "Task {task_id}: {message}.", as_json)


def priority(
    task_id: TaskId,
    number: Annotated[int, typer.Argument(metavar="PRIORITY", min=0, max=30_000, help="The higher, the sooner.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Change a task's priority, for its waiting jobs too."""
    order = {"task_id": task_id, "priority": number}
    _order("change_priority", order, f"Task {task_id} has priority {number}.", as_json)


def debug(
    job_id: Annotated[int, typer.Argument(metavar="JOB", help="The job's number (PandaID).")],
    *,
    command: Annotated[
        str, typer.Option(help="What its pilot shall look at: debug (the end of the payload's output), or tail, ls, ..")
    ] = "debug",
    off: Annotated[bool, typer.Option("--off", help="Take the command back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have the pilot of a running job send what its payload prints, or what a command shows, with each heartbeat.

    `panda job JOB` shows what came. Commands: tail FILE, ls, du, ps, gdb, with paths in the job's folder.
    """
    wanted = "debugoff" if off else command
    with api() as panda:
        panda.post("/api/v1/job/set_command", {"job_id": job_id, "command": wanted})
    if as_json:
        print_json({"job_id": job_id, "command": wanted, "accepted": True})
    else:
        print(
            f"Job {job_id}: its pilot hears {wanted!r} with its next heartbeat; `panda job {job_id}` shows what came."
        )


def _order(command: str, body: Mapping[str, object], said: str, as_json: bool) -> None:
    """Give an order to a task and say what it means; the API's own words stand for `{message}`."""
    with api() as panda:
        answer = panda.post(f"/api/v1/task/{command}", body)
    if as_json:
        print_json({**body, "accepted": True, "message": answer.message})
    else:
        print(said.format(message=answer.message.removeprefix("accepted: "), **body))


kill_app, pause_app, resume_app = one_command(kill), one_command(pause), one_command(resume)
finish_app, retry_app, priority_app = one_command(finish), one_command(retry), one_command(priority)
debug_app = one_command(debug)
