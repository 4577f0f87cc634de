"""How a route reaches the outside world: the Context the app was built with."""

from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from panda.services.context import Context


async def _context_of(request: Request) -> Context:
    context = request.app.state.context
    if not isinstance(context, Context):
        raise TypeError("the app was built without a Context")
    return context


Ctx: TypeAlias = Annotated[Context, Depends(_context_of)]
"""Parameter of a route: database, data manager, settings, clock."""

ASYNCHRONOUS = {"x-asynchronous": True}
"""`openapi_extra` of a call that answers when its work is recorded, not done (docs/reference/api-calls.md)."""
