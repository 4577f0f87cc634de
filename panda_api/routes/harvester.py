"""Routes of pilot factories: the demand of the queues, what becomes of the pilots, Harvester's own words."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from panda.services import harvester, supply
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.render import wire_command, wire_demand
from panda_api.security import Identity, Policy, permit
from panda_api.wire.fields import Name
from panda_api.wire.harvester import (
    AcknowledgeCommands,
    AcquireCommands,
    AddDialogs,
    GiveCommand,
    Heartbeat,
    ReportStatistics,
    SweepCommand,
    UpdateMetrics,
    UpdateWorkers,
)

router = APIRouter(prefix="/api/v1/harvester", tags=["harvester"], route_class=WireRoute)

Reader = Annotated[Identity, permit(Policy.READ_DEMAND)]
Reporter = Annotated[Identity, permit(Policy.REPORT_WORKERS)]
Commanded = Annotated[Identity, permit(Policy.TAKE_COMMANDS)]
Commander = Annotated[Identity, permit(Policy.GIVE_COMMANDS)]


@router.get("/demand", response_model=Envelope)
def demand(ctx: Ctx, _caller: Reader) -> WireResponse:
    """What every queue wants now: ready jobs, running pilots, limits (domain.md 2.8)."""
    return succeeded([wire_demand(one) for one in supply.demand(ctx)])


@router.post("/update_workers", response_model=Envelope)
def update_workers(told: UpdateWorkers, ctx: Ctx, _caller: Reporter) -> WireResponse:
    """Keep what a factory says of its pilots; one true or false for each (false: unknown queue or status)."""
    return succeeded(supply.report_workers(ctx, [one.report(told.harvester_id) for one in told.workers]))


@router.get("/get_current_worker_id", response_model=Envelope)
def get_current_worker_id(harvester_id: Annotated[Name, Query()], ctx: Ctx, _caller: Reader) -> WireResponse:
    """The highest worker number known of a factory, 0 for a new one."""
    return succeeded(supply.last_worker_id(ctx, harvester_id))


@router.post("/heartbeat", response_model=Envelope)
def heartbeat(told: Heartbeat, request: Request, ctx: Ctx, caller: Reporter) -> WireResponse:
    """Keep a sign of life of a Harvester instance."""
    host = request.client.host if request.client else ""
    harvester.heartbeat(ctx, told.beat(caller.name, host))
    return succeeded()


@router.post("/report_worker_statistics", response_model=Envelope)
def report_worker_statistics(told: ReportStatistics, ctx: Ctx, _caller: Reporter) -> WireResponse:
    """Let these numbers be what an instance has at a queue."""
    harvester.report_statistics(ctx, told.harvester_id, told.panda_queue, told.statistics)
    return succeeded()


@router.get("/get_worker_statistics", response_model=Envelope)
def get_worker_statistics(ctx: Ctx, _caller: Reader) -> WireResponse:
    """Workers by queue, instance, job type, resource type and status, as reported in the last 4 hours."""
    found: dict[str, dict[str, dict[str, dict[str, dict[str, int]]]]] = {}
    for one in harvester.statistics(ctx):
        kinds = found.setdefault(one.queue, {}).setdefault(one.harvester, {}).setdefault(one.job_type, {})
        kinds.setdefault(one.resource_type, {})[one.status] = one.n
    return succeeded(found)


@router.post("/add_dialogs", response_model=Envelope)
def add_dialogs(told: AddDialogs, ctx: Ctx, _caller: Reporter) -> WireResponse:
    """Keep messages of Harvester's agents for operators."""
    harvester.add_dialogs(ctx, told.harvester_id, [one.dialog(ctx.clock()) for one in told.dialogs])
    return succeeded()


@router.post("/update_service_metrics", response_model=Envelope)
def update_service_metrics(told: UpdateMetrics, ctx: Ctx, _caller: Reporter) -> WireResponse:
    """Keep measurements of Harvester's hosts."""
    harvester.add_metrics(ctx, told.harvester_id, told.measured())
    return succeeded()


@router.post("/acquire_commands", response_model=Envelope)
def acquire_commands(told: AcquireCommands, ctx: Ctx, _caller: Commanded) -> WireResponse:
    """Take the commands that wait for an instance; each is handed out once."""
    return succeeded(
        [wire_command(one) for one in harvester.fetch_commands(ctx, told.harvester_id, told.n_commands)]
    )  # fmt: skip


@router.post("/acknowledge_commands", response_model=Envelope)
def acknowledge_commands(told: AcknowledgeCommands, ctx: Ctx, _caller: Commanded) -> WireResponse:
    """Note that commands were carried out."""
    done = harvester.acknowledge(ctx, told.command_ids)
    return succeeded(message=f"{done} acknowledged")


@router.post("/add_sweep_command", response_model=Envelope)
def add_sweep_command(told: SweepCommand, ctx: Ctx, caller: Commander) -> WireResponse:
    """Have the instances that serve a queue kill its workers; `data`: the commands' numbers by instance."""
    given = harvester.give(ctx, told.order(), caller.name, queue=told.panda_queue)
    return succeeded({name: number for number, name in given})


@router.post("/give_command", response_model=Envelope)
def give_command(told: GiveCommand, ctx: Ctx, caller: Commander) -> WireResponse:
    """Leave a command for an instance, or for all that serve a queue; `data`: each one's number and instance."""
    wanted = told.order
    return succeeded(harvester.give(ctx, wanted.order(), caller.name, harvester=wanted.harvester, queue=wanted.queue))
