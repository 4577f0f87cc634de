"""Routes of users' secrets."""

import json
from typing import Annotated

from fastapi import APIRouter

from panda.services import secret
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit
from panda_api.wire.secret import SetSecret

router = APIRouter(prefix="/api/v1/creds", tags=["secrets"], route_class=WireRoute)

Keeper = Annotated[Identity, permit(Policy.KEEP_SECRETS)]


@router.post("/set_user_secrets", response_model=Envelope)
def set_user_secrets(wanted: SetSecret, ctx: Ctx, caller: Keeper) -> WireResponse:
    """Keep, replace or forget a secret of the caller."""
    secret.put(ctx, caller.name, wanted.key, wanted.value)
    return succeeded("OK")


@router.get("/get_user_secrets", response_model=Envelope)
def get_user_secrets(ctx: Ctx, caller: Keeper) -> WireResponse:
    """The caller's secrets, as JSON text."""
    return succeeded(json.dumps(secret.of(ctx, caller.name)))
