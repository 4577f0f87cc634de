"""Ways to pages: the search field, the log of a job as a file, and the addresses of the original (domain.md 5a, 5b)."""

from typing import Annotated
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from panda.domain.pattern import parse
from panda.errors import BadRequest, NotFound
from panda.services import joblog, monitor
from panda_api.context import Ctx
from panda_api.monitor.asked import ALIASES, address, only
from panda_api.monitor.pages.linked import dataset_page, site_page
from panda_api.monitor.routes import router, whole
from panda_api.security import Identity, Policy, permit_page

FIRST_TASK = 10_000_000
ORIGINAL = "/server/pandamon/query"
DASHES = {
    "prod": "/",
    "analysis": "/?label=user|panda",
    "clouds": "/",
    "site": "/sites",
    "ddm": "/ddm",
    "shares": "/shares",
}
OVERVIEWS = {
    "dslist": "/datasets",
    "errorlist": "/errors",
    "wnlist": "/errors",
    "prodlist": "/ddm",
    "taskinfo": "/tasks",
    "incidents": "/incidents",
}
KEPT = ("days", "hours", "site", "cloud", "vo")


@router.get("/find")
def find(ctx: Ctx, _caller: Annotated[Identity, permit_page(Policy.LOOK)], q: str = "") -> Response:
    """Lead to what has this number or name; several: to the list of those."""
    wanted = q.strip()
    if not wanted:
        raise BadRequest("nothing was looked for", hint="write a number of a task or job, or a part of a name")
    if wanted.isascii() and wanted.isdigit():
        number = whole(wanted)
        return RedirectResponse(f"/{'task' if number >= FIRST_TASK else 'job'}/{number}", 302)
    with monitor.looking(ctx.engine) as connection:
        if any(one["name"] == wanted for one in monitor.overview.sites(connection)):
            return RedirectResponse(site_page(wanted), 302)
        if monitor.data.dataset(connection, wanted) is not None:
            return RedirectResponse(dataset_page(wanted), 302)
        like = wanted if "*" in wanted else f"*{only(f'*{wanted}').removeprefix(chr(92) + '*')}*"
        named = {"taskname": parse(like)}
        span = monitor.Span(monitor.now(connection), monitor.now(connection))
        tasks = monitor.tasks.found(connection, monitor.tasks.TasksWanted(span, named), sort="id", limit=1, offset=0)
    place, name = ("/tasks", "taskname") if tasks.total else ("/datasets", "name")
    return RedirectResponse(address(place, **{name: like}), 302)


@router.get("/job/{job_id}/log")
def log_of(job_id: str, ctx: Ctx, _caller: Annotated[Identity, permit_page(Policy.LOOK)]) -> Response:
    """The archive with a job's log, as it lies at the storage."""
    if not job_id.isdecimal():
        raise NotFound(f"{job_id!r} is no number", hint="jobs have whole numbers as names")
    path = joblog.archive(ctx, int(job_id))
    return FileResponse(
        path,
        media_type="application/gzip",
        filename=path.name,
        headers={"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"},
    )


@router.get(ORIGINAL)
async def original(request: Request, _caller: Annotated[Identity, permit_page(Policy.LOOK)]) -> Response:
    """Lead from an address of the 2009 monitor to the page that shows the same."""
    query = {name.lower(): text for name, text in request.query_params.items()}
    return RedirectResponse(_place_of(query), 302)


@router.get("/dashboard/request.py/site")
async def original_ddm(_caller: Annotated[Identity, permit_page(Policy.LOOK)]) -> Response:
    """Lead from the address of the 2009 DDM dashboard to ours."""
    return RedirectResponse("/ddm", 302)


def _place_of(query: dict[str, str]) -> str:
    if "job" in query:
        return f"/job/{quote(query['job'], safe='')}"
    if query.get("mode") == "site" and "site" in query:
        return site_page(query["site"])
    if "dset" in query:
        return dataset_page(query["dset"])
    place = DASHES.get(query.get("dash", "")) or OVERVIEWS.get(query.get("overview", ""))
    if place is None:
        known = [f"dash={one}" for one in DASHES] + [f"overview={one}" for one in OVERVIEWS]
        raise NotFound(
            "the monitor of today has no such page", hint=f"it knows {', '.join(known)}, job=ID, mode=site&site=X"
        )
    kept = {ALIASES.get(name, name): text for name, text in query.items() if name in KEPT}
    taken = {
        "/datasets": {"cloud", "vo"},
        "/ddm": {"days", "hours", "site"},
        "/shares": set(),
        "/incidents": {"days", "hours"},
        "/sites": {"days", "hours", "site", "cloud"},
        "/tasks": {"days", "hours", "cloud", "vo"},
    }.get(place, set(KEPT))
    more = address("", **{name: text for name, text in kept.items() if name in taken})
    return place + (more.replace("?", "&", 1) if "?" in place else more)
