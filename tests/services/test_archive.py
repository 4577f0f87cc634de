"""Jobs of ended tasks go into the archive by month and are found there; what is too old is deleted."""

from dataclasses import replace

from panda import wiring
from panda.domain.pattern import parse
from panda.domain.states import TaskStage
from panda.domain.work import Split
from panda.services import archive, control, read
from panda.store import counters, engine
from panda.store.monitor import jobs as pages
from panda.store.monitor.jobs import JobsWanted
from panda.store.monitor.snapshot import Span, now, snapshot
from tests.support.campaign import T1, Campaign, a_reader, an_evgen

EVERY = "SELECT id, status::text, site_id, ordinal, attempt FROM {} WHERE task_id = :t ORDER BY id"


def ended(campaign: Campaign, days: int = 40) -> int:
    """A task of five jobs, one of which failed for good, that ended so many days ago."""
    task = campaign.submit(replace(an_evgen("old", 5), site=T1, max_attempts=1))
    campaign.tell(task)
    campaign.fail(campaign.ask(T1)[0])
    assert campaign.drive(task) == [TaskStage.FINISHED]
    campaign.change(
        "UPDATE production_task SET submitted_at = submitted_at - make_interval(days => :d), "
        "ended_at = ended_at - make_interval(days => :d) WHERE id = :t", d=days, t=task,
    )  # fmt: skip
    campaign.change("UPDATE job_event SET at = at - make_interval(days => :d) WHERE task_id = :t", d=days, t=task)
    return task


def test_jobs_of_a_task_that_ended_long_ago_are_found_in_the_archive(campaign: Campaign) -> None:
    task = ended(campaign)
    before = campaign.rows(EVERY.format("job"), t=task)
    pages_before = read.jobs_of(campaign.ctx, task)
    filled_before = read.with_parameters(campaign.ctx, pages_before)
    assert archive.tidy(campaign.ctx).jobs == 5
    assert archive.tidy(campaign.ctx).jobs == 0
    assert campaign.rows(EVERY.format("job"), t=task) == []
    assert campaign.rows(EVERY.format("job_archive"), t=task) == before
    assert read.jobs_of(campaign.ctx, task) == pages_before
    assert read.with_parameters(campaign.ctx, pages_before) == filled_before != pages_before
    assert [one.id for one in read.history(campaign.ctx, before[0]["id"])]
    with snapshot(campaign.ctx.engine) as connection:
        moment = now(connection)
        wanted = JobsWanted(Span(moment, moment), {"task": parse(str(task))})
        found = pages.found(connection, wanted, sort="id", limit=10, offset=0)
    assert [row["id"] for row in found.jobs] == [row["id"] for row in before]
    assert found.total == 5
    with campaign.ctx.engine.begin() as connection:
        assert counters.differences(connection) == []
    campaign.check()


def test_a_month_of_the_archive_holds_what_ended_in_it(campaign: Campaign) -> None:
    task = ended(campaign)
    archive.tidy(campaign.ctx)
    wrong = campaign.value("""
        SELECT count(*) FROM job_archive
        WHERE tableoid::regclass::text <> 'job_archive_' || to_char(ended_at AT TIME ZONE 'UTC', 'YYYY_MM')
    """)
    assert wrong == 0
    assert campaign.value("SELECT count(*) FROM job_archive WHERE task_id = :t", t=task) == 5


def test_a_retry_brings_the_jobs_back(campaign: Campaign) -> None:
    task = ended(campaign, days=20)
    archive.tidy(campaign.ctx)
    assert control.retry_task(campaign.ctx, task, "prodmanager") == 1
    assert campaign.value("SELECT count(*) FROM job WHERE task_id = :t", t=task) == 6
    assert campaign.value("SELECT count(*) FROM job_archive") == 0
    assert archive.tidy(campaign.ctx).jobs == 0, "the task lives again"
    assert campaign.drive(task) == [TaskStage.DONE]


