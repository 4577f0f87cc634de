"""Requests about production tasks: submission in PanDA's form and in our own, commands, priorities."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from panda.domain.refine import refine
from panda.domain.work import InputSpec, OutputSpec, Resources, Selection, Split, TaskRequest
from panda_api.wire.fields import Count, MaybeNumber, Name, Number, OwnModel, PlainText, Reason, Seconds, WireModel

Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
Several = 1000
Many = 100_000


class SelectionForm(OwnModel):
    """Which files of a stream are taken: patterns that a name must or must not match, names, how many to skip."""

    include: Annotated[tuple[Name, ...], Field(max_length=Several)] = ()
    exclude: Annotated[tuple[Name, ...], Field(max_length=Several)] = ()
    files: Annotated[tuple[Name, ...], Field(max_length=Many)] = ()
    skip: Count = 0


class InputForm(OwnModel):
    """One stream of input files."""

    stream: Name = "IN"
    datasets: Annotated[tuple[Name, ...], Field(min_length=1, max_length=Several)]
    role: Literal["primary", "secondary"] = "primary"
    files_per_job: Positive | None = None
    selection: SelectionForm = SelectionForm()

    def stream_asked(self) -> InputSpec:
        """The stream as the domain knows it."""
        return InputSpec(
            self.stream, self.datasets, self.role, self.files_per_job, Selection(**self.selection.model_dump())
        )


class OutputForm(OwnModel):
    """One output file of every job. `lfn` is a template with `${SN}`."""

    name: Name
    dataset: Name
    lfn: Name
    kind: Literal["output", "log"] = "output"
    optional: bool = False


class SplitForm(OwnModel):
    """How the task becomes jobs."""

    events_per_job: Positive | None = None
    files_per_job: Positive | None = None
    bytes_per_job: Annotated[int, Field(ge=1, le=2**53)] | None = None
    n_jobs: Positive | None = None
    n_events: Annotated[int, Field(ge=1, le=2**53)] | None = None
    max_files: Positive | None = None


class ResourcesForm(OwnModel):
    """What one job needs; 0 is unknown."""

    cores: Annotated[int, Field(ge=1, le=10_000)] = 1
    memory_mb: Count = 0
    disk_mb: Count = 0
    work_hs23_s: Count = 0
    wall_s: Count = 0


class TaskForm(OwnModel):
    """A production task in our own plain form: the fields of `panda.domain.work.TaskRequest`."""

    name: Name
    transformation: Name
    parameters: PlainText = ""
    outputs: Annotated[tuple[OutputForm, ...], Field(min_length=1, max_length=Several)]
    split: SplitForm = SplitForm()
    inputs: Annotated[tuple[InputForm, ...], Field(max_length=Several)] = ()
    vo: Name = "atlas"
    owner: Name | None = None
    working_group: Name | None = None
    label: Name = "managed"
    task_type: Name = "prod"
    processing_type: Name = "prod"
    campaign: Name | None = None
    share: Name = "default"
    release: Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f]*$")] = ""
    architecture: Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f]*$")] = ""
    container: Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f]*$")] = ""
    priority: Annotated[int, Field(ge=0, le=30_000)] = 500
    resources: ResourcesForm = ResourcesForm()
    max_attempts: Annotated[int, Field(ge=1, le=50)] = 3
    bunch_size: Annotated[int, Field(ge=1, le=10_000)] | None = None
    ddm_mode: Literal["embedded", "none"] = "embedded"
    cloud: Name | None = None
    site: Name | None = None
    sites: Annotated[tuple[Name, ...], Field(max_length=Several)] = ()
    excluded_sites: Annotated[tuple[Name, ...], Field(max_length=Several)] = ()
    use_secrets: bool = False
    parent_task: Number | None = None
    seed: Count = 0
    exp_remaining_work: Seconds | None = None

    def request(self, owner: str) -> TaskRequest:
        """The request as the domain knows it; who is named as owner wins over the caller."""
        plain = {name: getattr(self, name) for name in type(self).model_fields if name not in _NESTED}
        return TaskRequest(
            **plain | {"owner": self.owner or owner},
            outputs=tuple(OutputSpec(**one.model_dump()) for one in self.outputs),
            inputs=tuple(one.stream_asked() for one in self.inputs),
            split=Split(**self.split.model_dump()),
            resources=Resources(**self.resources.model_dump()),
        )


_NESTED = frozenset({"outputs", "inputs", "split", "resources"})


class SubmitTask(WireModel):
    """A new production task: `task_parameters` as PanDA's clients send them, or `request` in our own form."""

    task_parameters: dict[str, object] | None = None
    request: TaskForm | None = None
    parent_tid: MaybeNumber = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.task_parameters is None) == (self.request is None):
            raise ValueError("give either task_parameters (as PanDA's clients do) or request (our own form)")
        return self

    def task(self, owner: str, programs: str) -> TaskRequest:
        """The request as the domain knows it, whichever form it came in; `programs` is where prun's own are served."""
        if self.request is not None:
            return self.request.request(owner)
        return refine(self.task_parameters or {}, owner=owner, programs=programs, parent=self.parent_tid)


class ExpectedForm(OwnModel):
    """Input that another task has still to make."""

    files: Positive
    events_per_file: Positive | None = None


class PreviewTask(WireModel):
    """A request to look at; `expected` stands for input that is not there yet."""

    request: TaskForm
    expected: ExpectedForm | None = None


TaskId = Annotated[int, Field(ge=1, le=2**63 - 1, description="The task's id (jediTaskID).")]


class WhatIfTask(WireModel):
    """A task whose last brokerage is to be decided again, with changes."""

    task_id: TaskId
    changes: list[str] = Field(
        min_length=1, max_length=100, description="As in BNL.memory_mb=8000, threshold.sites_kept=3, request.cores=1."
    )
    at: AwareDatetime | None = Field(default=None, description="The last brokerage until then; null: the last one.")


class TaskCommand(WireModel):
    """A command to one task."""

    task_id: TaskId


class TaskOrder(TaskCommand):
    """A command to one task with the reason, for everybody to read."""

    why: Reason = ""


class FinishTask(TaskCommand):
    """End a task early. Jobs that run always come to their end, whatever `soft` says; task/kill stops them."""

    soft: Annotated[bool, BeforeValidator(lambda value: value or False)] = False


class RetryTask(TaskCommand):
    """Try again what failed in a task that ended. Changed parameters would make another task and are refused."""

    new_parameters: dict[str, object] | None = None


class IncreaseAttempts(TaskCommand):
    """So many more failures are allowed for each part of the task."""

    increase: Annotated[int, Field(ge=1, le=50)] = 3


class ChangePriority(TaskCommand):
    """A new priority, for jobs that wait and for those still to be made."""

    priority: Annotated[int, Field(ge=0, le=30_000)]
