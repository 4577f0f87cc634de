"""What production managers order in the Prefect UI: each flow is a form, checked before anything is stored."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from panda.domain.work import InputSpec, OutputSpec, Resources, Split, TaskRequest
from panda.errors import PandaError
from panda.services import control, submit
from tasks.plain import speak_plainly
from tasks.world import world

WHO = "Prefect UI"

# Prefect titles a parameter by its Python name, whatever `title` says; what stands in `json_schema_extra` is kept.
TaskId = Annotated[int, Field(ge=1, json_schema_extra={"title": "Production task"})]
Priority = Annotated[int, Field(ge=0, le=10_000, json_schema_extra={"title": "Priority"})]
Reason = Annotated[str, Field(max_length=500, json_schema_extra={"title": "Reason"})]
SiteName = Annotated[str, Field(min_length=1, max_length=255, json_schema_extra={"title": "Site"})]


class Label(StrEnum):
    """prodSourceLabel."""

    MANAGED = "managed"
    USER = "user"
    TEST = "test"
    VALIDATION = "validation"


class SiteStatus(StrEnum):
    """What a site may be set to."""

    ONLINE = "online"
    BROKEROFF = "brokeroff"
    TEST = "test"
    OFFLINE = "offline"


NewStatus = Annotated[SiteStatus, Field(json_schema_extra={"title": "New status"})]


def _in_order(schema: dict[str, Any]) -> None:
    """Number a form's fields: Prefect's database keeps JSON without its order, the UI sorts by `position`."""
    for position, field in enumerate(schema["properties"].values()):
        field["position"] = position


class Production(BaseModel):
    """What is to be made, from what, and how it is cut into jobs."""

    model_config = ConfigDict(json_schema_extra=_in_order)

    name: str = Field(title="Task name", description="Unique, e.g. mc23_13p6TeV.601190.evgen.v1", max_length=200)
    transformation: str = Field(title="Transformation", description="A program of the release, e.g. evgen")
    parameters: str = Field(
        title="Parameters",
        description="Its arguments; ${SEED} ${NEVENTS} ${FIRSTEVENT} ${IN} ${OUTPUT0} ${SN} are filled in per job",
    )
    release: str = Field(title="Software release", description="As installed at the sites, e.g. ZBoson-1.0")
    output_dataset: str = Field(title="Output dataset", description="A new name; it is closed when the task is done")
    output_file: str = Field(
        default="out._${SN}.root", title="Output file name", description="With ${SN}, the job's serial number"
    )
    input_dataset: str = Field(default="", title="Input dataset", description="Empty for a task without input")
    jobs: int = Field(default=10, ge=1, le=1_000_000, title="Number of jobs", description="Used without input")
    events_per_job: int = Field(
        default=0, ge=0, le=1_000_000_000, title="Events per job", description="0: not split by events"
    )
    files_per_job: int = Field(default=1, ge=1, le=200, title="Input files per job", description="Used with input")
    priority: int = Field(default=500, ge=0, le=10_000, title="Priority", description="950 and more go to the T1")
    label: Label = Field(default=Label.MANAGED, title="Label", description="Kind of work")
    vo: str = Field(default="atlas", title="Virtual organisation", description="Who owns the work")
    processing_type: str = Field(default="prod", title="Processing type", description="evgen, simul, reco, merge, ...")
    memory_mb: int = Field(default=0, ge=0, le=1_000_000, title="Memory per job (MB)", description="0: unknown")
    cores: int = Field(default=1, ge=1, le=256, title="Cores per job", description="Threads of the payload")
    disk_mb: int = Field(default=0, ge=0, le=10_000_000, title="Scratch disk per job (MB)", description="0: unknown")
    wall_s: int = Field(default=0, ge=0, le=2_592_000, title="Wall time per job (s)", description="0: unknown")
    cloud: str = Field(default="", title="Cloud", description="Empty: PanDA chooses by data, share and work")
    site: str = Field(default="", title="Site", description="Empty: PanDA chooses; else no other site gets its jobs")
    campaign: str = Field(default="", title="Campaign", description="Groups tasks in lists and on pages")
    max_attempts: int = Field(default=3, ge=1, le=50, title="Attempts", description="Most failures of one input")
    log_dataset: str = Field(default="", title="Log dataset", description="Empty: the output dataset's name + .log")


NewProduction = Annotated[Production, Field(json_schema_extra={"title": "New production task"})]


def request_of(form: Production) -> TaskRequest:
    """Turn the form into a request."""
    stem, dot, extension = form.output_file.rpartition(".")
    log = f"{stem if dot else extension}.log.tgz"
    inputs = (InputSpec("IN", (form.input_dataset,)),) if form.input_dataset else ()
    return TaskRequest(
        name=form.name,
        transformation=form.transformation,
        parameters=form.parameters,
        release=form.release,
        outputs=(
            OutputSpec("OUT", form.output_dataset, form.output_file),
            OutputSpec("LOG", form.log_dataset or f"{form.output_dataset}.log", log, kind="log"),
        ),
        inputs=inputs,
        split=Split(
            events_per_job=form.events_per_job or None,
            files_per_job=form.files_per_job if inputs else None,
            n_jobs=None if inputs else form.jobs,
        ),
        priority=form.priority,
        label=form.label.value,
        vo=form.vo,
        task_type=form.processing_type,
        processing_type=form.processing_type,
        resources=Resources(cores=form.cores, memory_mb=form.memory_mb, disk_mb=form.disk_mb, wall_s=form.wall_s),
        cloud=form.cloud or None,
        site=form.site or None,
        campaign=form.campaign or None,
        max_attempts=form.max_attempts,
    )


@flow(name="submit production", flow_run_name="submit-{production.name}")
def submit_production(production: NewProduction) -> State[None]:
    """Store a production task; its story begins within a second, its page and artifacts show where it stands.

    Args:
        production: The production task.
    """
    try:
        task_id = submit.submit_task(world(), request_of(production), WHO)
    except PandaError as error:
        return _refused(error)
    create_markdown_artifact(
        key=f"submitted-{task_id}",
        markdown=_stored(task_id, production.name),
        description="Submitted",
    )
    get_run_logger().info("production task %d", task_id)
    return Completed(name="Submitted", message=f"production task {task_id}")


def _stored(task_id: int, name: str) -> str:
    """Say what comes next, and where to look."""
    return (
        f"Task **{task_id}** `{name}` is stored. Its story begins within a second: flow runs named `task-{task_id}`, "
        f"tagged `task:{task_id}`; each ends in a state that says what the task waits for.\n\n"
        f"- [The task in the monitor]({world().settings.api_url}/task/{task_id})\n"
        f"- The artifact `task-{task_id}` says where it stands and why; `task-{task_id}-progress` how far it is.\n"
        f"- On the command line: `panda watch {task_id}`, `panda why task {task_id}`.\n"
    )


@flow(name="abort task", flow_run_name="abort-{task_id}")
def abort_task(task_id: TaskId, reason: Reason = "aborted in the Prefect UI") -> State[None]:
    """Stop a production task: waiting jobs are cancelled, running ones hear it with their next heartbeat.

    Args:
        task_id: The production task's number, as in `panda tasks`.
        reason: Why, for everybody to read.
    """
    return _ordered(lambda: control.abort_task(world(), task_id, WHO, reason), f"task {task_id} is being aborted")


@flow(name="pause task", flow_run_name="pause-{task_id}")
def pause_task(task_id: TaskId, reason: Reason = "paused in the Prefect UI") -> State[None]:
    """Hand out no further job of a task; running ones go on.

    Args:
        task_id: The production task's number, as in `panda tasks`.
        reason: Why, for everybody to read.
    """
    return _ordered(lambda: control.pause_task(world(), task_id, WHO, reason), f"task {task_id} is held")


@flow(name="resume task", flow_run_name="resume-{task_id}")
def resume_task(task_id: TaskId) -> State[None]:
    """Let a held task go on.

    Args:
        task_id: The production task's number, as in `panda tasks`.
    """
    return _ordered(lambda: control.resume_task(world(), task_id, WHO), f"task {task_id} goes on")


@flow(name="retry task", flow_run_name="retry-{task_id}")
def retry_task(task_id: TaskId) -> State[None]:
    """Try the failed jobs of a task again; after its end the outputs go to a continuation dataset.

    Args:
        task_id: The production task's number, as in `panda tasks`.
    """
    return _ordered(lambda: control.retry_task(world(), task_id, WHO), f"failed jobs of task {task_id} are tried again")


@flow(name="change priority", flow_run_name="priority-{task_id}")
def change_priority(task_id: TaskId, priority: Priority) -> State[None]:
    """Change a task's priority, for waiting jobs too (0 to 10000).

    Args:
        task_id: The production task's number, as in `panda tasks`.
        priority: From 0 to 10000; the higher, the sooner. From 950 on the jobs go to the cloud's T1.
    """
    return _ordered(
        lambda: control.set_priority(world(), task_id, priority, WHO), f"task {task_id} has priority {priority}"
    )


@flow(name="site status", flow_run_name="{site}-{status}")
def site_status(site: SiteName, status: NewStatus, comment: Reason = "") -> State[None]:
    """Set a site online, brokeroff (no new work), test or offline (waiting work goes elsewhere).

    Args:
        site: The site's name, as in `panda sites`.
        status: brokeroff: nothing new comes; test: only test jobs; offline: waiting jobs go elsewhere.
        comment: Why, for everybody to read.
    """
    return _ordered(
        lambda: control.set_site_status(world(), site, status.value, WHO, comment), f"{site} is {status.value}"
    )


def _ordered(order: Callable[[], object], words: str) -> State[None]:
    """Carry out an order; a PanDA error is the run's message, without a stack of ours."""
    try:
        order()
    except PandaError as error:
        return _refused(error)
    return Completed(name="Ordered", message=words)


def _refused(error: PandaError) -> State[None]:
    speak_plainly()
    get_run_logger().error("%s", error)
    return Failed(name="Refused", message=str(error))
