"""The application: every route, in front of it the guard of bodies, behind it the table of errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from panda.services.context import Context
from panda_api import errors, signs
from panda_api.body import BodyGuard
from panda_api.routes import (
    absent,
    cache,
    ddm,
    harvester,
    health,
    job,
    legacy,
    legacy_absent,
    look,
    pilot,
    site,
    statistics,
    system,
    task,
    trf,
    worker_log,
)
from panda_api.security import check_every_route

ROUTERS = tuple(one.router for one in (
    pilot, job, task, harvester, statistics, worker_log, absent, site, system, ddm, cache, health,
    legacy, legacy_absent, trf, look,
))  # fmt: skip
THREADS = 20
"""Threads of the `def` routes: one for each connection that the engine's pool may have."""


def build(context: Context) -> FastAPI:
    """The application over a Context. Raises RuntimeError if a route states no policy."""
    app = FastAPI(
        title="PanDA",
        version="1",
        description="The dispatch API: what pilots, factories, clients and the data management call.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.context = context
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(BodyGuard)
    check_every_route(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    async with signs.given(app.state.context):
        yield
