"""The application: every route, in front of it the guard of bodies and the hot calls, behind it the table of errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from panda.services.context import Context
from panda_api import errors, signs
from panda_api.body import BodyGuard
from panda_api.description import Api
from panda_api.errors import DefectGuard
from panda_api.hot import HotCalls, HotLanes
from panda_api.monitor.pages import every
from panda_api.routes import (
    absent,
    cache,
    ddm,
    file_server,
    harvester,
    health,
    job,
    legacy,
    legacy_absent,
    legacy_harvester,
    look,
    pilot,
    secret,
    site,
    statistics,
    system,
    task,
    task_info,
    trf,
    worker_log,
    worker_node,
)
from panda_api.security import check_every_route

ROUTERS = tuple(one.router for one in (
    pilot, job, task, harvester, statistics, worker_log, absent, site, system, ddm, cache, health,
    legacy, legacy_absent, legacy_harvester, trf, worker_node, look, file_server, secret, task_info,
))  # fmt: skip
THREADS = 20
"""Threads of the `def` routes: one for each connection that the engine's pool may have."""


class Application(Api):
    """The routes, and in front of them what a request passes before the framework sees it."""

    front: ASGIApp | None = None
    hot: HotCalls | None = None
    """What connections ask before the framework (panda_api.direct)."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["app"] = self
        await (self.front or self.by_routes)(scope, receive, send)

    async def by_routes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by the routes."""
        await super().__call__(scope, receive, send)


def build(context: Context) -> Application:
    """The application over a Context. Raises RuntimeError if a route states no policy."""
    app = Application(
        title="PanDA",
        version="1",
        description="The dispatch API: what pilots, factories, clients and the data management call.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.context = context
    for router in (*ROUTERS, every.router):
        app.include_router(router)
    errors.install(app)
    app.state.lanes = HotLanes(context)
    app.front = BodyGuard(DefectGuard(app.by_routes))
    app.hot = HotCalls(app, context, app.state.lanes)
    check_every_route(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    async with signs.given(app.state.context):
        app.state.lanes.batcher.start()
        app.state.lanes.parked.start()
        try:
            yield
        finally:
            await app.state.lanes.parked.stop()
            await app.state.lanes.batcher.stop()
