"""Submission: a request is understood, checked against grid and catalogue, and stored by one insert; the rest is due.

Nothing heavy happens here: the call answers when the task's row is committed, and the story takes it from there.
"""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from sqlalchemy import Connection, text

from panda.brokerage.feasible import nearest
from panda.brokerage.snapshot import Needs, SiteFacts
from panda.ddm.port import Did
from panda.domain.names import bare_name, check_name, scope_of
from panda.domain.states import FINAL_TASK, TaskStage
from panda.domain.work import InputSpec, TaskRequest, check_request
from panda.errors import NameTaken, Refused
from panda.services.context import Context
from panda.store import facts, queue, selection, work

SECONDS_PER_DAY = 86_400.0


def submit_task(ctx: Context, request: TaskRequest, who: str) -> int:
    """Store a production task; returns its id. Raises Refused (with what would work) or Conflict: nothing is stored.

    The answer comes before any work: assignment, expansion and transfers are the story's (design.md section 5).
    A build step is a task of its own, stored in the same transaction; what it makes is an input like any other.
    """
    checked = check(ctx, request)
    build = None if request.build is None else check(ctx, request.build)
    with ctx.engine.begin() as connection:
        if build is not None:
            made_by = store_task(ctx, connection, build, who)
            checked = replace(checked, parent_task=checked.parent_task or made_by)
        return store_task(ctx, connection, checked, who)


def check(ctx: Context, request: TaskRequest) -> TaskRequest:
    """Check a request as submission does, without storing anything; returns it with its parent filled in."""
    request = check_request(request)
    check_name("release", request.release) if request.release else None
    with ctx.engine.begin() as connection:
        request = _with_sites(connection, request)
        _check_feasible(connection, request)
        request = _with_parent(ctx, connection, request)
        for stream in request.inputs:
            selection.positions(connection, (), stream.selection)
        for output in request.outputs:
            if work.dataset_by_name(connection, bare_name(output.dataset)) is not None:
                raise NameTaken(
                    f"dataset {output.dataset!r} exists already", hint="a new name, e.g. with a new version tag"
                )
    if request.ddm_mode == "none" and (request.inputs or request.parent_task):
        raise Refused("a task with ddm 'none' cannot read datasets", hint="use ddm 'embedded', or bring no input")
    return request


def _with_sites(connection: Connection, request: TaskRequest) -> TaskRequest:
    """Name the sites that are meant: PanDA's clients name queues."""
    names = [*request.sites, *request.excluded_sites, *([request.site] if request.site is not None else [])]
    site_of = {row["name"]: str(row["site"]) for row in queue.queues(connection, names)} if names else {}
    return replace(
        request,
        site=None if request.site is None else site_of.get(request.site, request.site),
        sites=tuple(dict.fromkeys(site_of.get(one, one) for one in request.sites)),
        excluded_sites=tuple(dict.fromkeys(site_of.get(one, one) for one in request.excluded_sites)),
    )


def store_task(ctx: Context, connection: Connection, request: TaskRequest, who: str, *, implicit: bool = False) -> int:
    """Store a checked request in the caller's transaction; returns the task's id."""
    size = request.bunch_size or ctx.settings.expansion.bunch_size
    request = replace(request, exp_remaining_work=request.exp_remaining_work or expected_work(request))
    task_id = work.insert_task(connection, request, parent_id=request.parent_task, bunch_size=size, implicit=implicit)
    work.add_incident(connection, "info", "submit", f"task:{task_id}", f"{request.name} submitted by {who}")
    return task_id


