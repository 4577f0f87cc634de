"""Requests about single jobs: loose jobs to be submitted, jobs to be killed or brokered again."""

from collections.abc import Mapping
from typing import Annotated, Self

import orjson
from pydantic import Field, model_validator

from panda.domain.work import LooseJob, LooseJobs
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
    """Loose jobs: `request` holds what they share, as in task/submit, `jobs` what is each one's own.

    PanDA's client sends `jobs` as text instead: the JSON of a list of job specs. Here that is `specs`, a list.
    """

    request: TaskForm | None = None
    jobs: Annotated[tuple[LooseJobForm, ...], Field(max_length=5000)] = ()
    specs: Annotated[tuple[list[object], ...], Field(max_length=2000)] = ()

    @model_validator(mode="before")
    @classmethod
    def _text_is_specs(cls, sent: object) -> object:
        if not isinstance(sent, Mapping) or not isinstance(sent.get("jobs"), str):
            return sent
        try:
            specs = orjson.loads(sent["jobs"])
        except orjson.JSONDecodeError:
            raise ValueError("jobs is neither a list nor the JSON of a list of job specs") from None
        return {**sent, "jobs": (), "specs": specs}

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.specs) == bool(self.jobs) or (self.request is None) != bool(self.specs):
            raise ValueError("jobs: give request and at least one of jobs, or at least one job spec alone")
        return self

    def loose_jobs(self, request: TaskForm, owner: str) -> LooseJobs:
        """The jobs of our own form as the domain knows them."""
        jobs = tuple(LooseJob(one.parameters, one.inputs, one.priority_offset) for one in self.jobs)
        return LooseJobs(request.request(owner), jobs)


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


class SetCommand(WireModel):
    """A command for the pilot of a job; which ones there are is the domain's question."""

    job_id: JobId
    command: Annotated[str, Field(min_length=1, max_length=1000)]
