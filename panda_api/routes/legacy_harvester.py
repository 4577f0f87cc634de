"""Legacy methods of Harvester's old fork (wire-protocol.md 1): the services of `/api/v1`, the older answers.

A list is sent as JSON text in a form; answers to lists are pairs of success and results.
"""

import pickle
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError

from panda.domain.dispatch import JobUpdate
from panda.errors import BadRequest
from panda.services import harvester, supply
from panda_api.body import WireRoute
from panda_api.context import ASYNCHRONOUS, Ctx
from panda_api.envelope import WireResponse, as_json
from panda_api.errors import field_name, sentence
from panda_api.render import STATUS_INVALID, STATUS_OK, wire_command
from panda_api.routes.legacy import Lanes, LegacyAnswer, Told, body_of, update_answer
from panda_api.routes.statistics import job_numbers
from panda_api.security import Identity, Policy, permit
from panda_api.wire import legacy
from panda_api.wire.harvester import AcknowledgeCommands, AcquireCommands, Heartbeat, UpdateWorkers

router = APIRouter(prefix="/server/panda", tags=["legacy"], route_class=WireRoute)

Reporter = Annotated[Identity, permit(Policy.REPORT_WORKERS)]
Commanded = Annotated[Identity, permit(Policy.TAKE_COMMANDS)]
PAIR: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {}}}, "description": "Success, and the results in order."}
}


@router.post("/updateJobsInBulk", responses=PAIR, openapi_extra={**ASYNCHRONOUS, **body_of(("jobList",))})
async def update_jobs_in_bulk(
    told: Told, lanes: Lanes, _caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]
) -> WireResponse:
    """Updates of many jobs: for each `content`, the text of what updateJob answers; one unreadable spoils no other."""
    parts = [_part(one) for one in legacy.listed(told, "jobList")]
    answers = iter(await lanes.all_updated([one for one in parts if not isinstance(one, dict)]))
    told_back = [one if isinstance(one, dict) else update_answer(one.job_id, next(answers)) for one in parts]
    return WireResponse([True, [{"content": as_json(one).decode()} for one in told_back]])


def _part(told: object) -> JobUpdate | dict[str, object]:
    """One update of many: understood, or what its sender hears instead."""
    if not isinstance(told, dict):
        return {"StatusCode": STATUS_INVALID, "ErrorDiag": 'an update is an object: {"jobId": .., "state": ..}'}
    try:
        return legacy.update_of(told)
    except BadRequest as error:
        return {"StatusCode": STATUS_INVALID, "ErrorDiag": str(error)}
    except RequestValidationError as error:
        words = [sentence(field_name(one["loc"]), one) for one in error.errors()]
        return {"StatusCode": STATUS_INVALID, "ErrorDiag": "; ".join(words[:10])}


@router.post("/updateWorkers", responses=PAIR, openapi_extra=body_of(("harvesterID", "workers")))
def update_workers(told: Told, ctx: Ctx, _caller: Reporter) -> WireResponse:
    """Keep what a factory says of its pilots; true or false for each (false: unknown queue or status)."""
    names = {"harvesterID": "harvester_id", "workers": "workers"}
    said = legacy.read(UpdateWorkers, names, {**told, "workers": legacy.listed(told, "workers")})
    return WireResponse([True, supply.report_workers(ctx, [one.report(said.harvester_id) for one in said.workers])])


@router.post("/harvesterIsAlive", responses=PAIR, openapi_extra=body_of(("harvesterID", "data")))
def harvester_is_alive(request: Request, told: Told, ctx: Ctx, caller: Reporter) -> WireResponse:
    """Keep a sign of life of an instance: only one that is known gets commands."""
    beat = legacy.read(Heartbeat, {"harvesterID": "harvester_id", "data": "data"}, told)
    harvester.heartbeat(ctx, beat.beat(caller.name, request.client.host if request.client else ""))
    return WireResponse([True, "OK"])


@router.post("/getCommands", response_model=LegacyAnswer, openapi_extra=body_of(("harvester_id", "n_commands")))
def get_commands(told: Told, ctx: Ctx, _caller: Commanded) -> WireResponse:
    """Take the commands that wait for an instance; each is handed out once."""
    wanted = legacy.read(AcquireCommands, {"harvester_id": "harvester_id", "n_commands": "n_commands"}, told)
    found = harvester.fetch_commands(ctx, wanted.harvester_id, wanted.n_commands)
    return WireResponse({"StatusCode": STATUS_OK, "Commands": [wire_command(one) for one in found]})


@router.post("/ackCommands", response_model=LegacyAnswer, openapi_extra=body_of(("command_ids",)))
def ack_commands(told: Told, ctx: Ctx, _caller: Commanded) -> WireResponse:
    """Note that commands were carried out."""
    done = {"command_ids": legacy.listed(told, "command_ids")}
    harvester.acknowledge(ctx, legacy.read(AcknowledgeCommands, {"command_ids": "command_ids"}, done).command_ids)
    return WireResponse({"StatusCode": STATUS_OK})


@router.post(
    "/getJobStatisticsPerSite",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_job_statistics_per_site(ctx: Ctx, _caller: Annotated[Identity, permit(Policy.READ_DEMAND)]) -> Response:
    """Live jobs of each queue by state, pickled as the reference server's are: this caller reads nothing else."""
    return Response(pickle.dumps(job_numbers(ctx), protocol=0), media_type="application/octet-stream")
