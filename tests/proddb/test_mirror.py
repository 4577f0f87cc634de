"""Writing PanDA's state into ProdDB: only along the table of changes, only from the place it was read at."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import Engine, delete, select, update

from panda.domain.mirror import START, JobImage, Position, TaskImage
from panda.domain.prodstates import PROD_JOB_CHANGES, PROD_TASK_CHANGES, ProdJobState, ProdTaskState
from panda.domain.states import JobStatus, TaskStage
from panda.errors import Conflict
from panda.proddb import mirror, read, submit, write
from panda.proddb.schema import ejobdef, etask
from tests.support.proddb import a_request

THEN = datetime(2009, 3, 24, 12, 0, tzinfo=UTC)
SOURCE = "panda"


def a_submitted_task(proddb: Engine, name: str = "mc.evgen", panda_task_id: int = 10_000_000) -> int:
    taskid = submit.add_task(proddb, a_request(name))
    with proddb.begin() as connection:
        write.claim_task(connection, taskid)
        write.record_submitted(connection, taskid, panda_task_id)
    return taskid


def an_image(taskid: int, status: JobStatus = JobStatus.RUNNING, **changes: object) -> JobImage:
    image = JobImage(
        taskid=taskid,
        ordinal=0,
        attempt=1,
        pandaid=100,
        status=status,
        own=True,
        newest=True,
        max_attempts=3,
        changed_at=THEN,
        site="BNL",
    )
    return replace(image, **changes)  # type: ignore[arg-type] # any field, by name


def write_jobs(proddb: Engine, *images: JobImage) -> None:
    with proddb.begin() as connection:
        place = read.position(connection, SOURCE)
        mirror.write_chunk(connection, SOURCE, place, Position(place.xid + 1, 0), images, [])


def write_task(proddb: Engine, taskid: int, stage: TaskStage, *, has_news: bool = False) -> None:
    image = TaskImage(taskid, 10_000_000, stage, "US", None, THEN, has_news)
    with proddb.begin() as connection:
        mirror.write_tasks(connection, [image])


def test_an_attempt_becomes_an_execution_and_its_job_follows(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    write_jobs(proddb, an_image(taskid, started_at=THEN))
    end = THEN + timedelta(hours=1)
    failed = an_image(taskid, JobStatus.FAILED, error="pilot 1099: lost", ended_at=end, changed_at=end, newest=False)
    second = an_image(taskid, JobStatus.ACTIVATED, attempt=2, pandaid=101, own=False)
    write_jobs(proddb, failed, second)
    [job] = submit.job_states(proddb, taskid)
    assert (job.state, job.attempt, job.maxattempt) == (ProdJobState.TODO, 2, 3)
    [execution] = submit.executions(proddb, taskid)
    assert (execution.state, execution.panda_status, execution.error) == ("FAILED", "failed", "pilot 1099: lost")
    assert (execution.started_at, execution.ended_at, execution.site) == (THEN, end, "BNL")
    [task] = submit.task_states(proddb)
    assert (task.n_jobs, task.n_waiting, task.n_failed) == (1, 1, 0)


def test_a_final_execution_never_changes(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    write_jobs(proddb, an_image(taskid, JobStatus.FINISHED))
    before = submit.executions(proddb, taskid), submit.job_states(proddb, taskid)
    write_jobs(proddb, an_image(taskid, JobStatus.RUNNING, site="SLAC"), an_image(taskid, JobStatus.FAILED))
    assert (submit.executions(proddb, taskid), submit.job_states(proddb, taskid)) == before


def test_the_time_of_change_never_goes_back(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    write_jobs(proddb, an_image(taskid, JobStatus.HOLDING))
    write_jobs(proddb, an_image(taskid, JobStatus.TRANSFERRING, changed_at=THEN - timedelta(seconds=5)))
    [execution] = submit.executions(proddb, taskid)
    assert (execution.panda_status, execution.state_changed_at) == ("transferring", THEN)


def test_an_older_attempt_alone_makes_the_job_known_but_says_nothing_of_it(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    write_jobs(proddb, an_image(taskid, JobStatus.CLOSED, newest=False))
    assert [(one.state, one.attempt) for one in submit.job_states(proddb, taskid)] == [("TOBEDONE", 0)]
    assert [one.state for one in submit.executions(proddb, taskid)] == ["ABORTED"]


def test_an_old_attempt_does_not_speak_over_a_newer_one(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    write_jobs(proddb, an_image(taskid, attempt=2, pandaid=101))
    write_jobs(proddb, an_image(taskid, JobStatus.FAILED))
    assert [(one.state, one.attempt) for one in submit.job_states(proddb, taskid)] == [("RUNNING", 2)]


STATUS_OF = {
    ProdJobState.TOBEDONE: JobStatus.DEFINED,
    ProdJobState.WAITINGDATA: JobStatus.ASSIGNED,
    ProdJobState.TODO: JobStatus.ACTIVATED,
    ProdJobState.RUNNING: JobStatus.RUNNING,
    ProdJobState.DONE: JobStatus.FINISHED,
    ProdJobState.FAILED: JobStatus.FAILED,
    ProdJobState.ABORTED: JobStatus.CANCELLED,
}


def test_jobs_change_exactly_along_the_table(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    cases = list(product(ProdJobState, STATUS_OF))
    with proddb.begin() as connection:
        connection.execute(
            ejobdef.insert(),
            [
                {"taskid": taskid, "ordinal": number, "state": old, "maxattempt": 3}
                for number, (old, _) in enumerate(cases)
            ],
        )
    images = [an_image(taskid, STATUS_OF[new], ordinal=number, own=False) for number, (_, new) in enumerate(cases)]
    write_jobs(proddb, *images)
    for job, (old, new) in zip(submit.job_states(proddb, taskid), cases, strict=True):
        assert job.state == (new if new in PROD_JOB_CHANGES[old] else old), f"{old} -> {new}"


STAGE_OF = {
    ProdTaskState.SUBMITTED: TaskStage.ASSIGNED,
    ProdTaskState.RUNNING: TaskStage.RUNNING,
    ProdTaskState.FINISHED: TaskStage.DONE,
    ProdTaskState.FAILED: TaskStage.FAILED,
    ProdTaskState.ABORTED: TaskStage.ABORTED,
}


@pytest.mark.parametrize("old", ProdTaskState)
def test_tasks_change_exactly_along_the_table(proddb: Engine, old: ProdTaskState) -> None:
    taskid = a_submitted_task(proddb)
    for new, stage in STAGE_OF.items():
        with proddb.begin() as connection:
            connection.execute(update(etask).values(status=old))
        write_task(proddb, taskid, stage)
        expected = new if new in PROD_TASK_CHANGES[old] else old
        [task] = submit.task_states(proddb, [taskid])
        assert (task.status, task.tier) == (expected, "US"), f"{old} -> {new}"


def test_an_end_is_not_told_before_the_last_news(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    write_task(proddb, taskid, TaskStage.DONE, has_news=True)
    assert [(one.status, one.ended_at) for one in submit.task_states(proddb)] == [("running", None)]
    write_task(proddb, taskid, TaskStage.DONE)
    assert [(one.status, one.ended_at) for one in submit.task_states(proddb)] == [("finished", THEN)]


@pytest.mark.parametrize("first", [True, False])
def test_of_two_writers_the_second_writes_nothing(proddb: Engine, *, first: bool) -> None:
    taskid = a_submitted_task(proddb)
    old, new = START, Position(7, 0)
    if not first:
        old, new = new, Position(9, 3)
        with proddb.begin() as connection:
            mirror.write_chunk(connection, SOURCE, START, old, [], [])
    with proddb.begin() as connection:
        mirror.write_chunk(connection, SOURCE, old, new, [], [])
    with pytest.raises(Conflict, match="another Bamboo"), proddb.begin() as connection:
        mirror.write_chunk(connection, SOURCE, old, new, [an_image(taskid)], [])
    assert submit.job_states(proddb, taskid) == []
    with proddb.connect() as connection:
        assert read.position(connection, SOURCE) == new
        assert read.position(connection, "another PanDA") == START


def test_a_task_that_was_deleted_from_proddb_stops_nobody(proddb: Engine) -> None:
    gone, kept = a_submitted_task(proddb), a_submitted_task(proddb, "mc.other", 10_000_001)
    with proddb.begin() as connection:
        connection.execute(delete(etask).where(etask.c.taskid == gone))
    write_jobs(proddb, an_image(gone), an_image(kept, pandaid=101))
    with proddb.connect() as connection:
        assert list(connection.scalars(select(ejobdef.c.taskid))) == [kept]


def test_thousands_at_once(proddb: Engine) -> None:
    taskid = a_submitted_task(proddb)
    images = [an_image(taskid, ordinal=number, pandaid=number) for number in range(3000)]
    write_jobs(proddb, *images)
    write_jobs(proddb, *(replace(one, status=JobStatus.FINISHED) for one in images))
    assert {one.state for one in submit.executions(proddb, taskid)} == {ProdJobState.DONE}
    assert submit.task_states(proddb)[0].n_done == 3000
