"""The route of sites: switch one on or off."""

from typing import Annotated

from fastapi import APIRouter

from panda.services import control
from panda_api.body import WireRoute
from panda_api.context import ASYNCHRONOUS, Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit
from panda_api.wire.site import SetSiteStatus

router = APIRouter(prefix="/api/v1/site", tags=["site"], route_class=WireRoute)


@router.post("/set_status", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def set_status(wanted: SetSiteStatus, ctx: Ctx, caller: Annotated[Identity, permit(Policy.SET_SITES)]) -> WireResponse:
    """Set a site's status. Jobs waiting at a site that goes off are brokered again after the answer."""
    control.set_site_status(ctx, wanted.site, wanted.status, caller.name, wanted.comment)
    return succeeded(0, "accepted")
