"""Bamboo writes back: what happened in PanDA stands in ProdDB once, in order, whatever is cut off or comes late."""

from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select, text, update

from panda.domain.mirror import START
from panda.domain.states import BunchState, JobStatus, TaskStage
from panda.errors import Conflict
from panda.proddb import mirror, submit, write
from panda.services import bamboo
from panda.services.context import Context
from panda.store import ends, outbox, pop, queue, schema
from tests.support.builders import a_bunch, a_site, a_task, jobs_of
from tests.support.crash import every_crash
from tests.support.pops import handed_out
from tests.support.proddb import a_request


@pytest.fixture
def site(rows: Connection) -> int:
    """A site where the jobs run."""
    return a_site(rows)


def a_mirrored_task(proddb: Engine, rows: Connection, name: str = "mc.evgen", **columns: Any) -> tuple[int, int]:
    """A task of both sides: its TASKID in ProdDB and its number in PanDA."""
    taskid = submit.add_task(proddb, a_request(name))
    task_id = a_task(rows, name, **{"stage": TaskStage.RUNNING, "proddb_task": taskid} | columns)
    with proddb.begin() as connection:
        write.claim_task(connection, taskid)
        write.record_submitted(connection, taskid, task_id)
    return taskid, task_id


def hand_out(rows: Connection, bunch_id: int, site_id: int, n: int) -> list[int]:
    queue.refill_ready(rows, [bunch_id])
    [found] = queue.classes_of_sites(rows, [site_id])
    return handed_out(rows, [pop.Want(found["id"], site_id, n)])


def step(rows: Connection, job_id: int, new: JobStatus) -> None:
    """A job's ordinary step, with its event."""
    old = rows.execute(select(schema.job).where(schema.job.c.id == job_id)).one()
    rows.execute(update(schema.job).where(schema.job.c.id == job_id).values(status=new))
    rows.execute(
        insert(schema.job_event).values(task_id=old.task_id, job_id=job_id, from_state=old.status, to_state=new)
    )


def states(proddb: Engine, taskid: int) -> list[str]:
    return [one.state.value for one in submit.job_states(proddb, taskid)]


def everything(proddb: Engine, taskid: int) -> list[tuple[object, ...]]:
    """All that ProdDB says of a task, without times of its own clock."""
    [task] = submit.task_states(proddb, [taskid])
    jobs = [(one.ordinal, one.state, one.attempt, one.message) for one in submit.job_states(proddb, taskid)]
    return [
        (task.status, task.tier, task.message, task.n_jobs, task.n_failed),
        *jobs,
        *(astuple(one)[1:] for one in submit.executions(proddb, taskid)),
    ]


