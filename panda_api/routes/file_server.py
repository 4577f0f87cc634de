"""Routes of the cache of users' files: sandboxes to upload, to find again, to fetch."""

import os
import shutil
from pathlib import Path as File
from tempfile import NamedTemporaryFile
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, UploadFile
from fastapi.responses import FileResponse, Response

from panda.errors import NotFound
from panda.services import sandbox
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, failed, succeeded
from panda_api.errors import answer_to
from panda_api.security import Identity, Policy, permit
from panda_api.wire.file_server import ValidateCacheFile

router = APIRouter(tags=["file server"], route_class=WireRoute)

NOT_FOUND = "NOTFOUND"
Keeper = Annotated[Identity, permit(Policy.KEEP_FILES)]


@router.post("/api/v1/file_server/validate_cache_file", response_model=Envelope)
def validate_cache_file(asked: ValidateCacheFile, ctx: Ctx, caller: Keeper) -> WireResponse:
    """Tell in the message whether the caller's cache has these contents: `FOUND:<host>:<name>` or `NOTFOUND`."""
    name = sandbox.find(ctx, caller.name, asked.file_size, asked.checksum)
    if name is None:
        return failed(NOT_FOUND)
    return succeeded(message=f"FOUND:{urlsplit(ctx.settings.api_url).hostname}:{name}")


@router.post("/api/v1/file_server/upload_cache_file", response_model=Envelope)
def upload_cache_file(file: UploadFile, ctx: Ctx, caller: Keeper) -> WireResponse:
    """Keep a file under its name: at most 768 MiB if that begins with `sources.`, else 10 MiB; never overwritten."""
    with NamedTemporaryFile(dir=sandbox.draft(ctx), delete=False) as sink:
        try:
            shutil.copyfileobj(file.file, sink)
            sink.flush()
            os.fsync(sink.fileno())
            sandbox.keep(ctx, caller.name, os.path.basename(file.filename or ""), File(sink.name))  # noqa: PTH119 - text
        finally:
            File(sink.name).unlink(missing_ok=True)
    return succeeded(message="uploaded")


@router.get(
    "/cache/{name}",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        404: {"model": Envelope, "description": "No such file."},
    },
)
def cache_file(
    name: Annotated[str, Path(max_length=255)], ctx: Ctx, _caller: Annotated[Identity, permit(Policy.FETCH_FILES)]
) -> Response:
    """A file as it was uploaded."""
    try:
        return FileResponse(sandbox.fetch(ctx, name), media_type="application/octet-stream")
    except NotFound as missing:
        answer = answer_to("/cache", missing)
        answer.status_code = 404
        return answer
