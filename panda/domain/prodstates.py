"""The states ProdDB knows (domain.md 1b), every change allowed between them, and which PanDA state is shown as which.

Theory. ProdDB is what production managers look at; PanDA is the truth about work it has taken. Producers put rows in
and may ask for an abort; everything else is written by Bamboo, which mirrors PanDA's *current* state. A mirror may skip
states that were short, so the tables hold every change that can be seen between two looks, not only single steps.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from panda.domain.states import BunchState, JobStatus, TaskStage


class ProdTaskState(StrEnum):
    """etask.status: the words of the ATLAS production database; producers wrote the abort mark in capitals."""

    PENDING = "pending"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"
    OBSOLETE = "obsolete"
    TOBEABORTED = "TOBEABORTED"


class ProdJobState(StrEnum):
    """ejobdef.state, and (from RUNNING on) ejobexe.state."""

    TOBEDONE = "TOBEDONE"
    WAITINGDATA = "WAITINGDATA"
    TODO = "TODO"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    ABORTED = "ABORTED"
    TOBEABORTED = "TOBEABORTED"


_T, _J = ProdTaskState, ProdJobState
_TASK_ENDS = frozenset({_T.FINISHED, _T.FAILED, _T.ABORTED})
_JOB_ENDS = frozenset({_J.DONE, _J.FAILED, _J.ABORTED})
_JOB_LIVE = frozenset({_J.TOBEDONE, _J.WAITINGDATA, _J.TODO, _J.RUNNING})

FINAL_PROD_TASK = _TASK_ENDS | {_T.OBSOLETE}
"""Nothing is expected of these any more; a retry in PanDA can bring `finished` and `failed` back to `running`."""

FINAL_PROD_JOB = _JOB_ENDS

PROD_TASK_CHANGES: Mapping[ProdTaskState, frozenset[ProdTaskState]] = {
    _T.PENDING: frozenset({_T.SUBMITTING, _T.FAILED, _T.TOBEABORTED, _T.OBSOLETE}),
    # `submitting` is Bamboo's intent, committed before PanDA is asked: after a crash the row is simply taken again.
    _T.SUBMITTING: frozenset({_T.SUBMITTED, _T.FAILED, _T.TOBEABORTED}),
    _T.SUBMITTED: frozenset({_T.RUNNING, _T.TOBEABORTED}) | _TASK_ENDS,
    _T.RUNNING: frozenset({_T.SUBMITTED, _T.TOBEABORTED}) | _TASK_ENDS,
    # An abort that comes too late ends as the task ended.
    _T.TOBEABORTED: _TASK_ENDS,
    _T.FINISHED: frozenset({_T.RUNNING, _T.OBSOLETE}),
    _T.FAILED: frozenset({_T.SUBMITTED, _T.RUNNING, _T.OBSOLETE}),
    _T.ABORTED: frozenset({_T.OBSOLETE}),
    _T.OBSOLETE: frozenset(),
}

PROD_JOB_CHANGES: Mapping[ProdJobState, frozenset[ProdJobState]] = {
    **{live: (_JOB_LIVE | _JOB_ENDS | {_J.TOBEABORTED}) - {live} for live in _JOB_LIVE},
    # The mark stays until PanDA has ended the job: a state that is only on its way does not wipe it out.
    _J.TOBEABORTED: _JOB_ENDS,
    # A task's retry makes a new attempt; what is done is never done again.
    _J.FAILED: _JOB_LIVE | _JOB_ENDS - {_J.FAILED},
    _J.ABORTED: _JOB_LIVE | _JOB_ENDS - {_J.ABORTED},
    _J.DONE: frozenset(),
}

_OF_JOB: Mapping[JobStatus, ProdJobState] = {
    JobStatus.DEFINED: _J.TOBEDONE,
    JobStatus.WAITING: _J.WAITINGDATA,
    JobStatus.ASSIGNED: _J.WAITINGDATA,
    JobStatus.ACTIVATED: _J.TODO,
    JobStatus.SENT: _J.RUNNING,
    JobStatus.STARTING: _J.RUNNING,
    JobStatus.RUNNING: _J.RUNNING,
    JobStatus.HOLDING: _J.RUNNING,
    JobStatus.TRANSFERRING: _J.RUNNING,
    JobStatus.MERGING: _J.RUNNING,
    JobStatus.FINISHED: _J.DONE,
    JobStatus.FAILED: _J.FAILED,
    JobStatus.CANCELLED: _J.ABORTED,
    JobStatus.CLOSED: _J.ABORTED,
}

_OF_TASK: Mapping[TaskStage, ProdTaskState] = {
    TaskStage.REGISTERED: _T.SUBMITTED,
    TaskStage.ASSIGNED: _T.SUBMITTED,
    TaskStage.RUNNING: _T.RUNNING,
    TaskStage.ABORTING: _T.RUNNING,
    TaskStage.DONE: _T.FINISHED,
    TaskStage.FINISHED: _T.FINISHED,
    TaskStage.FAILED: _T.FAILED,
    TaskStage.ABORTED: _T.ABORTED,
}


def prod_job_state(status: JobStatus | BunchState) -> ProdJobState:
    """Tell how ProdDB shows a job of this status, its own or (before hand-over) its bunch's."""
    return _OF_JOB[JobStatus(status.value)]


def prod_task_state(stage: TaskStage) -> ProdTaskState:
    """Tell how ProdDB shows a task of this stage; `done` and the partial `finished` are both `finished` there."""
    return _OF_TASK[stage]


def states_before(new: ProdTaskState) -> tuple[ProdTaskState, ...]:
    """Every task state from which `new` may be reached, for the WHERE clause of the change."""
    return _before(PROD_TASK_CHANGES, new)


def job_states_before(new: ProdJobState) -> tuple[ProdJobState, ...]:
    """Every job state from which `new` may be reached, for the WHERE clause of the change."""
    return _before(PROD_JOB_CHANGES, new)


State = TypeVar("State", ProdTaskState, ProdJobState)


def _before(changes: Mapping[State, frozenset[State]], new: State) -> tuple[State, ...]:
    return tuple(old for old, news in changes.items() if new in news)
