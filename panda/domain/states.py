"""The states of a bunch, a job and a production task, and every change that is allowed between them.

Theory. Until a pilot gets it, a job's state is its bunch's (`BunchState`), and `job.status` is null in the database.
From the hand-over on, or when it ends earlier, the job carries its own `JobStatus`. The two sets share one vocabulary,
PanDA's words (domain.md 1b), so that counters, history and monitor need one list. A final state never changes: a retry
is a new row.

Every change in SQL names the old state in its WHERE clause; zero rows means that somebody was faster, which is normal.
Diagrams in the docs are generated from the tables of this file.
"""

from enum import StrEnum


class JobStatus(StrEnum):
    """What a job is doing, in the order of its life (domain.md 1b)."""

    DEFINED = "defined"
    WAITING = "waiting"
    ASSIGNED = "assigned"
    ACTIVATED = "activated"
    SENT = "sent"
    STARTING = "starting"
    RUNNING = "running"
    HOLDING = "holding"
    TRANSFERRING = "transferring"
    MERGING = "merging"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CLOSED = "closed"


class BunchState(StrEnum):
    """Where a bunch of consecutive jobs stands before hand-over."""

    DEFINED = "defined"
    WAITING = "waiting"
    ASSIGNED = "assigned"
    ACTIVATED = "activated"


class TaskStage(StrEnum):
    """How far a production task has come."""

    REGISTERED = "registered"
    ASSIGNED = "assigned"
    RUNNING = "running"
    ABORTING = "aborting"
    DONE = "done"
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"


FINAL_JOB = frozenset({JobStatus.FINISHED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.CLOSED})
FINAL_TASK = frozenset({TaskStage.DONE, TaskStage.FINISHED, TaskStage.FAILED, TaskStage.ABORTED})

IN_HAND = frozenset({JobStatus.SENT, JobStatus.STARTING, JobStatus.RUNNING})
"""A pilot holds the job."""

BUNCH_CHANGES: dict[BunchState, frozenset[BunchState]] = {
    BunchState.DEFINED: frozenset({BunchState.WAITING, BunchState.ASSIGNED, BunchState.ACTIVATED}),
    BunchState.WAITING: frozenset({BunchState.DEFINED, BunchState.ASSIGNED, BunchState.ACTIVATED}),
    BunchState.ASSIGNED: frozenset({BunchState.ACTIVATED, BunchState.DEFINED}),
    BunchState.ACTIVATED: frozenset({BunchState.DEFINED}),
}

_ENDS = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.CLOSED})

JOB_CHANGES: dict[JobStatus | None, frozenset[JobStatus]] = {
    None: frozenset({JobStatus.SENT}) | _ENDS,
    JobStatus.SENT: frozenset({JobStatus.STARTING, JobStatus.RUNNING, JobStatus.HOLDING}) | _ENDS,
    JobStatus.STARTING: frozenset({JobStatus.RUNNING, JobStatus.HOLDING}) | _ENDS,
    JobStatus.RUNNING: frozenset({JobStatus.HOLDING}) | _ENDS,
    JobStatus.HOLDING: frozenset({JobStatus.TRANSFERRING, JobStatus.MERGING, JobStatus.FINISHED}) | _ENDS,
    JobStatus.MERGING: frozenset({JobStatus.FINISHED}) | _ENDS,
    JobStatus.TRANSFERRING: frozenset({JobStatus.FINISHED}) | _ENDS,
}

TASK_CHANGES: dict[TaskStage, frozenset[TaskStage]] = {
    TaskStage.REGISTERED: frozenset({TaskStage.ASSIGNED, TaskStage.ABORTING, TaskStage.FAILED}),
    TaskStage.ASSIGNED: frozenset({TaskStage.RUNNING, TaskStage.ABORTING, TaskStage.FAILED}),
    TaskStage.RUNNING: frozenset({TaskStage.DONE, TaskStage.FINISHED, TaskStage.FAILED, TaskStage.ABORTING}),
    TaskStage.ABORTING: frozenset({TaskStage.ABORTED}),
    # A retry after the end opens continuation datasets; nothing that was closed is reopened (design section 5).
    TaskStage.FINISHED: frozenset({TaskStage.RUNNING}),
    # A task whose build step failed never had a job: with a new build it begins anew in its cloud.
    TaskStage.FAILED: frozenset({TaskStage.RUNNING, TaskStage.ASSIGNED}),
}


def allowed(old: JobStatus | None, new: JobStatus) -> bool:
    """Tell whether a job may go from `old` (None: its bunch still speaks for it) to `new`."""
    return new in JOB_CHANGES.get(old, frozenset())


def sources_of(new: JobStatus) -> tuple[JobStatus, ...]:
    """Every status from which `new` may be reached, for the WHERE clause of the update that makes the change."""
    return tuple(old for old, news in JOB_CHANGES.items() if old is not None and new in news)
