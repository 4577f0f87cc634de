"""Counters by folding: exact at every moment, whoever folds and however late a transaction commits."""

from dataclasses import replace

from sqlalchemy import Connection, text

from panda.domain.states import JobStatus
from panda.services import upkeep
from panda.store import counters, ends, facts
from tests.support.campaign import T1, Campaign, an_evgen
from tests.support.crash import every_crash
from tests.support.together import together


def counted(campaign: Campaign, task: int) -> dict[str, int]:
    with campaign.ctx.engine.begin() as connection:
        rows = counters.counts_of_tasks(connection, [task])
    return {row["status"]: int(row["n"]) for row in rows}


def at_work(campaign: Campaign, n: int) -> tuple[int, list[int]]:
    task = campaign.submit(replace(an_evgen("evgen", n), site=T1))
    campaign.tell(task)
    return task, [row["id"] for row in campaign.rows("SELECT id FROM job WHERE task_id = :t ORDER BY id", t=task)]


def cancel(connection: Connection, job: int) -> None:
    ends.end_jobs(connection, [job], JobStatus.CANCELLED, why="test", who="test")


def test_an_event_of_a_transaction_that_commits_late_is_not_skipped(campaign: Campaign) -> None:
    task, jobs = at_work(campaign, 4)
    # Bunches are locked by whoever ends their waiting jobs: so these two are with pilots.
    campaign.ask(T1, 2)
    with campaign.ctx.engine.connect() as late:
        begun = late.begin()
        cancel(late, jobs[0])
        with campaign.ctx.engine.begin() as early:
            cancel(early, jobs[1])
        upkeep.fold(campaign.ctx)
        assert counted(campaign, task) == {"activated": 2, "sent": 1, "cancelled": 1}
        campaign.check()
        begun.commit()
    assert counted(campaign, task) == {"activated": 2, "cancelled": 2}
    upkeep.fold(campaign.ctx)
    upkeep.fold(campaign.ctx)
    assert counted(campaign, task) == {"activated": 2, "cancelled": 2}
    low = campaign.value("SELECT below_xid::text::bigint FROM fold_watermark")
    assert campaign.value("SELECT count(*) FROM job_event WHERE xid::text::bigint >= :low", low=low) == 0


def test_a_transaction_that_is_taken_back_counts_nothing(campaign: Campaign) -> None:
    task, jobs = at_work(campaign, 2)
    with campaign.ctx.engine.connect() as connection:
        begun = connection.begin()
        cancel(connection, jobs[0])
        begun.rollback()
    upkeep.fold(campaign.ctx)
    assert counted(campaign, task) == {"activated": 2}


def test_many_folders_at_once_count_once(campaign: Campaign) -> None:
    task, _ = at_work(campaign, 5)
    campaign.run_all(T1)
    folded = together(*[lambda: sum(one.events for one in upkeep.fold(campaign.ctx))] * 4)
    assert sum(folded) == campaign.value("SELECT count(*) FROM job_event")
    assert counted(campaign, task) == {"holding": 5}


def test_a_fold_that_is_cut_off_anywhere_counts_once(campaign: Campaign) -> None:
    task, _ = at_work(campaign, 3)
    campaign.run_all(T1)
    for _ in every_crash(lambda: upkeep.fold_and_wake(campaign.ctx), campaign.ctx.engine):
        assert counted(campaign, task) == {"holding": 3}
        campaign.check()
    assert counted(campaign, task) == {"holding": 3}


def test_readers_beside_writers_and_folders_see_one_truth(campaign: Campaign) -> None:
    task, _ = at_work(campaign, 20)

    def pilots() -> None:
        campaign.run_all(T1)

    def folder() -> None:
        for _ in range(15):
            upkeep.fold(campaign.ctx)

    def reader() -> None:
        for _ in range(15):
            with campaign.ctx.engine.begin() as connection:
                assert sum(row["n"] for row in counters.counts_of_tasks(connection, [task])) == 20
            campaign.check()

    together(pilots, pilots, folder, reader)


def test_the_stores_own_comparison_finds_a_wrong_counter(campaign: Campaign) -> None:
    task, _ = at_work(campaign, 2)
    upkeep.fold(campaign.ctx)
    with campaign.ctx.engine.begin() as connection:
        assert counters.differences(connection) == []
        connection.execute(text("UPDATE job_count SET n = n + 1 WHERE task_id = :t"), {"t": task})
        assert [row["counted"] - row["live"] for row in counters.differences(connection)] == [1]
        connection.rollback()


def test_what_brokerage_sees_of_sites_is_what_is_there_folded_or_not(campaign: Campaign) -> None:
    at_work(campaign, 5)
    (taken, *_) = campaign.ask(T1, 2)
    campaign.say(taken, JobStatus.RUNNING)
    for _ in range(2):
        with campaign.ctx.engine.connect() as connection:
            sites = {one.name: one for one in facts.sites(connection, pilot_window_hours=3, refill_s=60)}
        (seen,) = sites[T1].counts
        assert (seen.assigned, seen.activated, seen.running) == (0, 3, 2)
        assert all(not one.counts for name, one in sites.items() if name != T1)
        upkeep.fold(campaign.ctx)
