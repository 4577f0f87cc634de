"""The table of ProdDB's states: nothing is a dead end that should not be, and every PanDA state has its word."""

import pytest

from panda.domain.prodstates import (
    FINAL_PROD_JOB,
    FINAL_PROD_TASK,
    PROD_JOB_CHANGES,
    PROD_TASK_CHANGES,
    ProdJobState,
    ProdTaskState,
    prod_job_state,
    prod_task_state,
)
from panda.domain.states import (
    BUNCH_CHANGES,
    FINAL_JOB,
    FINAL_TASK,
    JOB_CHANGES,
    TASK_CHANGES,
    BunchState,
    JobStatus,
    TaskStage,
)


def test_the_tables_speak_of_every_state() -> None:
    assert set(PROD_JOB_CHANGES) == set(ProdJobState)
    assert set(PROD_TASK_CHANGES) == set(ProdTaskState)
    assert not any(old in news for old, news in PROD_JOB_CHANGES.items())
    assert not any(old in news for old, news in PROD_TASK_CHANGES.items())


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_is_final_there_exactly_when_it_is_final_here(status: JobStatus) -> None:
    assert (prod_job_state(status) in FINAL_PROD_JOB) == (status in FINAL_JOB)


@pytest.mark.parametrize("stage", TaskStage)
def test_a_task_is_final_there_exactly_when_it_is_final_here(stage: TaskStage) -> None:
    assert (prod_task_state(stage) in FINAL_PROD_TASK) == (stage in FINAL_TASK)


def test_every_change_of_pandas_can_be_mirrored() -> None:
    jobs = [(old, new) for old, news in JOB_CHANGES.items() if old for new in news]
    bunches: list[tuple[JobStatus | BunchState, JobStatus | BunchState]] = [
        (old, new) for old, news in BUNCH_CHANGES.items() for new in news
    ]
    for old, new in jobs + bunches:
        before, after = prod_job_state(old), prod_job_state(new)
        assert before == after or after in PROD_JOB_CHANGES[before], f"{old} -> {new}"
    for stage, stages in TASK_CHANGES.items():
        for later in stages:
            was, now = prod_task_state(stage), prod_task_state(later)
            assert was == now or now in PROD_TASK_CHANGES[was], f"{stage} -> {later}"


def test_what_is_marked_can_only_end() -> None:
    assert PROD_JOB_CHANGES[ProdJobState.TOBEABORTED] == FINAL_PROD_JOB
    assert PROD_TASK_CHANGES[ProdTaskState.TOBEABORTED] <= FINAL_PROD_TASK
    assert PROD_JOB_CHANGES[ProdJobState.DONE] == frozenset()
