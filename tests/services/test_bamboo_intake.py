"""Bamboo takes work from ProdDB: each task once, whatever is cut off; refusals and aborts find their way back."""

import itertools
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, text, update

from panda.domain.states import JobStatus
from panda.domain.work import InputSpec, Resources, Split
from panda.proddb import submit
from panda.proddb.records import JobDefinition
from panda.services import bamboo, control, intake
from panda.services.context import Context
from panda.services.intake import Taken
from panda.services.submit import submit_task
from panda.store import ends, pop, queue, schema
from tests.support.builders import a_site
from tests.support.crash import every_crash
from tests.support.pops import handed_out
from tests.support.proddb import a_request


@pytest.fixture(autouse=True)
def site(rows: Connection) -> int:
    """A grid of one site, without which nothing is feasible."""
    return a_site(rows, memory_mb=4000)


def panda_tasks(rows: Connection) -> list[Any]:
    return list(rows.execute(select(schema.production_task).order_by(schema.production_task.c.id)))


def in_proddb(proddb: Engine, taskid: int) -> Any:
    [task] = submit.task_states(proddb, [taskid])
    return task


def ready_jobs(proddb: Engine, name: str = "mc.loose", n: int = 3) -> Any:
    return submit.add_job_definitions(proddb, a_request(name), [JobDefinition(f"--n {one}") for one in range(n)])


def test_a_request_becomes_a_production_task(ctx: Context, proddb: Engine, rows: Connection) -> None:
    taskid = submit.add_task(proddb, a_request(priority=640, campaign="MC09"))
    assert intake.take_tasks(ctx, proddb) == Taken(submitted=1)
    [task] = panda_tasks(rows)
    assert (task.proddb_task, task.name, task.priority, task.campaign) == (taskid, "mc.evgen", 640, "MC09")
    found = in_proddb(proddb, taskid)
    assert (found.status, found.panda_task_id, found.message) == ("submitted", task.id, None)
    assert intake.take_tasks(ctx, proddb) == Taken()
    assert len(panda_tasks(rows)) == 1


def test_another_executors_tasks_are_left_alone(ctx: Context, proddb: Engine, rows: Connection) -> None:
    taskid = submit.add_task(proddb, a_request())
    with proddb.begin() as connection:
        connection.execute(text("UPDATE proddb.etask SET grid = 'nordugrid'"))
    submit.mark_to_be_aborted(proddb, tasks=[taskid])
    assert intake.take_tasks(ctx, proddb) == Taken()
    assert intake.kill_to_be_aborted(ctx, proddb) == intake.Aborts(0, 0, 0)
    assert panda_tasks(rows) == []


def test_a_refusal_is_written_back_with_reason_and_hint(ctx: Context, proddb: Engine, rows: Connection) -> None:
    huge = submit.add_task(proddb, a_request(resources=Resources(memory_mb=10_000_000)))
    blind = submit.add_task(
        proddb, a_request("mc.blind", inputs=(InputSpec("IN", ("nowhere.HITS",)),), split=Split(files_per_job=1))
    )
    child = submit.add_task(proddb, a_request("mc.child", split=Split(files_per_job=1)), parent=huge)
    fine = submit.add_task(proddb, a_request("mc.fine"))
    assert intake.take_tasks(ctx, proddb) == Taken(submitted=1, refused=3)
    assert "4000" in in_proddb(proddb, huge).message
    assert "nowhere.HITS" in in_proddb(proddb, blind).message
    assert f"parent task {huge} never came to PanDA" in in_proddb(proddb, child).message
    assert [in_proddb(proddb, one).status for one in (huge, blind, child, fine)] == ["failed"] * 3 + ["submitted"]
    assert in_proddb(proddb, huge).ended_at is not None
    assert [one.proddb_task for one in panda_tasks(rows)] == [fine]


def test_nonsense_in_a_row_harms_only_itself(ctx: Context, proddb: Engine) -> None:
    odd = submit.add_task(proddb, a_request("mc.odd"))
    large = submit.add_task(proddb, a_request("mc.large", resources=Resources(work_hs23_s=1)))
    with proddb.begin() as connection:
        connection.execute(
            text("""
                UPDATE proddb.etask SET actualpars = CASE taskid WHEN :odd THEN '{"transformation": 7}'
                    ELSE jsonb_set(actualpars, '{resources,work_hs23_s}', '3000000000', false) END
            """),
            {"odd": odd},
        )
    good = submit.add_task(proddb, a_request("mc.good"))
    assert intake.take_tasks(ctx, proddb) == Taken(submitted=1, refused=2)
    assert "transformation" in in_proddb(proddb, odd).message
    assert "work_hs23_s is 3000000000; at most 2147483647" in in_proddb(proddb, large).message
    assert in_proddb(proddb, good).status == "submitted"


