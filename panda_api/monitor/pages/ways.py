"""Ways to pages: the search field, the log of a job as a file, and the addresses of the original (domain.md 5a, 5b)."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from panda.domain.pattern import parse
from panda.errors import BadRequest, NotFound
from panda.services import joblog, monitor
from panda_api.context import Ctx
from panda_api.monitor.asked import ALIASES, TIMES, Vocabulary, address, only
from panda_api.monitor.pages import dashboard, datasets, errors, jobs, operations, sites, tasks, transfers, users
from panda_api.monitor.pages.linked import dataset_page, site_page, user_page
from panda_api.monitor.routes import router, whole
from panda_api.security import Identity, Policy, permit_page

FIRST_TASK = 10_000_000
ORIGINAL = "/server/pandamon/query"
PAGES: Mapping[str, Vocabulary] = {
    "/": dashboard.SPEC.vocabulary,
    "/sites": sites.SPECS[0].vocabulary,
    "/tasks": tasks.SPEC.vocabulary,
    "/jobs": jobs.SPEC.vocabulary,
    "/datasets": datasets.LIST,
    "/users": users.LIST,
    "/errors": errors.SPEC.vocabulary,
    "/ddm": transfers.VOCABULARY,
    "/workers": operations.WORKERS,
    "/shares": operations.PLAIN,
    "/incidents": operations.INCIDENTS,
}
"""The pages that an address of the original leads to, and what each understands: that part of the query is kept."""
WAYS: Mapping[tuple[str, str], str] = {
    ("dash", "prod"): "/",
    ("dash", "analysis"): "/?label=user|panda",
    ("dash", "clouds"): "/",
    ("dash", "site"): "/sites",
    ("dash", "ddm"): "/ddm",
    ("dash", "shares"): "/shares",
    ("ddm", "dash"): "/ddm",
    ("tp", "main"): "/workers",
    ("overview", "dslist"): "/datasets",
    ("overview", "errorlist"): "/errors",
    ("overview", "wnlist"): "/errors",
    ("overview", "prodlist"): "/ddm",
    ("overview", "taskinfo"): "/tasks",
    ("overview", "incidents"): "/incidents",
    ("mode", "taskquery"): "/tasks",
    ("mode", "listusers"): "/users",
    ("mode", "dbquery"): "/datasets",
    ("mode", "sitestats"): "/sites",
}
"""What the original's query asks for (domain.md 5a) and the page that shows it today."""
OWN_NAMES: Mapping[str, Mapping[str, str]] = {"/incidents": {"typekey": "type"}, "/tasks": {"reqid": "task"}}
"""Names that mean something on one page of the original only."""


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
        if monitor.tasks.is_user(connection, wanted):
            return RedirectResponse(user_page(wanted), 302)
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
    """Lead from an address of the 2009 monitor to the page that shows the same, with the filters that it knows."""
    query = {name.lower(): text for name, text in request.query_params.items()}
    return RedirectResponse(_place_of(query), 302)


@router.get("/dashboard/request.py/site")
async def original_ddm(request: Request, _caller: Annotated[Identity, permit_page(Policy.LOOK)]) -> Response:
    """Lead from the address of the 2009 DDM dashboard to ours, with the filters that ours knows."""
    return RedirectResponse(_with_filters("/ddm", dict(request.query_params)), 302)


def _place_of(query: dict[str, str]) -> str:
    if query.get("job"):
        return f"/job/{quote(query['job'], safe='')}"
    if query.get("mode") == "site" and query.get("site"):
        return site_page(query["site"])
    if query.get("dset"):
        return dataset_page(query["dset"])
    if query.get("ui") == "user":
        times = {name: query[name] for name in TIMES if name in query}
        return address(user_page(query["name"]), **times) if query.get("name") else address("/users", **times)
    place = next((WAYS[one] for one in query.items() if one in WAYS), None)
    if place is None and query.get("reqid"):
        place = "/tasks"
    if place is None:
        known = ", ".join(f"{name}={value}" for name, value in WAYS)
        raise NotFound(
            "the monitor of today has no such page",
            hint=f"it knows {known}, job=ID, reqid=TASK, dset=NAME, mode=site&site=X, ui=user&name=X",
        )
    choosing = {name for name, _ in WAYS}
    return _with_filters(place, {name: text for name, text in query.items() if name not in choosing})


def _with_filters(place: str, query: Mapping[str, str]) -> str:
    """The page with what it understands of a query; a choice that the page's own address makes stands first."""
    path = place.partition("?")[0]
    own, known = OWN_NAMES.get(path, {}), PAGES[path].names
    named = {own.get(name, ALIASES.get(name, name)): text for name, text in query.items()}
    more = address("", **{name: text for name, text in named.items() if name in known})
    return place + (more.replace("?", "&", 1) if "?" in place else more)
