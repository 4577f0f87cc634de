"""Routes of production tasks: submit, look, steer. Every command answers when it is recorded; its work follows."""

from typing import Annotated

from fastapi import APIRouter, Query

from panda.auth.permission import permitted
from panda.errors import Refused
from panda.services import control, ownership, preview, read, submit, survey, whatif
from panda_api.body import WireRoute
from panda_api.context import ASYNCHRONOUS, Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit
from panda_api.views import task_details, task_object, task_status
from panda_api.wire.task import (
    ChangePriority,
    FinishTask,
    IncreaseAttempts,
    PreviewTask,
    RetryTask,
    SubmitTask,
    TaskCommand,
    TaskId,
    TaskOrder,
    WhatIfTask,
)

router = APIRouter(prefix="/api/v1/task", tags=["task"], route_class=WireRoute)

Wanted = Annotated[TaskId, Query()]
Reader = Annotated[Identity, permit(Policy.READ_TASKS)]
Submitter = Annotated[Identity, permit(Policy.SUBMIT_TASKS)]
Steerer = Annotated[Identity, permit(Policy.STEER_TASKS)]

ACCEPTED = 0
"""PanDA's code of a command that was registered (wire-protocol.md 7)."""

REACTIVATED = 1


@router.post("/submit", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def submit_task(wanted: SubmitTask, ctx: Ctx, caller: Submitter) -> WireResponse:
    """Store a new production task; `data` is its id. Clouds, jobs and transfers follow after the answer."""
    request = permitted(caller, wanted.task(caller.name, f"{ctx.settings.api_url}/trf/user/"))
    task_id = submit.submit_task(ctx, request, caller.name)
    return succeeded(task_id, f"succeeded. new jediTaskID={task_id}")


@router.post("/preview", response_model=Envelope)
def preview_task(wanted: PreviewTask, ctx: Ctx, caller: Submitter) -> WireResponse:
    """What a request would become now: its jobs, cloud and first site, with every candidate. Nothing is stored."""
    expected = None
    if wanted.expected is not None:
        expected = preview.Expected(wanted.expected.files, wanted.expected.events_per_file)
    return succeeded(preview.preview(ctx, permitted(caller, wanted.request.request(caller.name)), expected))


@router.post("/what_if", response_model=Envelope)
def what_if(wanted: WhatIfTask, ctx: Ctx, caller: Reader) -> WireResponse:
    """The task's last brokerage decided again over what it saw, with changes, and the difference. Nothing is stored."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    return succeeded(whatif.what_if(ctx, wanted.task_id, wanted.changes, wanted.at))


@router.get("/get_status", response_model=Envelope)
def get_status(task_id: Wanted, ctx: Ctx, caller: Reader) -> WireResponse:
    """The task's status, one word."""
    ownership.check_tasks(ctx, caller, [task_id])
    return succeeded(task_status(read.task(ctx, task_id)))


@router.get("/get_details", response_model=Envelope)
def get_details(
    task_id: Wanted, ctx: Ctx, caller: Reader, include_parameters: bool = False, include_status: bool = False
) -> WireResponse:
    """The task's jobs and datasets, on request with its parameters and its status."""
    ownership.check_tasks(ctx, caller, [task_id])
    task = read.task(ctx, task_id)
    datasets = survey.datasets(ctx, task_id=task_id)
    details = task_details(task, read.job_ids(ctx, task_id), survey.task_inputs(ctx, task_id), datasets)
    if include_parameters:
        details["taskParams"] = {"transPath": task.transformation, "jobParameters": task.parameters}
    if include_status:
        details["status"] = task_status(task)
    return succeeded(details)


@router.get("/get_detailed_info", response_model=Envelope)
def get_detailed_info(task_id: Wanted, ctx: Ctx, caller: Reader) -> WireResponse:
    """Everything about one task and its progress."""
    ownership.check_tasks(ctx, caller, [task_id])
    return succeeded(task_object(read.task(ctx, task_id)))


@router.get("/get_job_ids", response_model=Envelope)
def get_job_ids(task_id: Wanted, ctx: Ctx, caller: Reader) -> WireResponse:
    """The ids of the task's jobs, every attempt."""
    ownership.check_tasks(ctx, caller, [task_id])
    read.task(ctx, task_id)
    return succeeded(read.job_ids(ctx, task_id))


@router.post("/kill", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def kill(wanted: TaskOrder, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Abort the task: its jobs are killed, running ones through their pilots' next heartbeat."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    control.abort_task(ctx, wanted.task_id, caller.name, wanted.why or "killed")
    return succeeded(ACCEPTED, "accepted")


@router.post("/finish", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def finish(wanted: FinishTask, ctx: Ctx, caller: Steerer) -> WireResponse:
    """End the task with what it has: jobs that wait are dropped, those in a pilot's hand run to their end."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    control.finish_task(ctx, wanted.task_id, caller.name)
    return succeeded(ACCEPTED, "accepted")


@router.post("/retry", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def retry(wanted: RetryTask, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Try what failed once more, in a task that ended finished or failed."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    if wanted.new_parameters:
        raise Refused("a retry runs the task as it is", hint="submit a new task with the new parameters")
    made = control.retry_task(ctx, wanted.task_id, caller.name)
    return succeeded(ACCEPTED, f"accepted: {made} jobs get a new attempt")


@router.post("/pause", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def pause(wanted: TaskOrder, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Hand out no more jobs of the task; running ones go on."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    control.pause_task(ctx, wanted.task_id, caller.name, wanted.why or "paused")
    return succeeded(ACCEPTED, "accepted")


@router.post("/resume", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def resume(wanted: TaskCommand, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Let a paused task go on."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    control.resume_task(ctx, wanted.task_id, caller.name)
    return succeeded(ACCEPTED, "accepted")


@router.post("/reactivate", response_model=Envelope)
def reactivate(wanted: TaskCommand, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Look at the task at once, whatever it waits for; `data` 1 is PanDA's code for that."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    control.look_again(ctx, wanted.task_id)
    return succeeded(REACTIVATED, "accepted")


@router.post("/reload_input", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def reload_input(wanted: TaskCommand, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Try again what failed. The contents of input datasets are taken once: what came to them later is a new task's."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    control.retry_task(ctx, wanted.task_id, caller.name)
    return succeeded(ACCEPTED, "accepted; the input is the one that was taken at first")


@router.post("/increase_attempts", response_model=Envelope)
def increase_attempts(wanted: IncreaseAttempts, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Let each part of the task fail more often before it is given up."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    limit = control.increase_attempts(ctx, wanted.task_id, wanted.increase, caller.name)
    return succeeded(ACCEPTED, f"at most {limit} attempts")


@router.post("/change_priority", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def change_priority(
    wanted: ChangePriority, ctx: Ctx, caller: Annotated[Identity, permit(Policy.SET_PRIORITY)]
) -> WireResponse:
    """Give the task another priority; jobs that wait are moved after the answer."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    control.set_priority(ctx, wanted.task_id, wanted.priority, caller.name)
    return succeeded(ACCEPTED, "accepted")
