"""The monitor's addresses: every page is read in one snapshot, a wrong address is answered with what would be right."""

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from typing_extensions import override

from panda.errors import BadRequest, Forbidden, NotFound, PandaError, Unavailable
from panda.services import monitor
from panda.services.context import Context
from panda_api.context import Ctx
from panda_api.monitor import asked as asking
from panda_api.monitor import show
from panda_api.monitor.asked import Asked, Vocabulary
from panda_api.monitor.blocks import Page
from panda_api.security import Identity, Policy, permit_page

STATUS_OF: dict[type[PandaError], int] = {NotFound: 404, BadRequest: 400, Forbidden: 403, Unavailable: 503}
QUERY_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Look:
    """What a page is made from: one snapshot, the address understood, the parts of its path."""

    ctx: Context
    connection: Connection
    asked: Asked
    now: datetime
    path: dict[str, str]


@dataclass(frozen=True, slots=True)
class PageSpec:
    """A page: its path, what its address may say, and what makes it."""

    path: str
    vocabulary: Vocabulary
    make: Callable[[Look], Page]
    policy: Policy = Policy.LOOK


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        serve = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await serve(request)
            except PandaError as error:
                return _refused(request, error)
            except OperationalError as error:
                if getattr(error.orig, "pgcode", None) != QUERY_CANCELED:
                    raise
                return _refused(request, _TOO_MUCH)
            except DBAPIError as error:  # a number no column holds
                if not str(getattr(error.orig, "pgcode", "")).startswith("22"):
                    raise
                return _refused(request, BadRequest("a value in the address is impossible", hint="see the other pages"))

        return handler


_TOO_MUCH = Unavailable(
    "this page would take the database too long", hint="ask for less: fewer hours, one site, one task"
)

router = APIRouter(tags=["monitor"], route_class=PageRoute, include_in_schema=False)


def add(spec: PageSpec) -> None:
    """Give a page its route."""

    def serve(request: Request, ctx: Ctx, _caller: Annotated[Identity, permit_page(spec.policy)]) -> Response:
        return _served(spec, request, ctx)

    router.add_api_route(spec.path, serve, methods=["GET"], name=spec.path, response_class=Response)


def _served(spec: PageSpec, request: Request, ctx: Context) -> Response:
    with monitor.looking(ctx.engine) as connection:
        now = monitor.now(connection)
        asked = asking.read(
            request.url.path,
            request.query_params.multi_items(),
            request.headers.get("accept", ""),
            spec.vocabulary,
            now,
        )
        page = spec.make(Look(ctx, connection, asked, now, dict(request.path_params)))
    return show.shown(page, asked, now)


def _refused(request: Request, error: PandaError) -> Response:
    status = next((STATUS_OF[one] for one in type(error).__mro__ if one in STATUS_OF), 500)
    accept = request.headers.get("accept", "")
    as_json = "json" in request.query_params or "application/json" in accept.split(",")[0]
    return show.refused(error, request.url.path, status, as_json=as_json)


def number_of(look: Look, name: str) -> int:
    """A number in the path; raises NotFound where it is none."""
    text = look.path[name]
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise NotFound(f"{text!r} is no number", hint="tasks and jobs have whole numbers as names")
    return int(text)


def whole(text: str) -> int:
    """A number in the query; raises BadRequest where it is none."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadRequest(f"{text!r} is no number", hint="write id=17 or id=17|18")
    return int(text)
