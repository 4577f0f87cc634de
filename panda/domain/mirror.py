"""Values that go from PanDA to its mirror in ProdDB: how far that has come, and what a job or a task looks like now."""

from dataclasses import dataclass
from datetime import datetime

from panda.domain.prodstates import ProdJobState, ProdTaskState, prod_job_state, prod_task_state
from panda.domain.states import FINAL_TASK, BunchState, JobStatus, TaskStage


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in PanDA's events, ordered by transaction and number: everything up to it has been written."""

    xid: int
    event_id: int


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class JobImage:
    """One attempt of one job of a ProdDB task as it is now. `own` is false while its bunch still speaks for it.

    `newest` tells that no later attempt of its ordinal exists; `changed_at` is when the last event told of it happened.
    """

    taskid: int
    ordinal: int
    attempt: int
    pandaid: int
    status: JobStatus | BunchState
    own: bool
    newest: bool
    max_attempts: int
    changed_at: datetime
    site: str | None = None
    node: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    n_events: int | None = None

    @property
    def state(self) -> ProdJobState:
        """How ProdDB shows it."""
        return prod_job_state(self.status)


@dataclass(frozen=True, slots=True)
class TaskImage:
    """A ProdDB task's production task as it is now; `says` is its error, or what it waits for.

    `has_news`: some of its events are not in ProdDB yet, so its end must not be told before theirs.
    """

    taskid: int
    task_id: int
    stage: TaskStage
    cloud: str | None
    says: str | None
    ended_at: datetime | None
    has_news: bool

    @property
    def state(self) -> ProdTaskState:
        """How ProdDB shows it; `running` until its last news has been written."""
        if self.has_news and self.stage in FINAL_TASK:
            return ProdTaskState.RUNNING
        return prod_task_state(self.stage)
