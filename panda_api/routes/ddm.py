"""Route of the data management: notifications of transfers, signed with the key both sides know."""

from typing import Annotated

from fastapi import APIRouter

from panda.services import activate
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit_signed
from panda_api.wire.ddm import Notification

router = APIRouter(prefix="/api/v1/ddm", tags=["ddm"], route_class=WireRoute)


@router.post("/notify", response_model=Envelope)
def notify(told: Notification, ctx: Ctx, _caller: Annotated[Identity, permit_signed(Policy.NOTIFY)]) -> WireResponse:
    """Take entries of the feed; bunches whose last block arrived are activated before the answer. `data`: how many."""
    return succeeded(activate.on_ddm_events(ctx, [one.event() for one in told.events]))
