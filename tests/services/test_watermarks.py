"""A pop begins where the last one ended: cheap behind an old snapshot, and never past a job that is there to be had."""

import re
from dataclasses import replace

import pytest
from sqlalchemy import Connection, text

from panda.domain.dispatch import PilotAsk
from panda.services import control
from panda.services.acquire import acquire_many, jobs_of, plainly
from panda.services.board import Board
from panda.store import pop
from panda.store.pop import HEAD, Spot
from tests.support.campaign import T1, Campaign, an_evgen


def ready(campaign: Campaign, n: int, name: str = "evgen", priority: int = 500) -> int:
    """A task with so many jobs ready at the T1."""
    task = campaign.submit(replace(an_evgen(name, n), site=T1, priority=priority, bunch_size=n))
    campaign.tell(task)
    return task


def take(campaign: Campaign, board: Board, n: int = 1) -> list[int]:
    """What a process with this board hands to a pilot."""
    ask = PilotAsk(queue=T1, node="wn", label="managed", n_jobs=n)
    with campaign.ctx.engine.connect() as connection:
        (answer,) = acquire_many(campaign.ctx, connection, [(ask, plainly)], board)
    return [job.job_id for job in jobs_of(answer)]


def waiting(campaign: Campaign) -> list[int]:
    """The jobs that wait, in the order in which they should go."""
    rows = campaign.rows("SELECT job_id FROM ready ORDER BY priority DESC, job_id")
    return [row["job_id"] for row in rows]


def buffers(connection: Connection, class_id: int, spot: Spot) -> int:
    """How many pages a look for the next row of a class touches from this spot on."""
    plan = connection.execute(
        text("""
            EXPLAIN (ANALYZE, BUFFERS, TIMING off) SELECT job_id FROM ready
            WHERE class_id = :c AND (-priority, job_id) > (:falls, :job) ORDER BY -priority, job_id LIMIT 1
        """),
        {"c": class_id, "falls": spot.falls, "job": spot.job_id},
    ).scalars()
    return int(re.findall(r"hit=(\d+)", next(line for line in plan if "Buffers" in line))[0])


def test_rows_that_an_old_snapshot_keeps_are_not_walked_over(campaign: Campaign) -> None:
    ready(campaign, 3000)
    board = Board()
    with campaign.ctx.engine.connect() as forgotten, campaign.ctx.engine.connect() as connection:
        forgotten.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        forgotten.execute(text("SELECT count(*) FROM ready"))
        found = campaign.rows("SELECT id, gen FROM requirement_class")[0]
        for _ in range(100):
            take(campaign, board, 20)
        connection.execute(text("SET enable_seqscan = off; SET enable_bitmapscan = off"))
        spot = board.watermarks.of(found["id"], found["gen"])
        assert spot != HEAD
        assert buffers(connection, found["id"], spot) <= 8
        assert buffers(connection, found["id"], HEAD) > 12


@pytest.mark.parametrize("priority", [900, 500])
def test_jobs_that_come_later_with_a_better_key_go_first(campaign: Campaign, priority: int) -> None:
    ready(campaign, 6, "low", priority=100)
    board = Board()
    assert take(campaign, board, 3)
    ready(campaign, 3, "better", priority=priority)
    order = waiting(campaign)
    assert [take(campaign, board)[0] for _ in range(6)] == order


def test_jobs_whose_priority_was_raised_go_first(campaign: Campaign) -> None:
    first, second = ready(campaign, 4, "one", priority=500), ready(campaign, 4, "two", priority=400)
    board = Board()
    take(campaign, board, 3)
    control.set_priority(campaign.ctx, second, 900, "w")
    control.set_priority(campaign.ctx, first, 300, "w")
    control.work_off(campaign.ctx)
    order = waiting(campaign)
    assert [take(campaign, board)[0] for _ in order] == order


def test_jobs_of_a_task_that_was_held_come_back_before_the_watermark(campaign: Campaign) -> None:
    held, other = ready(campaign, 4, "held", priority=900), ready(campaign, 4, "other", priority=500)
    board = Board()
    control.pause_task(campaign.ctx, held, "w")
    control.work_off(campaign.ctx)
    got = take(campaign, board, 2)
    assert campaign.value("SELECT DISTINCT task_id FROM job WHERE id = ANY(:j)", j=got) == other
    control.resume_task(campaign.ctx, held, "w")
    control.work_off(campaign.ctx)
    order = waiting(campaign)
    assert len(order) == 6
    assert [take(campaign, board)[0] for _ in order] == order


def test_what_another_process_takes_back_is_had_before_the_class_counts_as_empty(campaign: Campaign) -> None:
    ready(campaign, 5)
    order = waiting(campaign)
    board = Board()
    found = campaign.rows("SELECT id, site_id FROM requirement_class")[0]
    with campaign.ctx.engine.connect() as other:
        transaction = other.begin()
        want = pop.Want(found["id"], found["site_id"], 2)
        assert [row.job_id for row in pop.take(other, [want])] == order[:2]
        assert take(campaign, board) == [order[2]]
        transaction.rollback()
    assert sorted(take(campaign, board, 5)) == [order[0], order[1], order[3], order[4]]
    assert take(campaign, board) == []


def test_what_this_process_takes_back_goes_next(campaign: Campaign) -> None:
    """A batch that fails begins at the head again, whatever another one reached meanwhile."""
    ready(campaign, 5)
    order = waiting(campaign)
    board = Board()
    gen = campaign.value("SELECT gen FROM requirement_class")
    class_id = campaign.value("SELECT id FROM requirement_class")
    with board.watermarks.walk() as slow:
        with pytest.raises(RuntimeError, match="failed"), board.watermarks.walk():
            raise RuntimeError("the batch failed")
        slow.took(class_id, gen, Spot(-500, order[3]))
    assert board.watermarks.of(class_id, gen) == HEAD
    assert [take(campaign, board)[0] for _ in order] == order


def test_a_priority_that_ready_does_not_show_yet_moves_no_watermark_too_far(campaign: Campaign) -> None:
    """The task's priority is lowered, but its rows wait at the old one: the watermark is where the row was."""
    first = ready(campaign, 3, "first", priority=800)
    ready(campaign, 2, "second", priority=700)
    ready(campaign, 2, "third", priority=5)
    board = Board()
    order = waiting(campaign)
    campaign.change("UPDATE production_task SET priority = 10 WHERE id = :t", t=first)
    assert [take(campaign, board)[0] for _ in order] == order
