"""Routes of single jobs: loose jobs to submit, jobs to look at, jobs to kill."""

from typing import Annotated

from fastapi import APIRouter, Query

from panda.auth.permission import permitted_jobs
from panda.domain.jobspec import loose_jobs
from panda.domain.pilotcommand import DEBUG_OFF, KILL
from panda.domain.states import JobStatus
from panda.errors import Conflict
from panda.services import control, ownership, read, tasklist
from panda.services.loose import submit_jobs as store_jobs
from panda.services.reassign import reassign_jobs
from panda_api.body import WireRoute
from panda_api.context import ASYNCHRONOUS, Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.security import Identity, Policy, permit
from panda_api.views import file_object, job_metadata, job_object, submitted_job
from panda_api.wire.job import DescribeJobs, JobId, KillJobs, ReassignJobs, SetCommand, SetDebugMode, SubmitJobs
from panda_api.wire.task import TaskId

router = APIRouter(prefix="/api/v1/job", tags=["job"], route_class=WireRoute)

WantedJobs = Annotated[list[JobId], Query(min_length=1, max_length=5500)]
Reader = Annotated[Identity, permit(Policy.READ_JOBS)]
Steerer = Annotated[Identity, permit(Policy.STEER_JOBS)]

UNKNOWN_JOB = {"status": "unknown", "command": "tobekilled"}
"""What Harvester expects for a job that does not exist: its worker has nothing to work for (wire-protocol.md 8)."""


