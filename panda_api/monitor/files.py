"""The files of the pages: style, scripts, the icon, and the licences of what is not ours."""

from typing import Annotated

from fastapi import Response

from panda.errors import NotFound
from panda_api.monitor import show
from panda_api.monitor.routes import router
from panda_api.security import Identity, Policy, permit

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}


@router.get("/monitor/static/{name:path}")
async def static(name: str, _caller: Annotated[Identity, permit(Policy.PUBLIC)]) -> Response:
    """A file of the pages: style, scripts, the icon."""
    known = {path.relative_to(show.STATIC).as_posix(): path for path in show.STATIC.rglob("*.*")}
    if name not in known:
        raise NotFound(f"there is no file {name!r} of the monitor", hint="the pages name what there is")
    path = known[name]
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers=headers)
