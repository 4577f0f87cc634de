"""Routes of pilots: jobs to take, updates to report, the state of jobs in hand."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ValidationError

from panda.domain.dispatch import UpdateAnswer
from panda.errors import BadRequest
from panda.services import dispatch, ownership, read, supply
from panda_api.body import WireRoute
from panda_api.context import ASYNCHRONOUS, Ctx
from panda_api.envelope import Envelope, WireResponse, failed, failure, succeeded, success
from panda_api.errors import described, field_name, sentence
from panda_api.render import NO_JOBS, STATUS_INVALID, STATUS_OK, no_jobs, wire_job, wire_update
from panda_api.security import Identity, Policy, permit
from panda_api.wire.job import JobId
from panda_api.wire.pilot import AcquireJobs, UpdateJob, UpdateJobsBulk, UpdateWorkerStatus

router = APIRouter(prefix="/api/v1/pilot", tags=["pilot"], route_class=WireRoute)


@router.post("/acquire_jobs", response_model=Envelope)
def acquire_jobs(wanted: AcquireJobs, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.TAKE_JOBS)]) -> WireResponse:
    """Jobs that this node may run, the most urgent first; the same `request_id` gets the same jobs again."""
    jobs = dispatch.acquire(ctx, wanted.ask())
    if not jobs:
        return failed(NO_JOBS, no_jobs(ctx.settings.pilot.retry_after_s))
    source = ctx.settings.api_url
    return succeeded({"StatusCode": STATUS_OK, "jobs": [wire_job(one, source) for one in jobs]})


@router.post("/update_job", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def update_job(told: UpdateJob, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]) -> WireResponse:
    """Keep a pilot's word on its job; the answer may carry a command. Outputs are collected after the answer."""
    answer = dispatch.update(ctx, told.update())
    return WireResponse(_update_envelope(told.job_id, answer))


@router.post("/update_jobs_bulk", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def update_jobs_bulk(
    told: UpdateJobsBulk, ctx: Ctx, _caller: Annotated[Identity, permit(Policy.REPORT_JOBS)]
) -> WireResponse:
    """Updates of many jobs: one envelope for each, in order; one that cannot be read does not lose the others."""
    read_in: list[UpdateJob | dict[str, object]] = [_parsed(one) for one in told.job_list]
    good = [one for one in read_in if isinstance(one, UpdateJob)]
    answers = iter(dispatch.update_many(ctx, [one.update() for one in good]))
    return succeeded(
        [_update_envelope(one.job_id, next(answers)) if isinstance(one, UpdateJob) else one for one in read_in]
    )


def _parsed(raw: dict[str, object]) -> UpdateJob | dict[str, object]:
    try:
        return UpdateJob.model_validate(raw)
    except ValidationError as error:
        found = error.errors()
        names = [field_name(("", *one["loc"])) for one in found]
        text = "; ".join(sentence(name, dict(one)) for name, one in zip(names, found, strict=True))
        return failure(text, {"StatusCode": STATUS_INVALID, **described(BadRequest(text), names)})


def _update_envelope(job_id: int, answer: UpdateAnswer) -> dict[str, object]:
    if not answer.known:
        return failure(f"there is no job {job_id}", wire_update(answer))
    return success(wire_update(answer), answer.note)


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
