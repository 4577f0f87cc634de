"""Routes of pilots: jobs to take, updates to report, the state of jobs in hand."""

from typing import Annotated

from fastapi import APIRouter, Query

from panda.domain.dispatch import JobUpdate
from panda.services import dispatch, ownership, read, supply
from panda_api.answers import bulk_envelope, jobs_envelope, parts_of, update_envelope
from panda_api.body import WireRoute
from panda_api.context import ASYNCHRONOUS, Ctx
from panda_api.envelope import Envelope, WireResponse, failed, succeeded
from panda_api.render import STATUS_INVALID, STATUS_OK
from panda_api.security import Identity, Policy, permit
from panda_api.transforms import stock_jobs
from panda_api.wire.job import JobId
from panda_api.wire.pilot import AcquireJobs, UpdateJob, UpdateJobsBulk, UpdateWorkerStatus

router = APIRouter(prefix="/api/v1/pilot", tags=["pilot"], route_class=WireRoute)


@router.post("/acquire_jobs", response_model=Envelope)
def acquire_jobs(wanted: AcquireJobs, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.TAKE_JOBS)]) -> WireResponse:
    """Jobs that this node may run, the most urgent first; the same `request_id` gets the same jobs again.

    Harvester gets them as the stock pilots run them that it submits.
    """
    ask = wanted.ask()
    jobs = dispatch.acquire(ctx, ask)
    if jobs and wanted.is_harvesters:
        return succeeded({"StatusCode": STATUS_OK, "jobs": stock_jobs(ctx, ask.queue, jobs)})
    return WireResponse(jobs_envelope(ctx.settings, jobs))


@router.post("/update_job", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def update_job(told: UpdateJob, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]) -> WireResponse:
    """Keep a pilot's word on its job; the answer may carry a command. Outputs are collected after the answer."""
    return WireResponse(update_envelope(told.job_id, dispatch.update(ctx, told.update())))


@router.post("/update_jobs_bulk", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def update_jobs_bulk(
    told: UpdateJobsBulk, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]
) -> WireResponse:
    """Updates of many jobs: one envelope for each, in order; one that cannot be read does not lose the others."""
    parts = parts_of(told.job_list)
    answers = dispatch.update_many(ctx, [one for one in parts if isinstance(one, JobUpdate)])
    return WireResponse(bulk_envelope(parts, answers))


@router.get("/get_job_status", response_model=Envelope)
def get_job_status(
    job_ids: Annotated[list[JobId], Query(min_length=1, max_length=5500)],
    ctx: Ctx,
    caller: Annotated[Identity, permit(Policy.READ_JOBS)],
) -> WireResponse:
    """The status and attempt of each job, in order; "not found" for an unknown one."""
    ownership.check_jobs(ctx, caller, job_ids)
    found = {one.id: one for one in read.jobs(ctx, job_ids)}
    return succeeded(
        [
            {"job_id": one, "status": found[one].status, "attempt_number": found[one].attempt}
            if one in found
            else {"job_id": one, "status": "not found", "attempt_number": 0}
            for one in job_ids
        ]
    )


@router.post("/update_worker_status", response_model=Envelope)
def update_worker_status(
    told: UpdateWorkerStatus, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.REPORT_WORKERS)]
) -> WireResponse:
    """Keep a pilot's word that it has started or finished."""
    (kept,) = supply.report_workers(ctx, [told.report()])
    if not kept:
        return failed(f"there is no queue {told.site!r}", {"StatusCode": STATUS_INVALID})
    return succeeded({"StatusCode": STATUS_OK})