def expected_work(request: TaskRequest) -> float:
    """Estimate a task's work in kSI2k days, the unit of domain.md 2.1, where the request does not say it."""
    split, needs = request.split, request.resources
    jobs = split.n_jobs or -(-(split.n_events or 0) // (split.events_per_job or 1)) or 1
    hs23 = needs.work_hs23_s or needs.wall_s * needs.cores * 10
    return jobs * hs23 / 4 / SECONDS_PER_DAY


def needs_of(request: TaskRequest) -> Needs:
    """Give what each job of a request asks for, in the words of brokerage."""
    ask = request.resources
    return Needs(
        label=request.label,
        vo=request.vo,
        processing_type=request.processing_type,
        release=request.release,
        architecture=request.architecture,
        memory_mb=ask.memory_mb,
        disk_mb=ask.disk_mb,
        cores=ask.cores,
        wall_s=ask.wall_s,
        work_hs23_s=ask.work_hs23_s,
        in_container=bool(request.container),
    )


def _check_feasible(connection: Connection, request: TaskRequest) -> None:
    """Refuse what no site could ever run, with the nearest that one could (design.md 7.6)."""
    known = facts.sites(connection, pilot_window_hours=3, refill_s=60)
    if not known:
        raise Refused("the grid has no sites", hint="load a grid file first: panda grid load FILE")
    known = _sites_asked_for(request, known)
    if request.cloud is not None:
        known = [site for site in known if site.cloud == request.cloud]
        if not known:
            raise Refused(f"cloud {request.cloud!r} has no site", hint="'panda sites' lists clouds and sites")
    _check_release(request, known)
    answer = nearest(needs_of(request), known)
    if answer is not None:
        raise Refused(answer.text, hint=answer.hint)


def _sites_asked_for(request: TaskRequest, known: list[SiteFacts]) -> list[SiteFacts]:
    """Give the sites where the request lets its jobs run; raises Refused for an unknown name and where none is left."""
    names = {site.name for site in known}
    wanted = request.sites if request.site is None else (request.site,)
    for name in (*wanted, *request.excluded_sites):
        if name not in names:
            raise Refused(f"there is no site {name!r}", hint="'panda sites' lists them")
    wish = facts.wish_of(known, wanted, request.excluded_sites)
    left = [site for site in known if not wish.refuses(site.id)]
    if not left:
        raise Refused("every site that was asked for is excluded too", hint="exclude fewer sites")
    return left


def _check_release(request: TaskRequest, known: Sequence[SiteFacts]) -> None:
    """Refuse a release that no site is known to have, though some site's software was never listed."""
    names = sorted({one.name for site in known for one in site.releases or ()})
    if request.release and names and request.release not in names:
        close = get_close_matches(request.release, names, n=3, cutoff=0.3) or names[:5]
        raise Refused(f"release {request.release!r} is installed nowhere", hint=f"nearest: {', '.join(close)}")


def _with_parent(ctx: Context, connection: Connection, request: TaskRequest) -> TaskRequest:
    """Find every input: a dataset of the catalogue, or the output of a submitted task, which becomes the parent."""
    parents: set[int] = set()
    to_be_built = {one.dataset for one in request.build.outputs} if request.build else set()
    for stream in request.inputs:
        for name in (one for one in stream.datasets if one not in to_be_built):
            parent = _parent_of(ctx, connection, bare_name(name))
            if parent is not None:
                parents.add(parent)
    if request.parent_task is not None:
        parents = {request.parent_task} | parents
        request = _input_of_parent(connection, request)
    return replace(request, parent_task=min(parents)) if parents else request


def _input_of_parent(connection: Connection, request: TaskRequest) -> TaskRequest:
    """Take the parent's output datasets as the primary input where the request names none."""
    if request.inputs or request.parent_task is None:
        return request
    work.task_row(connection, request.parent_task)
    names = tuple(row["name"] for row in work.datasets_of(connection, request.parent_task) if row["kind"] == "output")
    return replace(request, inputs=(InputSpec("IN", names),))


def _parent_of(ctx: Context, connection: Connection, name: str) -> int | None:
    row = work.dataset_by_name(connection, name)
    if row is not None and row["kind"] in {"output", "log"} and row["task_id"] is not None:
        parent = work.task_row(connection, row["task_id"])
        stage = TaskStage(parent["stage"])
        if stage in FINAL_TASK and row["n_files"] == 0:
            raise Refused(f"dataset {name!r} is closed and empty: task {parent['id']} ended {stage.value}")
        return int(row["task_id"])
    if ctx.ddm.dataset(Did(scope_of(name), name)) is None:
        raise Refused(f"input dataset {name!r} does not exist", hint=_nearest_dataset(ctx, connection, name))
    return None


def _nearest_dataset(ctx: Context, connection: Connection, name: str) -> str:
    """Name the datasets that look most like a name that does not exist."""
    close = connection.execute(
        text("""
            SELECT name FROM dataset WHERE kind IN ('input', 'output')
            ORDER BY similarity(name, :name) DESC LIMIT 3
        """),
        {"name": name},
    ).scalars()
    known = [one.did.name for one in ctx.ddm.datasets(f"{scope_of(name)}:{name[: len(name) // 2]}*")][:3]
    names = list(dict.fromkeys([*close, *known]))[:3]
    return f"did you mean {', '.join(names)}?" if names else "register it first; no dataset looks like it"
