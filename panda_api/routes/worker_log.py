"""Routes of workers' logs: Harvester uploads them piece by piece, people read them."""

from typing import Annotated

from fastapi import APIRouter, Query, UploadFile
from fastapi.responses import PlainTextResponse

from panda.services import worker_logs
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit
from panda_api.wire.fields import Name

router = APIRouter(prefix="/api/v1/file_server", tags=["file_server"], route_class=WireRoute)

Reporter = Annotated[Identity, permit(Policy.REPORT_WORKERS)]


@router.post("/upload_jedi_log", response_model=Envelope)
def upload_jedi_log(file: UploadFile, ctx: Ctx, _caller: Reporter) -> WireResponse:
    """Keep a log: a zlib-compressed piece follows the pieces before it, a plain file replaces them. `data`: its URL."""
    return _kept(ctx, file, append=False)


@router.post("/update_jedi_log", response_model=Envelope)
def update_jedi_log(file: UploadFile, ctx: Ctx, _caller: Reporter) -> WireResponse:
    """Add a piece, zlib-compressed or plain, at the end of a log. `data`: its URL."""
    return _kept(ctx, file, append=True)


@router.get("/download_jedi_log", response_class=PlainTextResponse)
def download_jedi_log(
    log_name: Annotated[Name, Query()],
    ctx: Ctx,
    _caller: Annotated[Identity, permit(Policy.READ_JOBS)],
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
) -> PlainTextResponse:
    """What a log holds from `offset` (bytes) on, as plain text."""
    return PlainTextResponse(worker_logs.read(ctx, log_name, offset))


def _kept(ctx: Ctx, file: UploadFile, *, append: bool) -> WireResponse:
    name = (file.filename or "").rpartition("/")[2]
    size = worker_logs.add(ctx, name, file.file.read(), append=append)
    url = f"{ctx.settings.api_url}/api/v1/file_server/download_jedi_log?log_name={name}"
    return succeeded(url, f"{size} bytes kept")