def test_children_know_their_parents(ctx: Context, proddb: Engine, rows: Connection) -> None:
    parent = submit.add_task(proddb, a_request())
    child = submit.add_task(proddb, a_request("mc.simul", split=Split(files_per_job=1)), parent=parent)
    grandchild = submit.add_task(proddb, a_request("mc.reco", split=Split(files_per_job=1)), parent=child)
    assert intake.take_tasks(ctx, proddb) == Taken(submitted=3)
    first, second, third = panda_tasks(rows)
    assert [one.proddb_task for one in (first, second, third)] == [parent, child, grandchild]
    assert (second.parent_id, third.parent_id) == (first.id, second.id)


def test_a_child_waits_for_a_parent_that_is_taken_later(ctx: Context, proddb: Engine, rows: Connection) -> None:
    parent = ready_jobs(proddb).taskid
    child = submit.add_task(proddb, a_request("mc.simul", split=Split(files_per_job=1)), parent=parent)
    assert intake.take_tasks(ctx, proddb) == Taken(waiting=1)
    assert f"parent task {parent}" in in_proddb(proddb, child).message
    assert intake.take_job_definitions(ctx, proddb) == Taken(submitted=1)
    assert intake.take_tasks(ctx, proddb) == Taken(submitted=1)
    assert in_proddb(proddb, child).message is None
    first, second = panda_tasks(rows)
    assert second.parent_id == first.id


def test_ready_jobs_become_loose_jobs_in_their_order(ctx: Context, proddb: Engine, rows: Connection) -> None:
    ready = ready_jobs(proddb, n=4)
    submit.mark_to_be_aborted(proddb, jobdefs=[ready.jobdefids[1]])
    assert intake.take_job_definitions(ctx, proddb) == Taken(submitted=1)
    jobs = list(rows.execute(select(schema.job).order_by(schema.job.c.ordinal)))
    assert [(one.ordinal, one.parameters) for one in jobs] == [(0, "--n 0"), (1, "--n 2"), (2, "--n 3")]
    bamboo.write_back(ctx, proddb)
    found = {one.jobdefid: one for one in submit.job_states(proddb, ready.taskid)}
    assert [found[one].ordinal for one in ready.jobdefids] == [0, None, 1, 2]
    assert [found[one].state for one in ready.jobdefids] == ["TOBEDONE", "ABORTED", "TOBEDONE", "TOBEDONE"]
    task = in_proddb(proddb, ready.taskid)
    assert (task.n_jobs, task.n_waiting, task.n_aborted) == (4, 3, 1)


def test_ready_jobs_that_panda_refuses_fail_with_their_task(ctx: Context, proddb: Engine, rows: Connection) -> None:
    ready = submit.add_job_definitions(
        proddb, a_request(resources=Resources(memory_mb=10_000_000)), [JobDefinition("--n 1"), JobDefinition("--n 2")]
    )
    assert intake.take_job_definitions(ctx, proddb) == Taken(refused=1)
    assert [one.state for one in submit.job_states(proddb, ready.taskid)] == ["FAILED", "FAILED"]
    assert in_proddb(proddb, ready.taskid).n_failed == 2
    assert panda_tasks(rows) == []


def test_cut_off_at_any_statement_each_task_is_taken_once(ctx: Context, proddb: Engine, rows: Connection) -> None:
    taskids: list[int] = []
    names = itertools.count(1)

    def put_in() -> None:
        number = next(names)
        parent = submit.add_task(proddb, a_request(f"mc.{number}.evgen"))
        child = submit.add_task(proddb, a_request(f"mc.{number}.simul", split=Split(files_per_job=1)), parent=parent)
        taskids.extend([parent, child, ready_jobs(proddb, f"mc.{number}.loose").taskid])

    def take() -> None:
        intake.take_tasks(ctx, proddb)
        intake.take_job_definitions(ctx, proddb)

    crashes = 0
    put_in()
    for _ in every_crash(take, ctx.engine, proddb):
        take()
        crashes += 1
        assert {one.status for one in submit.task_states(proddb)} == {"submitted"}
        put_in()
    assert crashes > 60
    tasks = panda_tasks(rows)
    assert sorted(one.proddb_task for one in tasks) == sorted(taskids)
    found = {one.taskid: one.panda_task_id for one in submit.task_states(proddb)}
    assert found == {one.proddb_task: one.id for one in tasks}
    assert rows.scalar(select(func.count()).select_from(schema.job)) == len(taskids)


