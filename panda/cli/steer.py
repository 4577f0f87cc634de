"""Owns `panda kill|pause|resume|retry|finish|priority`: what people may do to tasks and jobs that run.

Each answers when the order is stored; the conductor, or Bamboo, carries it out.
"""

from enum import StrEnum
from typing import Annotated

import typer

from panda.cli.asking import AsJson, connected, one_command, person, print_json
from panda.services import control

TaskId = Annotated[int, typer.Argument(metavar="ID", help="The production task's number.")]


class Kind(StrEnum):
    """What can be killed."""

    TASK = "task"
    JOB = "job"


def kill(
    kind: Annotated[Kind, typer.Argument(help="What the numbers stand for.")],
    numbers: Annotated[list[int], typer.Argument(metavar="ID...", help="Their numbers.")],
    *,
    why: Annotated[str, typer.Option(help="The reason, for everybody to read.")] = "killed by hand",
    as_json: AsJson = False,
) -> None:
    """Kill jobs or whole tasks; running jobs hear it with their next heartbeat. Exit code 1: some had ended already."""
    with connected() as ctx:
        if kind is Kind.JOB:
            done = control.kill_jobs(ctx, numbers, person(), why)
        else:
            for number in numbers:
                control.abort_task(ctx, number, person(), why)
            done = dict.fromkeys(numbers, True)
    if as_json:
        print_json(done)
    else:
        for number, killed in done.items():
            print(f"{kind.value} {number}: {'is being killed' if killed else 'has ended already or never existed'}")
    if not all(done.values()):
        raise typer.Exit(1)


def pause(
    task_id: TaskId, *, why: Annotated[str, typer.Option(help="The reason, for everybody to read.")] = "paused"
) -> None:
    """Hold a task: no further job is handed out, running ones go on."""
    with connected() as ctx:
        control.pause_task(ctx, task_id, person(), why)
    print(f"Task {task_id} is on hold; `panda resume {task_id}` lets it go on.")


def resume(task_id: TaskId) -> None:
    """Let a task on hold go on."""
    with connected() as ctx:
        control.resume_task(ctx, task_id, person())
    print(f"Task {task_id} goes on.")


def finish(task_id: TaskId) -> None:
    """End a task with what it has: waiting jobs are cancelled, running ones finish."""
    with connected() as ctx:
        control.finish_task(ctx, task_id, person())
    print(f"Task {task_id} ends with what it has.")


def retry(task_id: TaskId) -> None:
    """Try again what failed of a task; after its end the outputs go to new datasets."""
    with connected() as ctx:
        made = control.retry_task(ctx, task_id, person())
    print(f"Task {task_id}: {made} jobs get a new attempt.")


def priority(
    task_id: TaskId,
    number: Annotated[int, typer.Argument(metavar="PRIORITY", help="0 and more; the higher, the sooner.")],
) -> None:
    """Change a task's priority, for its waiting jobs too."""
    with connected() as ctx:
        control.set_priority(ctx, task_id, number, person())
    print(f"Task {task_id} has priority {number}.")


kill_app, pause_app, resume_app = one_command(kill), one_command(pause), one_command(resume)
finish_app, retry_app, priority_app = one_command(finish), one_command(retry), one_command(priority)
