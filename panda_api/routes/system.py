"""Routes about the server itself: that it lives, who the caller is to it, how it is doing."""

from typing import Annotated

from fastapi import APIRouter, Request

from panda_api.body import WireRoute
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit

router = APIRouter(prefix="/api/v1/system", tags=["system"], route_class=WireRoute)


@router.get("/is_alive", response_model=Envelope)
async def is_alive(_caller: Annotated[Identity, permit(Policy.PUBLIC)]) -> WireResponse:
    """Answer; nothing behind the server is asked (that is /healthz)."""
    return succeeded(message="alive=true")


@router.get("/get_attributes", response_model=Envelope)
async def get_attributes(request: Request, caller: Annotated[Identity, permit(Policy.WHO_AM_I)]) -> WireResponse:
    """Who the caller is to this server, and by what it was known."""
    environment = {
        "name": caller.name,
        "roles": ", ".join(sorted(caller.roles)),
        "known_by": caller.known_by,
        "vo": caller.vo or "",
        "nickname": caller.nickname,
        "groups": ", ".join(caller.groups),
        "REMOTE_ADDR": request.client.host if request.client else "",
    }
    return succeeded({"environment": environment})