def test_a_task_that_panda_had_already_is_only_written_down(ctx: Context, proddb: Engine, rows: Connection) -> None:
    taskid = submit.add_task(proddb, a_request())
    task_id = submit_task(ctx, a_request(proddb_task=taskid), "an earlier round")
    assert intake.take_tasks(ctx, proddb) == Taken(found=1)
    assert in_proddb(proddb, taskid).panda_task_id == task_id


def test_a_marked_task_that_panda_never_had_ends_at_once(ctx: Context, proddb: Engine, rows: Connection) -> None:
    taskid = submit.add_task(proddb, a_request())
    ready = ready_jobs(proddb)
    submit.mark_to_be_aborted(proddb, tasks=[taskid, ready.taskid])
    assert intake.take_tasks(ctx, proddb) + intake.take_job_definitions(ctx, proddb) == Taken()
    assert intake.kill_to_be_aborted(ctx, proddb) == intake.Aborts(0, 0, 2)
    assert [one.status for one in submit.task_states(proddb)] == ["aborted", "aborted"]
    assert {one.state for one in submit.job_states(proddb, ready.taskid)} == {"ABORTED"}
    assert panda_tasks(rows) == []


def end_aborting_tasks(rows: Connection) -> None:
    """The end of the story of an aborted task."""
    rows.execute(text("UPDATE production_task SET stage = 'aborted', ended_at = now() WHERE stage = 'aborting'"))


def test_a_marked_task_is_aborted_and_says_so_when_it_is(ctx: Context, proddb: Engine, rows: Connection) -> None:
    ready = ready_jobs(proddb)
    intake.take_job_definitions(ctx, proddb)
    submit.mark_to_be_aborted(proddb, tasks=[ready.taskid])
    assert intake.kill_to_be_aborted(ctx, proddb).tasks == 1
    assert intake.kill_to_be_aborted(ctx, proddb).tasks == 0, "PanDA is at it"
    bamboo.write_back(ctx, proddb)
    assert in_proddb(proddb, ready.taskid).status == "TOBEABORTED"
    control.work_off(ctx)
    end_aborting_tasks(rows)
    bamboo.write_back(ctx, proddb)
    task = in_proddb(proddb, ready.taskid)
    assert (task.status, task.n_aborted) == ("aborted", 3)
    assert {one.state for one in submit.job_states(proddb, ready.taskid)} == {"ABORTED"}


def test_an_abort_that_comes_too_late_ends_as_the_task_ended(ctx: Context, proddb: Engine, rows: Connection) -> None:
    taskid = submit.add_task(proddb, a_request())
    intake.take_tasks(ctx, proddb)
    rows.execute(text("UPDATE production_task SET stage = 'done', ended_at = now()"))
    submit.mark_to_be_aborted(proddb, tasks=[taskid])
    assert intake.kill_to_be_aborted(ctx, proddb) == intake.Aborts(0, 0, 0)
    bamboo.write_back(ctx, proddb)
    assert in_proddb(proddb, taskid).status == "finished"


def test_a_mark_set_while_bamboo_submits_is_obeyed(ctx: Context, proddb: Engine, rows: Connection) -> None:
    taskid = submit.add_task(proddb, a_request())
    submit_task(ctx, a_request(proddb_task=taskid), "a round that was cut off")
    with proddb.begin() as connection:
        connection.execute(text("UPDATE proddb.etask SET status = 'submitting'"))
    submit.mark_to_be_aborted(proddb, tasks=[taskid])
    assert intake.kill_to_be_aborted(ctx, proddb) == intake.Aborts(1, 0, 0)
    [task] = panda_tasks(rows)
    assert task.stage == "aborting"
    found = in_proddb(proddb, taskid)
    assert (found.status, found.panda_task_id) == ("TOBEABORTED", task.id)


def activate(rows: Connection, site: int, taskid: int) -> None:
    """Place and activate the jobs of a task without its story."""
    rows.execute(text("UPDATE production_task SET stage = 'running', cloud = 'US'"))
    rows.execute(update(schema.bunch).values(state="activated", site_id=site))
    queue.refill_ready(rows, list(rows.scalars(select(schema.bunch.c.id))))


