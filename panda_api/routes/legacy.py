"""Legacy methods of stock pilots (`/server/panda/<method>`): jobs, updates, workers.

The work is done by the services of today's calls; here is only the older form: every method takes POST and GET, a form
or JSON, and answers bare JSON (wire-protocol.md 2 and 4).
"""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from panda.domain.dispatch import UpdateAnswer
from panda.domain.resource_types import RESOURCE_TYPES
from panda.errors import NotFound
from panda.services import control, dispatch, ownership, read, supply
from panda_api.body import WireRoute
from panda_api.context import ASYNCHRONOUS, Ctx
from panda_api.envelope import WireResponse
from panda_api.hot import HotLanes
from panda_api.render import NO_JOBS, STATUS_INVALID, STATUS_NO_JOBS, STATUS_OK, wire_resource_type
from panda_api.security import Identity, Policy, permit
from panda_api.transforms import stock_jobs
from panda_api.wire import legacy

router = APIRouter(prefix="/server/panda", tags=["legacy"], route_class=WireRoute)

NULL = "NULL"


class LegacyAnswer(BaseModel):
    """What legacy methods answer: a bare object. On failure the text stands in errorDialog and ErrorDiag."""

    model_config = ConfigDict(extra="allow")

    StatusCode: int = Field(description="0 ok, 10 and 30 try again, 20 no jobs, 50 refused, 70 not allowed.")


def body_of(names: Iterable[str]) -> dict[str, object]:
    """Write `openapi_extra`: the names of a method's fields, in a form or JSON; what they hold stands in /api/v1."""
    schema = {"type": "object", "properties": {one: {"type": ["string", "number", "boolean"]} for one in names}}
    kinds = ("application/x-www-form-urlencoded", "application/json")
    return {"requestBody": {"content": {kind: {"schema": schema} for kind in kinds}}}


async def _told(request: Request) -> dict[str, object]:
    return legacy.fields_of(await request.body())


async def _lanes_of(request: Request) -> HotLanes:
    lanes = request.app.state.lanes
    if not isinstance(lanes, HotLanes):
        raise TypeError("the app was built without lanes")
    return lanes


Told = Annotated[dict[str, object], Depends(_told)]
Lanes = Annotated[HotLanes, Depends(_lanes_of)]


@router.post("/getJob", response_model=LegacyAnswer, openapi_extra=body_of(legacy.ASK))
async def get_job(
    told: Told, ctx: Ctx, lanes: Lanes, _caller: Annotated[Identity, permit(Policy.TAKE_JOBS)]
) -> WireResponse:
    """One job that this node may run, as stock pilots run it; who says `nJobs` gets a list under `jobs`.

    Who says `taskID` gets jobs of that task only.
    """
    ask = legacy.ask_of(told)
    if ask.task_id is None:
        jobs = await lanes.acquired(ask)
    else:
        jobs = await run_in_threadpool(dispatch.acquire, ctx, ask)
    if not jobs:
        return WireResponse({"StatusCode": STATUS_NO_JOBS, "errorDialog": NO_JOBS})
    made = await run_in_threadpool(stock_jobs, ctx, ask.queue, jobs)
    return WireResponse({"StatusCode": STATUS_OK, "jobs": made} if "nJobs" in told else made[0])


@router.post("/updateJob", response_model=LegacyAnswer, openapi_extra={**ASYNCHRONOUS, **body_of(legacy.UPDATE)})
async def update_job(
    told: Told, lanes: Lanes, _caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]
) -> WireResponse:
    """Keep a pilot's word on its job; the answer may carry a command. Outputs are collected after the answer."""
    news = legacy.update_of(told)
    return WireResponse(update_answer(news.job_id, await lanes.updated(news)))


def update_answer(job_id: int, answer: UpdateAnswer) -> dict[str, object]:
    """What a pilot reads of the answer to its update; `NULL` is no command."""
    if not answer.known:
        text = f"there is no job {job_id}"
        return {"StatusCode": STATUS_INVALID, "ErrorDiag": text, "command": answer.command or "tobekilled"}
    return {"StatusCode": STATUS_OK, "command": answer.command or NULL}


@router.post("/getStatus", response_model=LegacyAnswer, openapi_extra=body_of(("ids",)))
def get_status(told: Told, ctx: Ctx, caller: Annotated[Identity, permit(Policy.READ_JOBS)]) -> WireResponse:
    """Status and attempt of jobs (`ids`, comma-joined), in order and comma-joined; "notfound" for an unknown one."""
    wanted = legacy.listed_ids(told)
    ids = [one for one in wanted if one is not None]
    ownership.check_jobs(ctx, caller, ids)
    found = {one.id: one for one in read.jobs(ctx, ids)}
    known = [found.get(one) if one is not None else None for one in wanted]
    return WireResponse(
        {
            "StatusCode": STATUS_OK,
            "status": ",".join("notfound" if one is None else one.status.value for one in known),
            "attemptNr": ",".join("0" if one is None else str(one.attempt) for one in known),
        }
    )


@router.post("/updateWorkerPilotStatus", response_model=LegacyAnswer, openapi_extra=body_of(legacy.WORKER))
def update_worker_pilot_status(
    told: Told, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.REPORT_WORKERS)]
) -> WireResponse:
    """Keep a pilot's word that it has started or finished."""
    report = legacy.worker_of(told)
    (kept,) = supply.report_workers(ctx, [report])
    if not kept:
        return WireResponse({"StatusCode": STATUS_INVALID, "ErrorDiag": f"there is no queue {report.queue!r}"})
    return WireResponse({"StatusCode": STATUS_OK})


@router.post("/setDebugMode", response_model=LegacyAnswer, openapi_extra=body_of(legacy.DEBUG))
def set_debug_mode(told: Told, ctx: Ctx, caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]) -> WireResponse:
    """Switch a job's debug mode; its pilot hears `debug` with its next heartbeat, or no longer."""
    wish = legacy.debug_of(told)
    if not control.set_debug(ctx, wish.job_id, caller.name, on=wish.mode_on):
        raise NotFound(f"no pilot has job {wish.job_id} in hand", hint="debug mode is for jobs that run")
    return WireResponse({"StatusCode": STATUS_OK})


@router.post("/getResourceTypes", response_model=LegacyAnswer)
async def get_resource_types(_caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]) -> WireResponse:
    """The resource types that jobs are sorted by."""
    types = [wire_resource_type(one) for one in RESOURCE_TYPES]
    return WireResponse({"StatusCode": STATUS_OK, "ResourceTypes": {"ResourceTypes": types}})
