"""Requests about single jobs: loose jobs to be submitted, jobs to be killed or brokered again."""

from typing import Annotated

from pydantic import Field

from panda_api.wire.fields import Name, OwnModel, PlainText, Reason, WireModel
from panda_api.wire.task import TaskForm

JobId = Annotated[int, Field(ge=1, le=2**63 - 1)]
JobIds = Annotated[list[JobId], Field(min_length=1, max_length=5500)]


class LooseJobForm(OwnModel):
    """One job with parameters and inputs of its own."""

    parameters: PlainText
    inputs: Annotated[tuple[Name, ...], Field(max_length=10_000)] = ()
    priority_offset: Annotated[int, Field(ge=-30_000, le=30_000)] = 0


class SubmitJobs(WireModel):
    """Loose jobs: `request` holds what they share, as in task/submit, `jobs` what is each one's own."""

    request: TaskForm
    jobs: Annotated[tuple[LooseJobForm, ...], Field(min_length=1, max_length=5000)]


class KillJobs(WireModel):
    """Jobs to be killed. The reason is `why`, or PanDA's kill code."""

    job_ids: Annotated[list[JobId], Field(min_length=1, max_length=1000)]
    code: Annotated[int, Field(ge=0, le=999)] | None = None
    why: Reason = ""


class DescribeJobs(WireModel):
    """Jobs to be described."""

    job_ids: JobIds


class ReassignJobs(WireModel):
    """Jobs to be brokered again."""

    job_ids: Annotated[list[JobId], Field(min_length=1, max_length=1000)]


class SetDebugMode(WireModel):
    """Debug mode of one job, on or off."""

    job_id: JobId
    mode: bool