def test_marked_jobs_are_killed_where_they_are(ctx: Context, proddb: Engine, rows: Connection, site: int) -> None:
    ready = ready_jobs(proddb)
    intake.take_job_definitions(ctx, proddb)
    activate(rows, site, ready.taskid)
    [found] = queue.classes_of_sites(rows, [site])
    [held] = handed_out(rows, [pop.Want(found["id"], site, 1)])
    bamboo.write_back(ctx, proddb)
    submit.mark_to_be_aborted(proddb, jobdefs=ready.jobdefids[:2])
    assert intake.kill_to_be_aborted(ctx, proddb).jobs == 2
    assert intake.kill_to_be_aborted(ctx, proddb).jobs == 0, "the pilot has not answered yet"
    assert rows.scalar(select(schema.in_hand.c.command).where(schema.in_hand.c.job_id == held)) == "tobekilled"
    bamboo.write_back(ctx, proddb)
    assert [one.state for one in submit.job_states(proddb, ready.taskid)] == ["TOBEABORTED", "ABORTED", "TODO"]
    ends.end_jobs(rows, [held], JobStatus.CANCELLED, why="killed", who="pilot")
    bamboo.write_back(ctx, proddb)
    assert [one.state for one in submit.job_states(proddb, ready.taskid)] == ["ABORTED", "ABORTED", "TODO"]
    assert [one.state for one in submit.executions(proddb, ready.taskid)] == ["ABORTED", "ABORTED"]


def test_an_attempt_that_is_born_after_the_mark_does_not_escape(
    ctx: Context, proddb: Engine, rows: Connection, site: int
) -> None:
    ready = ready_jobs(proddb, n=1)
    intake.take_job_definitions(ctx, proddb)
    activate(rows, site, ready.taskid)
    bamboo.write_back(ctx, proddb)
    submit.mark_to_be_aborted(proddb, jobdefs=ready.jobdefids)
    [job] = rows.scalars(select(schema.job.c.id))
    ends.end_jobs(rows, [job], JobStatus.FAILED, why="lost", who="watcher")
    [again] = ends.retry(rows, [job], why="retry", who="watcher", bunch_size=20)
    bamboo.write_back(ctx, proddb)
    assert [one.state for one in submit.job_states(proddb, ready.taskid)] == ["TOBEABORTED"]
    assert intake.kill_to_be_aborted(ctx, proddb).jobs == 1
    bamboo.write_back(ctx, proddb)
    [definition] = submit.job_states(proddb, ready.taskid)
    assert (definition.state, definition.attempt) == ("ABORTED", 2)
    assert [(one.pandaid, one.state) for one in submit.executions(proddb, ready.taskid)] == [
        (job, "FAILED"),
        (again, "ABORTED"),
    ]


def test_cut_off_at_any_statement_aborts_come_through(ctx: Context, proddb: Engine, rows: Connection) -> None:
    names = itertools.count(1)
    taskids: list[int] = []

    def put_in() -> None:
        number = next(names)
        ready = ready_jobs(proddb, f"mc.{number}.loose")
        whole = submit.add_task(proddb, a_request(f"mc.{number}.evgen"))
        intake.take_tasks(ctx, proddb)
        intake.take_job_definitions(ctx, proddb)
        bamboo.write_back(ctx, proddb)
        late = submit.add_task(proddb, a_request(f"mc.{number}.late"))
        submit.mark_to_be_aborted(proddb, tasks=[whole, late], jobdefs=ready.jobdefids[:2])
        taskids.extend([whole, late, ready.taskid])

    crashes = 0
    put_in()
    for _ in every_crash(lambda: intake.kill_to_be_aborted(ctx, proddb), ctx.engine, proddb):
        intake.kill_to_be_aborted(ctx, proddb)
        end_aborting_tasks(rows)
        bamboo.write_back(ctx, proddb)
        crashes += 1
        put_in()
    end_aborting_tasks(rows)
    bamboo.write_back(ctx, proddb)
    assert crashes > 20
    for whole, late, ready in zip(*[iter(taskids)] * 3, strict=True):
        assert [in_proddb(proddb, one).status for one in (whole, late, ready)] == ["aborted", "aborted", "submitted"]
        assert [one.state for one in submit.job_states(proddb, ready)] == ["ABORTED", "ABORTED", "TOBEDONE"]