@router.post("/submit", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def submit_jobs(wanted: SubmitJobs, ctx: Ctx, caller: Annotated[Identity, permit(Policy.SUBMIT_JOBS)]) -> WireResponse:
    """Store jobs with parameters of their own; they get a production task of their own. Placement follows.

    Each job spec of PanDA's client is answered with what panda-server sends (`TaskBuffer.storeJobs`): PandaID,
    jobDefinitionID, and the job's name, or of users' jobs {"jobsetID": ..}; the client passes it on as it is.
    """
    if wanted.request is not None:
        one = permitted_jobs(caller, wanted.loose_jobs(wanted.request, caller.name))
        (made,) = store_jobs(ctx, [one], caller.name)
        return succeeded({"jediTaskID": made.task_id, "job_ids": list(made.job_ids)})
    programs = f"{ctx.settings.api_url}/trf/user/"
    specs = loose_jobs(wanted.specs, owner=caller.name, vo=caller.vo or "atlas", programs=programs)
    groups = store_jobs(ctx, [permitted_jobs(caller, one) for one in specs.groups], caller.name)
    return succeeded(
        [
            submitted_job(
                groups[group].job_ids[place], groups[group].task_id, specs.groups[group].request, ordinal=place
            )
            for group, place in specs.places
        ]
    )


@router.get("/get_status", response_model=Envelope)
def get_status(job_ids: WantedJobs, ctx: Ctx, caller: Reader) -> WireResponse:
    """Status of each job and the command for its pilot, in order."""
    ownership.check_jobs(ctx, caller, job_ids)
    found = {one.id: {"status": one.status.value, "command": one.command} for one in read.jobs(ctx, job_ids)}
    return succeeded([found.get(one, UNKNOWN_JOB) for one in job_ids])


@router.get("/get_description", response_model=Envelope)
def get_description(job_ids: WantedJobs, ctx: Ctx, caller: Reader) -> WireResponse:
    """Everything about each job, in order; null for an unknown one."""
    return _descriptions(ctx, caller, job_ids)


@router.post("/get_description", response_model=Envelope)
def post_get_description(wanted: DescribeJobs, ctx: Ctx, caller: Reader) -> WireResponse:
    """The same for clients that ask by POST."""
    return _descriptions(ctx, caller, wanted.job_ids)


@router.post("/get_description_incl_archive", response_model=Envelope)
def get_description_incl_archive(wanted: DescribeJobs, ctx: Ctx, caller: Reader) -> WireResponse:
    """The same: final jobs are kept where the others are."""
    return _descriptions(ctx, caller, wanted.job_ids)


def _descriptions(ctx: Ctx, caller: Identity, job_ids: list[int]) -> WireResponse:
    ownership.check_jobs(ctx, caller, job_ids)
    inputs, outputs = tasklist.input_files_of(ctx, job_ids), tasklist.output_files_of(ctx, job_ids)
    found: dict[int, dict[str, object]] = {}
    for one in read.with_parameters(ctx, read.jobs(ctx, job_ids)):
        files = [file_object(one.id, "input", file) for file in inputs.get(one.id, [])]
        files += [file_object(one.id, file.kind, file) for file in outputs.get(one.id, [])]
        found[one.id] = {**job_object(one), "Files": files}
    return succeeded([found.get(one) for one in job_ids])


@router.get("/get_metadata_for_analysis_jobs", response_model=Envelope)
def get_metadata_for_analysis_jobs(
    task_id: Annotated[TaskId, Query()], ctx: Ctx, caller: Annotated[Identity, permit(Policy.READ_TASKS)]
) -> WireResponse:
    """What is kept of the task's finished jobs: events, times, memory. Reports of the payload's own are not kept."""
    ownership.check_tasks(ctx, caller, [task_id])
    read.task(ctx, task_id)
    return succeeded([job_metadata(one) for one in read.jobs_of(ctx, task_id, JobStatus.FINISHED)])


@router.post("/set_debug_mode", response_model=Envelope)
def set_debug_mode(wanted: SetDebugMode, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Have the pilot of a running job send the end of its output with every heartbeat, or stop that."""
    ownership.check_jobs(ctx, caller, [wanted.job_id])
    job = read.job(ctx, wanted.job_id)
    if not control.set_debug(ctx, job.id, caller.name, on=wanted.mode):
        raise Conflict(f"job {job.id} is {job.status.value}; no pilot holds it", hint="debug a job that runs")
    return succeeded("the pilot hears it with its next heartbeat")


@router.post("/set_command", response_model=Envelope)
def set_command(wanted: SetCommand, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Have the pilot of a running job look: `debug`, or a line of tail, ls, du, ps, gdb, whose output comes back.

    `debugoff` takes that back, `tobekilled` kills the job (panda-server's job_api, set_command).
    """
    ownership.check_jobs(ctx, caller, [wanted.job_id])
    job = read.job(ctx, wanted.job_id)
    if wanted.command == KILL:
        killed = control.kill_jobs(ctx, [job.id], caller.name, "killed by a command through the API")[job.id]
        return succeeded(killed, "command received" if killed else "the job has ended already")
    if wanted.command == DEBUG_OFF:
        control.set_debug(ctx, job.id, caller.name, on=False)
    else:
        control.send_command(ctx, job.id, wanted.command, caller.name)
    return succeeded(True, "command received")


@router.post("/kill", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def kill(wanted: KillJobs, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Kill jobs, running ones through their next heartbeat; true or false for each (false: unknown or final)."""
    ownership.check_jobs(ctx, caller, wanted.job_ids)
    why = wanted.why or "killed through the API" + (f" (code {wanted.code})" if wanted.code is not None else "")
    killed = control.kill_jobs(ctx, wanted.job_ids, caller.name, why)
    return succeeded([killed.get(one, False) for one in wanted.job_ids])


@router.post("/reassign", response_model=Envelope, openapi_extra=ASYNCHRONOUS)
def reassign(wanted: ReassignJobs, ctx: Ctx, caller: Steerer) -> WireResponse:
    """Take waiting jobs, with their bunches, back from their site; true or false for each, the message says why not."""
    ownership.check_jobs(ctx, caller, wanted.job_ids)
    done = reassign_jobs(ctx, wanted.job_ids, caller.name)
    kept = [f"job {one.job_id}: {one.reason}" for one in done if not one.moved]
    return succeeded([one.moved for one in done], "; ".join(kept[:20]))
