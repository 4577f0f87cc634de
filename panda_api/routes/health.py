"""The probe for supervisors and load balancers: does the database answer, are events folded."""

from typing import Annotated

from fastapi import APIRouter
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from panda.services import health
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import WireResponse
from panda_api.security import Identity, Policy, permit

router = APIRouter(tags=["system"], route_class=WireRoute)


@router.get("/healthz")
def healthz(ctx: Ctx, _caller: Annotated[Identity, permit(Policy.PUBLIC)]) -> WireResponse:
    """HTTP 200 while the database answers, else 503; with the age (s) of the last fold, null if there was none."""
    try:
        found = health.check(ctx)
    except (DBAPIError, PoolTimeoutError) as error:
        return WireResponse({"database": f"does not answer: {type(error).__name__}", "folded_age_s": None}, 503)
    return WireResponse({"database": "ok", "folded_age_s": found.folded_age_s})
