"""Routes of pilot factories: the demand of the queues, what becomes of the pilots."""

from typing import Annotated

from fastapi import APIRouter, Query

from panda.services import supply
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.render import wire_demand
from panda_api.security import Identity, Policy, permit
from panda_api.wire.pilot import UpdateWorkers

router = APIRouter(prefix="/api/v1/harvester", tags=["harvester"], route_class=WireRoute)


@router.get("/demand", response_model=Envelope)
def demand(ctx: Ctx, _caller: Annotated[Identity, permit(Policy.READ_DEMAND)]) -> WireResponse:
    """What every queue wants now: ready jobs, running pilots, limits (domain.md 2.8)."""
    return succeeded([wire_demand(one) for one in supply.demand(ctx)])


@router.post("/update_workers", response_model=Envelope)
def update_workers(
    told: UpdateWorkers, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.REPORT_WORKERS)]
) -> WireResponse:
    """Keep what a factory says of its pilots; one true or false for each (false: unknown queue or status)."""
    return succeeded(supply.report_workers(ctx, [one.report(told.harvester_id) for one in told.workers]))


@router.get("/get_current_worker_id", response_model=Envelope)
def get_current_worker_id(
    harvester_id: Annotated[str, Query(min_length=1, max_length=255)],
    ctx: Ctx,
    _caller: Annotated[Identity, permit(Policy.READ_DEMAND)],
) -> WireResponse:
    """The highest worker number known of a factory, 0 for a new one."""
    return succeeded(supply.last_worker_id(ctx, harvester_id))
