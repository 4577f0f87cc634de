"""Routes that only look: tasks, jobs, files, datasets, sites, pilots, errors, transfers, and why they are as they are.

Lists have no hidden bound: without `limit` all of it comes. Names may have `*` for any characters.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from panda.auth.identity import Reach, reach_of
from panda.domain.names import bare_name
from panda.domain.states import FINAL_TASK, JobStatus, TaskStage
from panda.domain.views.answers import Kind
from panda.domain.views.harvester import Shown
from panda.errors import Forbidden
from panda.services import failures, files, harvester, overview, ownership, read, survey, why, why_dataset
from panda.services.read import TaskFilter
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit
from panda_api.wire.fields import Name
from panda_api.wire.job import JobId
from panda_api.wire.task import TaskId

router = APIRouter(prefix="/api/v1/monitor", tags=["monitor"], route_class=WireRoute)

Limit = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1)]
Hours = Annotated[float, Query(gt=0, le=24 * 366)]
MaybeName = Annotated[Name | None, Query()]
MaybeTask = Annotated[TaskId | None, Query()]
TaskReader = Annotated[Identity, permit(Policy.READ_TASKS)]
JobReader = Annotated[Identity, permit(Policy.READ_JOBS)]

LIVE = tuple(one.value for one in TaskStage if one not in FINAL_TASK)


def _check(ctx: Ctx, caller: Identity, task_id: int | None) -> None:
    """Let those who reach only some work ask about a task of theirs only; an unknown task is not found."""
    if task_id is not None:
        ownership.check_tasks(ctx, caller, [task_id])
        read.task(ctx, task_id)
    elif reach_of(caller) != Reach():
        raise Forbidden(f"{caller.name} does not reach everybody's work", hint="name a task of your own with task_id")


def _check_dataset(ctx: Ctx, caller: Identity, name: str) -> None:
    """Let nobody look into datasets of tasks out of reach; what no task made is everybody's to read."""
    made_by = [one.task_id for one in survey.datasets(ctx, name) if one.task_id is not None]
    ownership.check_tasks(ctx, caller, made_by)


@router.get("/overview", response_model=Envelope)
def get_overview(ctx: Ctx, caller: TaskReader) -> WireResponse:
    """Tasks by stage, jobs by state, pilots, sites, transfers under way; the latest warnings for operators."""
    return succeeded(overview.overview(ctx, incidents=reach_of(caller) == Reach()))