def test_jobs_are_shown_through_their_bunch_until_a_pilot_has_them(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    first = a_bunch(rows, task_id, n_jobs=2)
    assert bamboo.write_back(ctx, proddb).jobs == 2
    assert states(proddb, taskid) == ["TOBEDONE", "TOBEDONE"]
    assert submit.executions(proddb, taskid) == []
    second = a_bunch(rows, task_id, n_jobs=2, first_ordinal=2, state=BunchState.ASSIGNED, site_id=site)
    queue_of = a_bunch(rows, task_id, n_jobs=2, first_ordinal=4, state=BunchState.ACTIVATED, site_id=site)
    hand_out(rows, queue_of, site, 1)
    bamboo.write_back(ctx, proddb)
    assert states(proddb, taskid) == ["TOBEDONE"] * 2 + ["WAITINGDATA"] * 2 + ["RUNNING", "TODO"]
    [execution] = submit.executions(proddb, taskid)
    assert (execution.panda_status, execution.site, execution.ordinal) == ("sent", "BNL", 4)
    assert execution.started_at is not None
    [task] = submit.task_states(proddb, [taskid])
    assert (task.status, task.tier, task.n_jobs, task.n_waiting, task.n_running) == ("running", "US", 6, 5, 1)
    assert first < second


def test_every_attempt_has_its_row_and_the_error_it_died_of(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=2, state=BunchState.ACTIVATED, site_id=site)
    told, untold = hand_out(rows, bunch, site, 2)
    rows.execute(
        insert(schema.job_report).values(
            job_id=told,
            verdict="failed",
            errors=[{"component": "pilot", "code": 1305, "text": "payload failed"}],
            wall_s=12.5,
            started_at=datetime(2009, 3, 24, tzinfo=UTC),
            ended_at=datetime(2009, 3, 25, tzinfo=UTC),
        )
    )
    for job in (told, untold):
        ends.end_jobs(rows, [job], JobStatus.FAILED, why="heartbeat lost", who="watcher")
    bamboo.write_back(ctx, proddb)
    executions = submit.executions(proddb, taskid)
    assert [one.error for one in executions] == ["pilot 1305: payload failed", "heartbeat lost"]
    assert executions[0].ended_at == datetime(2009, 3, 25, tzinfo=UTC)
    assert [one.state for one in executions] == ["FAILED", "FAILED"]
    assert states(proddb, taskid) == ["FAILED", "FAILED"]


def test_a_retry_in_the_same_transaction_is_never_shown_as_a_failure(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=1, state=BunchState.ACTIVATED, site_id=site)
    [job] = hand_out(rows, bunch, site, 1)
    with ctx.engine.begin() as connection:
        ends.end_jobs(connection, [job], JobStatus.FAILED, why="lost", who="watcher")
        retry = a_bunch(connection, task_id, n_jobs=0, state=BunchState.DEFINED)
        connection.execute(
            text("""
                INSERT INTO job (task_id, bunch_id, parent_id, ordinal, needs_id, attempt)
                SELECT task_id, :bunch, id, ordinal, needs_id, 2 FROM job WHERE id = :job
            """),
            {"bunch": retry, "job": job},
        )
    seen = set()
    for _ in range(10):
        bamboo.write_back(ctx, proddb, chunk_events=1)
        seen.add(tuple(states(proddb, taskid)))
    assert seen == {("TOBEDONE",)}
    assert [(one.attempt, one.state) for one in submit.executions(proddb, taskid)] == [(1, "FAILED")]
    assert submit.job_states(proddb, taskid)[0].attempt == 2


def test_an_event_that_commits_late_is_not_skipped(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=2, state=BunchState.ACTIVATED, site_id=site)
    early, late = hand_out(rows, bunch, site, 2)
    bamboo.write_back(ctx, proddb)
    with ctx.engine.connect() as slow:
        step(slow, late, JobStatus.RUNNING)  # its event has the smaller number, and is not committed yet
        step(rows, early, JobStatus.RUNNING)
        bamboo.write_back(ctx, proddb)
        assert [one.panda_status for one in submit.executions(proddb, taskid)] == ["sent", "sent"]
        slow.commit()
    bamboo.write_back(ctx, proddb)
    assert [one.panda_status for one in submit.executions(proddb, taskid)] == ["running", "running"]


def test_a_step_that_is_read_after_a_later_one_does_not_turn_time_back(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=1, state=BunchState.ACTIVATED, site_id=site)
    [job] = hand_out(rows, bunch, site, 1)
    with ctx.engine.connect() as first, ctx.engine.connect() as open_one, ctx.engine.connect() as second:
        first.execute(text("SELECT pg_current_xact_id()"))
        open_one.execute(text("SELECT pg_current_xact_id()"))
        step(second, job, JobStatus.RUNNING)  # the earlier step in the transaction with the larger number
        second.commit()
        step(first, job, JobStatus.HOLDING)
        first.commit()
        bamboo.write_back(ctx, proddb)
        before = submit.executions(proddb, taskid)
        assert [one.panda_status for one in before] == ["holding"]
    bamboo.write_back(ctx, proddb)
    assert submit.executions(proddb, taskid) == before


def test_a_second_round_changes_nothing(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=3, state=BunchState.ACTIVATED, site_id=site)
    jobs = hand_out(rows, bunch, site, 2)
    ends.end_jobs(rows, jobs[:1], JobStatus.CANCELLED, why="killed", who="me")
    first = bamboo.write_back(ctx, proddb)
    before = everything(proddb, taskid)
    assert first.events == 5
    second = bamboo.write_back(ctx, proddb)
    assert (second.events, second.jobs) == (0, 0)
    assert everything(proddb, taskid) == before


def test_reading_everything_again_changes_nothing(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=3, state=BunchState.ACTIVATED, site_id=site)
    jobs = hand_out(rows, bunch, site, 2)
    step(rows, jobs[1], JobStatus.RUNNING)
    ends.end_jobs(rows, jobs[:1], JobStatus.FAILED, why="lost", who="watcher")
    bamboo.write_back(ctx, proddb)
    before = everything(proddb, taskid)
    with proddb.begin() as connection:
        connection.execute(text("DELETE FROM proddb.mirror_cursor"))
    assert bamboo.write_back(ctx, proddb).events > 0
    assert everything(proddb, taskid) == before


def test_cut_off_at_any_statement_it_loses_and_doubles_nothing(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=3, state=BunchState.ACTIVATED, site_id=site)
    jobs = hand_out(rows, bunch, site, 2)
    ends.end_jobs(rows, jobs[:1], JobStatus.FAILED, why="lost", who="watcher")
    bamboo.write_back(ctx, proddb)
    expected = everything(proddb, taskid)
    forget(proddb)
    crashes = 0
    for _ in every_crash(lambda: bamboo.write_back(ctx, proddb, chunk_events=2), ctx.engine, proddb):
        bamboo.write_back(ctx, proddb)
        assert everything(proddb, taskid) == expected
        forget(proddb)
        crashes += 1
    assert everything(proddb, taskid) == expected
    assert crashes > 20


def forget(proddb: Engine) -> None:
    """Take ProdDB back to where nothing had been mirrored."""
    with proddb.begin() as connection:
        connection.execute(text("DELETE FROM proddb.ejobdef"))
        connection.execute(text("DELETE FROM proddb.mirror_cursor"))
        connection.execute(text("UPDATE proddb.etask SET status = 'submitted', tier = NULL, n_jobs = 0, n_done = 0"))


def test_small_chunks_come_to_the_same_end(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    for number in range(3):
        a_bunch(rows, task_id, n_jobs=4, first_ordinal=4 * number, state=BunchState.ACTIVATED, site_id=site)
    done = bamboo.write_back(ctx, proddb, chunk_events=100, chunk_jobs=5)
    assert done.events == 6
    assert done.chunks > 2
    assert states(proddb, taskid) == ["TODO"] * 12


def test_a_task_ends_after_its_jobs(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=1, state=BunchState.ACTIVATED, site_id=site)
    [job] = hand_out(rows, bunch, site, 1)
    step(rows, job, JobStatus.HOLDING)
    with ctx.engine.connect() as open_one:
        open_one.execute(text("SELECT pg_current_xact_id()"))
        step(rows, job, JobStatus.FINISHED)
        rows.execute(text("UPDATE production_task SET stage = 'done', ended_at = now()"))
        bamboo.write_back(ctx, proddb)
        [task] = submit.task_states(proddb)
        assert (task.status, task.ended_at) == ("running", None)
    bamboo.write_back(ctx, proddb)
    [task] = submit.task_states(proddb, [taskid])
    assert (task.status, task.n_done) == ("finished", 1)
    assert task.ended_at is not None


def test_a_task_that_is_retried_and_ends_again_between_two_rounds(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows, stage=TaskStage.FAILED, error="all jobs failed")
    bamboo.write_back(ctx, proddb)
    assert [(one.status, one.message) for one in submit.task_states(proddb)] == [("failed", "all jobs failed")]
    bunch = a_bunch(rows, task_id, n_jobs=1, state=BunchState.ACTIVATED, site_id=site)
    rows.execute(text("UPDATE production_task SET stage = 'running', error = NULL"))
    [job] = hand_out(rows, bunch, site, 1)
    for new in (JobStatus.HOLDING, JobStatus.FINISHED):
        step(rows, job, new)
    rows.execute(text("UPDATE production_task SET stage = 'done'"))
    bamboo.write_back(ctx, proddb)
    assert [(one.status, one.message, one.n_done) for one in submit.task_states(proddb, [taskid])] == [
        ("finished", None, 1)
    ]


def test_tasks_that_are_not_from_proddb_move_only_the_place(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    task_id = a_task(rows, "a-form's-task")
    bunch = a_bunch(rows, task_id, n_jobs=2, state=BunchState.ACTIVATED, site_id=site)
    hand_out(rows, bunch, site, 2)
    done = bamboo.write_back(ctx, proddb)
    assert (done.events, done.jobs, done.tasks) == (0, 0, 0)
    assert submit.task_states(proddb) == []


def test_a_job_that_ended_before_a_pilot_had_it(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    bunch = a_bunch(rows, task_id, n_jobs=2)
    [first, _] = jobs_of(rows, bunch)
    ends.end_jobs(rows, [first], JobStatus.CANCELLED, why="killed by me", who="me")
    rows.execute(update(schema.bunch).values(state=BunchState.ACTIVATED, site_id=site))
    rows.execute(
        insert(schema.job_event).values(
            task_id=task_id, bunch_id=bunch, n=1, from_state=JobStatus.DEFINED, to_state=JobStatus.ACTIVATED
        )
    )
    bamboo.write_back(ctx, proddb)
    assert states(proddb, taskid) == ["ABORTED", "TODO"]
    [execution] = submit.executions(proddb, taskid)
    assert (execution.pandaid, execution.error) == (first, "killed by me")


def test_two_bamboos_at_once(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    taskid, task_id = a_mirrored_task(proddb, rows)
    a_bunch(rows, task_id, n_jobs=2, state=BunchState.ACTIVATED, site_id=site)
    with bamboo.single(ctx) as held:
        assert held
        with bamboo.single(ctx) as second:
            assert not second
    with bamboo.single(ctx) as again:
        assert again
    with ctx.engine.connect() as connection:
        source = outbox.source(connection)
    bamboo.write_back(ctx, proddb)
    with pytest.raises(Conflict), proddb.begin() as connection:
        mirror.write_chunk(connection, source, START, START, [], [])
    assert states(proddb, taskid) == ["TODO", "TODO"]