def test_a_task_reads_what_archived_jobs_made(campaign: Campaign) -> None:
    parent = ended(campaign)
    archive.tidy(campaign.ctx)
    child = campaign.submit(a_reader("late", "mc.old.EVNT", Split(files_per_job=1)))
    assert campaign.drive(child) == [TaskStage.DONE]
    assert campaign.value("SELECT count(*) FROM job WHERE task_id = :t", t=child) == 4
    assert campaign.value("SELECT count(*) FROM job WHERE task_id = :t", t=parent) == 0


def test_what_ended_lately_stays(campaign: Campaign) -> None:
    ended(campaign, days=10)
    assert archive.tidy(campaign.ctx) == archive.Tidied(0, 0)


def test_history_and_reports_of_archived_jobs_end_but_their_numbers_and_files_stay(campaign: Campaign) -> None:
    task = ended(campaign, days=200)
    campaign.change("INSERT INTO job_tail (job_id, text) SELECT job_id, 'last words' FROM job_report")
    for table in ("job_report", "job_tail"):
        campaign.change(f"UPDATE {table} SET at = now() - interval '200 days'")  # noqa: S608
    young = ended_again(campaign)
    archive.tidy(campaign.ctx)
    archive.tidy(campaign.ctx)
    known = "SELECT j.task_id FROM job_all j JOIN {} r ON r.job_id = j.id ORDER BY 1"
    assert {row["task_id"] for row in campaign.rows(known.format("job_report"))} == {young}
    assert campaign.rows(known.format("job_tail")) == []
    views = read.jobs_of(campaign.ctx, task)
    assert sorted(one.status.value for one in views) == ["failed", *["finished"] * 4]
    assert campaign.value("SELECT count(*) FROM job_output") >= 4, "who made a dataset's files stays known"
    assert campaign.value("SELECT count(*) FROM job_event WHERE task_id = :t", t=task) == 0
    assert campaign.value("SELECT count(*) FROM job_event WHERE task_id = :t", t=young) > 0
    with campaign.ctx.engine.begin() as connection:
        assert counters.differences(connection) == []
        counted = {row["status"]: row["n"] for row in counters.counts_of_tasks(connection, [task])}
    assert counted == {"finished": 4, "failed": 1}


def ended_again(campaign: Campaign) -> int:
    task = campaign.submit(replace(an_evgen("young", 2), site=T1))
    assert campaign.drive(task) == [TaskStage.DONE]
    return task


def test_old_incidents_rounds_workers_and_orders_are_deleted(campaign: Campaign) -> None:
    ended_again(campaign)
    aged = {"incident": "at", "brokerage_round": "at", "worker": "ended_at", "pending_action": "done_at"}
    campaign.change("INSERT INTO worker (factory, worker_id, queue, status, ended_at) VALUES ('f', 1, 'q', 'x', now())")
    campaign.change("INSERT INTO pending_action (kind, who, done_at) VALUES ('hold', 'w', now())")
    campaign.change("INSERT INTO incident (level, kind, object, text) VALUES ('info', 'k', 'o', 't')")
    assert archive.tidy(campaign.ctx).rows == 0
    for table, column in aged.items():
        assert campaign.value(f"SELECT count(*) FROM {table}") > 0  # noqa: S608
        campaign.change(f"UPDATE {table} SET {column} = {column} - interval '200 days'")  # noqa: S608
    assert archive.tidy(campaign.ctx).rows > 0
    for table in aged:
        assert campaign.value(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


def test_the_tables_are_those_of_the_program_with_months_and_can_be_taken_back(campaign: Campaign) -> None:
    task = ended(campaign)
    archive.tidy(campaign.ctx)
    metadata = wiring.METADATA["panda"]
    engine.differences(campaign.ctx.engine, "panda", metadata)
    engine.downgrade(campaign.ctx.engine, "panda", metadata, "0006")
    assert campaign.value("SELECT count(*) FROM job WHERE task_id = :t", t=task) == 5
    engine.upgrade(campaign.ctx.engine, "panda", metadata)
