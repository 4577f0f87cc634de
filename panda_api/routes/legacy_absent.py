"""Legacy methods of things this server does not have: proxies, key pairs, secrets, tokens, events.

Each answers "none here" in the shape that stock clients read, so that they go on (wire-protocol.md 4.1).
"""

from typing import Annotated

from fastapi import APIRouter

from panda_api.body import WireRoute
from panda_api.envelope import WireResponse
from panda_api.render import STATUS_OK
from panda_api.routes.legacy import LegacyAnswer
from panda_api.security import Identity, Policy, permit

router = APIRouter(prefix="/server/panda", tags=["legacy"], route_class=WireRoute)

STATUS_MISSING_KEY, STATUS_PROXY_ERROR = 80, 90
Pilot = Annotated[Identity, permit(Policy.TAKE_JOBS)]


@router.get("/isAlive", response_model=LegacyAnswer)
@router.post("/isAlive", response_model=LegacyAnswer)
async def is_alive(_caller: Annotated[Identity, permit(Policy.PUBLIC)]) -> WireResponse:
    """Answer; nothing behind the server is asked."""
    return WireResponse({"StatusCode": STATUS_OK, "alive": True})


@router.post("/getProxy", response_model=LegacyAnswer)
async def get_proxy(_caller: Pilot) -> WireResponse:
    """No proxies are kept here."""
    text = "this server keeps no proxies"
    return WireResponse({"StatusCode": STATUS_PROXY_ERROR, "errorDialog": text, "userProxy": ""})


@router.post("/getKeyPair", response_model=LegacyAnswer)
async def get_key_pair(_caller: Pilot) -> WireResponse:
    """No key pairs of object stores are kept here."""
    return WireResponse({"StatusCode": STATUS_MISSING_KEY, "errorDialog": "this server keeps no key pairs"})


@router.get("/get_access_token", response_model=LegacyAnswer)
async def get_access_token(_caller: Pilot) -> WireResponse:
    """No tokens are renewed here: a pilot goes on with the one it has."""
    text = "this server renews no tokens"
    return WireResponse({"StatusCode": STATUS_MISSING_KEY, "errorDialog": text, "userProxy": ""})


@router.post("/get_user_secrets")
async def get_user_secrets(_caller: Pilot) -> WireResponse:
    """No secrets of message brokers are kept here; a list of success and secrets, as pilots read it."""
    return WireResponse([False, {}])


@router.post("/getEventRanges", response_model=LegacyAnswer)
async def get_event_ranges(_caller: Pilot) -> WireResponse:
    """No job of ours is split into event ranges: there are none left, which ends a pilot's asking."""
    return WireResponse({"StatusCode": STATUS_OK, "eventRanges": []})


@router.post("/updateEventRanges", response_model=LegacyAnswer)
async def update_event_ranges(_caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]) -> WireResponse:
    """No event range is known here, so none was updated."""
    return WireResponse({"StatusCode": STATUS_OK, "Returns": [], "Command": {}})