@router.get("/tasks", response_model=Envelope)
def get_tasks(
    ctx: Ctx,
    caller: TaskReader,
    name: MaybeName = None,
    live: bool = False,
    stage: Annotated[list[TaskStage] | None, Query()] = None,
    campaign: MaybeName = None,
    owner: MaybeName = None,
    cloud: MaybeName = None,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """Production tasks, the newest first."""
    stages = tuple(one.value for one in stage) if stage else (LIVE if live else None)
    reach = reach_of(caller)
    if reach.owner is not None and owner not in {None, reach.owner}:
        raise Forbidden(f"{caller.name} does not reach the tasks of {owner}", hint=f"owner={reach.owner}")
    wanted = TaskFilter(
        name=name, stages=stages, owner=reach.owner or owner, vo=reach.vo, campaign=campaign, cloud=cloud
    )
    return succeeded(read.tasks(ctx, wanted, limit=limit, offset=offset))


@router.get("/task", response_model=Envelope)
def get_task(task_id: Annotated[TaskId, Query()], ctx: Ctx, caller: TaskReader) -> WireResponse:
    """One production task with the datasets it reads and writes, and its transfers summed up."""
    _check(ctx, caller, task_id)
    return succeeded(survey.whole_task(ctx, task_id))


@router.get("/jobs", response_model=Envelope)
def get_jobs(
    task_id: Annotated[TaskId, Query()],
    ctx: Ctx,
    caller: JobReader,
    status: Annotated[list[JobStatus] | None, Query()] = None,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """The jobs of a task, every attempt."""
    _check(ctx, caller, task_id)
    return succeeded(read.jobs_of(ctx, task_id, status or None, limit, offset))


@router.get("/job", response_model=Envelope)
def get_job(job_id: Annotated[JobId, Query()], ctx: Ctx, caller: JobReader) -> WireResponse:
    """One job with its files, history and attempts."""
    ownership.check_jobs(ctx, caller, [job_id])
    return succeeded(read.whole_job(ctx, job_id))


@router.get("/files", response_model=Envelope)
def get_files(
    ctx: Ctx,
    caller: TaskReader,
    dataset: MaybeName = None,
    task_id: MaybeTask = None,
    lfn: MaybeName = None,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """The files of a dataset or task: size, checksum, the job that made each, where copies are."""
    if dataset is not None:
        _check_dataset(ctx, caller, dataset)
    else:
        _check(ctx, caller, task_id)
    found = files.files(ctx, dataset=dataset, task_id=task_id, lfn=lfn, limit=limit, offset=offset)
    if not found and dataset is not None:
        why_dataset.check(ctx, dataset)
    return succeeded(found)


@router.get("/datasets", response_model=Envelope)
def get_datasets(
    ctx: Ctx,
    caller: TaskReader,
    name: MaybeName = None,
    task_id: MaybeTask = None,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """The datasets that tasks read and write."""
    _check(ctx, caller, task_id)
    return succeeded(survey.datasets(ctx, name, task_id=task_id, limit=limit, offset=offset))


@router.get("/sites", response_model=Envelope)
def get_sites(ctx: Ctx, _caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]) -> WireResponse:
    """Every site with its status, live jobs and pilots."""
    return succeeded(survey.sites(ctx))


@router.get("/site", response_model=Envelope)
def get_site(
    name: Annotated[Name, Query()], ctx: Ctx, _caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]
) -> WireResponse:
    """One site."""
    return succeeded(survey.site(ctx, name))


@router.get("/workers", response_model=Envelope)
def get_workers(
    ctx: Ctx,
    caller: JobReader,
    queue: MaybeName = None,
    ended: bool = False,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """Pilots as their factories describe them, with the jobs in their hands; `ended` adds those that are gone."""
    _check(ctx, caller, None)
    found = survey.workers(ctx, queue, live=not ended, limit=limit, offset=offset)
    if not found and queue is not None:
        survey.check_queue(ctx, queue)
    return succeeded(found)


@router.get("/harvester", response_model=Envelope)
def get_harvester(
    ctx: Ctx,
    _caller: Annotated[Identity, permit(Policy.READ_DEMAND)],
    show: Shown,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """What Harvester instances said of themselves, and the commands for them."""
    return succeeded(harvester.shown(ctx, show, limit=limit, offset=offset))


@router.get("/errors", response_model=Envelope)
def get_errors(
    ctx: Ctx,
    caller: JobReader,
    hours: Hours = 12,
    task_id: MaybeTask = None,
    site: MaybeName = None,
    node: MaybeName = None,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """Errors of the last hours, equal ones together; failures by worker node and site."""
    _check(ctx, caller, task_id)
    found = failures.failures(
        ctx, hours=hours, task_id=task_id, site=site, node=node, limit=limit, offset=offset
    )  # fmt: skip
    if not found.sites and site is not None:
        survey.site(ctx, site)
    return succeeded(found)


@router.get("/transfers", response_model=Envelope)
def get_transfers(
    ctx: Ctx,
    caller: TaskReader,
    task_id: MaybeTask = None,
    site: MaybeName = None,
    ended: bool = False,
    limit: Limit = None,
    offset: Offset = 0,
) -> WireResponse:
    """Blocks of files on their way, with the data management's word on each; `ended` adds those that arrived."""
    _check(ctx, caller, task_id)
    found = files.transfers(ctx, task_id=task_id, site=site, live=not ended, limit=limit, offset=offset)
    if not found and site is not None:
        survey.site(ctx, site)
    return succeeded(found)


@router.get("/why", response_model=Envelope)
def get_why(
    kind: Annotated[Kind, Query()], name: Annotated[Name, Query()], ctx: Ctx, caller: TaskReader
) -> WireResponse:
    """Why a task, bunch, job, site, pilot or dataset is as it is, and what would change it.

    `name` is a number, the name of a site or dataset, or `factory:number` of a pilot.
    """
    if kind is Kind.DATASET:
        _check_dataset(ctx, caller, bare_name(name))
    else:
        _check(ctx, caller, why.task_of(ctx, kind, name))
    return succeeded(why.why(ctx, kind, name))
