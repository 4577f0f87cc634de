"""Routes of the configuration that pilots fetch, queue and storages: bare JSON without the envelope, as from CRIC."""

from typing import Annotated

from fastapi import APIRouter, Path

from panda.errors import NotFound
from panda.services import grid
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse
from panda_api.errors import answer_to
from panda_api.security import Identity, Policy, permit

router = APIRouter(prefix="/cache", tags=["cache"], route_class=WireRoute)


@router.get("/schedconfig/{queue}.all.json", responses={404: {"model": Envelope, "description": "No such queue."}})
def schedconfig(
    queue: Annotated[str, Path(max_length=255)], ctx: Ctx, _caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]
) -> WireResponse:
    """A queue as its pilots read it."""
    try:
        return WireResponse(grid.queue_view(ctx, queue))
    except NotFound as missing:
        answer = answer_to("/cache", missing)
        answer.status_code = 404
        return answer


@router.get("/schedconfig/pandaqueues.json")
def pandaqueues(ctx: Ctx, _caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]) -> WireResponse:
    """Every queue as its pilots read it, by name."""
    return WireResponse(grid.queue_views(ctx))


@router.get("/ddmendpoints.json")
def ddmendpoints(ctx: Ctx, _caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]) -> WireResponse:
    """Every storage element with its protocols, by name."""
    return WireResponse(grid.storages(ctx))
