"""Routes by which PanDA's clients look at tasks: lists by filter, parameters, files, jobs."""

import json
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from pydantic import BeforeValidator

from panda.auth.identity import reach_of
from panda.domain.states import JobStatus
from panda.errors import BadRequest, NotFound, NotOwner
from panda.services import download, ownership, read, tasklist
from panda_api.body import WireRoute, parsed
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.errors import answer_to
from panda_api.security import Identity, Policy, permit
from panda_api.views import job_object, task_object
from panda_api.wire.fields import MaybeNumber, MaybeTime
from panda_api.wire.task import TaskId

router = APIRouter(prefix="/api/v1/task", tags=["task"], route_class=WireRoute)

MOST = 10_000
Wanted = Annotated[TaskId, Query()]
Reader = Annotated[Identity, permit(Policy.READ_TASKS)]
Since = Annotated[MaybeTime, Query(), BeforeValidator(lambda value: None if value == "None" else value)]
UNSUCCESSFUL = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.CLOSED)


@router.get("/get_tasks_detailed_info_since", response_model=Envelope)
def get_tasks_detailed_info_since(
    ctx: Ctx,
    caller: Reader,
    since: Since = None,
    n_tasks: Annotated[int, Query(ge=1, le=MOST)] = 500,
    filters: Annotated[str, Query(max_length=100_000)] = "",
) -> WireResponse:
    """Tasks in the caller's reach, newest first, by filters in JSON text: {"status": "running", ...}."""
    found = tasklist.search(ctx, caller, _filters(filters), since=since, limit=n_tasks)
    return succeeded([task_object(one) for one in found])


def _filters(text: str) -> dict[str, str]:
    try:
        value = parsed(text.encode()) if text not in {"", "None"} else {}
    except ValueError:
        raise BadRequest("filters is not JSON", hint='JSON text such as {"status": "running"}') from None
    if not isinstance(value, dict) or not all(isinstance(one, str | int) for one in value.values()):
        raise BadRequest("filters is no object of texts", hint='JSON text such as {"status": "running"}')
    return {key: str(one) for key, one in value.items()}


@router.get("/get_tasks_modified_since", response_model=Envelope)
def get_tasks_modified_since(
    since: Since,
    ctx: Ctx,
    caller: Reader,
    dn: Annotated[str, Query(max_length=1000)] = "",
    full: bool = False,
    min_task_id: Annotated[MaybeNumber, Query()] = None,
    prod_source_label: Annotated[str, Query(max_length=255)] = "",
) -> WireResponse:
    """Tasks that changed since a time, by id: each with its state, on request with everything."""
    if dn not in {"", "None", caller.name} and reach_of(caller).owner is not None:
        raise NotOwner(f"{dn}'s tasks are not {caller.name}'s", hint="leave dn out")
    filters = {"userName": dn} if dn not in {"", "None"} else {}
    found = [
        one
        for one in tasklist.search(ctx, caller, filters, since=since, limit=MOST)
        if one.id > (min_task_id or 0) and prod_source_label in {"", "None", one.label}
    ]
    if full:
        return succeeded({str(one.id): task_object(one) for one in found})
    return succeeded([one.id for one in found])


@router.get("/get_task_parameters", response_model=Envelope)
def get_task_parameters(task_id: Wanted, ctx: Ctx, caller: Reader) -> WireResponse:
    """The parameters as they were submitted; of a task that came in another form what says the same."""
    ownership.check_tasks(ctx, caller, [task_id])
    task = read.task(ctx, task_id)
    words = read.wire_parameters(ctx, task_id)
    plain = {"taskName": task.name, "vo": task.vo, "transPath": task.transformation, "jobParameters": task.parameters}
    return succeeded(plain if words is None else json.loads(words))


@router.get("/get_parent_detailed_info", response_model=Envelope)
def get_parent_detailed_info(task_id: Wanted, ctx: Ctx, caller: Reader) -> WireResponse:
    """Everything about the task that this one waits for or reads; null if there is none."""
    ownership.check_tasks(ctx, caller, [task_id])
    parent = read.task(ctx, task_id).parent_id
    if parent is None:
        return succeeded(None, "the task has no parent")
    ownership.check_tasks(ctx, caller, [parent])
    return succeeded(task_object(read.task(ctx, parent)))


@router.get("/get_datasets_and_files", response_model=Envelope)
def get_datasets_and_files(
    task_id: Wanted,
    ctx: Ctx,
    caller: Reader,
    dataset_types: Annotated[list[str], Query(max_length=20)] = ["input", "pseudo_input"],  # noqa: B006 - never changed
) -> WireResponse:
    """The task's datasets of some types (input, output, log), each with its files and what became of them."""
    ownership.check_tasks(ctx, caller, [task_id])
    read.task(ctx, task_id)
    datasets: dict[int, dict[str, object]] = {}
    files: dict[int, list[dict[str, object]]] = {}
    for one in tasklist.files(ctx, task_id, frozenset(dataset_types)):
        files.setdefault(one.dataset_id, []).append(
            {"lfn": one.lfn, "scope": one.scope, "id": one.number, "status": one.status}
        )
        datasets[one.dataset_id] = {"name": one.dataset, "id": one.dataset_id}
    return succeeded([{"dataset": about, "files": files[number]} for number, about in datasets.items()])


@router.get(
    "/get_output_file",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        404: {"model": Envelope, "description": "No such output."},
    },
)
def get_output_file(
    task_id: Wanted, lfn: Annotated[str, Query(min_length=1, max_length=255)], ctx: Ctx, caller: Reader
) -> Response:
    """One output of the task, as it is; get_datasets_and_files lists them."""
    ownership.check_tasks(ctx, caller, [task_id])
    try:
        return FileResponse(download.output_path(ctx, task_id, lfn), media_type="application/octet-stream")
    except NotFound as missing:
        answer = answer_to("/data", missing)
        answer.status_code = 404
        return answer


@router.get("/get_job_descriptions", response_model=Envelope)
def get_job_descriptions(task_id: Wanted, ctx: Ctx, caller: Reader, unsuccessful_only: bool = False) -> WireResponse:
    """Every job of the task, on request only those that failed or were cancelled."""
    ownership.check_tasks(ctx, caller, [task_id])
    read.task(ctx, task_id)
    jobs = read.jobs_of(ctx, task_id, UNSUCCESSFUL if unsuccessful_only else None)
    return succeeded([job_object(one) for one in read.with_parameters(ctx, jobs)])
