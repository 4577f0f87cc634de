"""What goes into ProdDB and comes out of it, as values: requests, job definitions, views of what became of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from panda.domain.document import build
from panda.domain.prodstates import ProdJobState, ProdTaskState
from panda.domain.work import TaskRequest

Kind = Literal["request", "jobs"]
"""`request`: PanDA makes the jobs. `jobs`: the job definitions are the jobs."""

COLUMNS = frozenset({"name", "release", "priority", "vo", "parent_task", "proddb_task"})
"""Fields of a request that are columns of `etask`, where a production manager may change them until it is taken."""


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """A ready job: its own parameters and input files (LFNs, all to be had in the request's input datasets)."""

    parameters: str
    inputs: tuple[str, ...] = ()
    priority_offset: int = 0


@dataclass(frozen=True, slots=True)
class ReadyJobs:
    """A new task of ready jobs: its number and its definitions' numbers, in the order they were given."""

    taskid: int
    jobdefids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """How many were marked TOBEABORTED; what had ended already is not marked."""

    tasks: int
    jobs: int


@dataclass(frozen=True, slots=True)
class MarkedJob:
    """A job definition that is marked TOBEABORTED, with the place of its job in PanDA's task."""

    jobdefid: int
    taskid: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that waits to be taken, with what is known of its parent."""

    taskid: int
    status: ProdTaskState
    name: str
    release: str
    priority: int
    vo: str
    actualpars: Mapping[str, object]
    parent: int | None
    parent_panda_task: int | None
    parent_status: ProdTaskState | None

    def request(self, parent_panda_task: int | None) -> TaskRequest:
        """The request for PanDA; raises BadRequest when somebody wrote something else into `actualpars`."""
        return build(
            TaskRequest,
            self.actualpars,
            "actualpars",
            name=self.name,
            release=self.release,
            priority=self.priority,
            vo=self.vo,
            parent_task=parent_panda_task,
            proddb_task=self.taskid,
        )


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as ProdDB shows it."""

    taskid: int
    name: str
    kind: str
    status: ProdTaskState
    tier: str | None
    priority: int
    parent: int | None
    message: str | None
    panda_task_id: int | None
    n_jobs: int
    n_waiting: int
    n_running: int
    n_done: int
    n_failed: int
    n_aborted: int
    status_changed_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job definition as ProdDB shows it; `attempt` is the newest one PanDA made, 0 before the first."""

    jobdefid: int
    taskid: int
    ordinal: int | None
    state: ProdJobState
    attempt: int
    maxattempt: int
    message: str | None
    state_changed_at: datetime


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """One attempt of a job definition as ProdDB shows it."""

    jobdefid: int
    ordinal: int
    attempt: int
    pandaid: int
    state: ProdJobState
    panda_status: str
    site: str | None
    error: str | None
    started_at: datetime | None
    ended_at: datetime | None
    state_changed_at: datetime


def actualpars(request: TaskRequest) -> dict[str, object]:
    """The part of a request that has no column of its own, ready for JSON; what is unset is left out."""
    found = {name: value for name, value in asdict(request).items() if name not in COLUMNS}
    shortened = _without_nothing(found)
    assert isinstance(shortened, dict)  # noqa: S101 - a mapping stays one
    return shortened


def _without_nothing(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nothing(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_without_nothing(one) for one in value]
    return value
