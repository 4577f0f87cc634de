"""Sweeps go over everything in turn: what fails for good hides nothing behind it. Orders go over each bunch once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, text

from panda.services import activate, control, upkeep
from panda.services.turns import part
from panda.store.pop import Want
from tests.support.builders import a_context
from tests.support.campaign import T1, Campaign, an_evgen
from tests.support.pops import handed_out


def test_a_part_goes_on_where_the_last_one_stopped_and_begins_anew(campaign: Campaign) -> None:
    numbers = [3, 5, 8, 9, 12]

    def read(after: int, limit: int) -> list[int]:
        return [one for one in numbers if one > after][:limit]

    def step() -> list[int]:
        with campaign.ctx.engine.begin() as connection:
            return part(connection, "test", 2, read, int)

    assert [step() for _ in range(4)] == [[3, 5], [8, 9], [12], [3, 5]]
    numbers[:] = [3, 5]
    assert step() == [3, 5], "nothing is behind: the first at once"


def test_bunches_that_lack_rows_behind_many_that_do_not_are_found(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("many", 6), site=T1, bunch_size=1))
    campaign.tell(task)
    last = campaign.value("SELECT max(id) FROM job WHERE task_id = :t", t=task)
    campaign.change("DELETE FROM ready WHERE job_id = :j", j=last)
    for _ in range(3):
        activate.sweep(campaign.ctx, limit=1)
    assert campaign.value("SELECT count(*) FROM ready") == 6


def test_pilots_that_take_jobs_make_room_for_bunches_that_wait(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("wide", 200), bunch_size=5))
    campaign.tell(task)
    upkeep.fold_and_wake(campaign.ctx)
    campaign.change("UPDATE production_task SET due_at = NULL WHERE id = :t", t=task)
    assert campaign.value("SELECT count(*) FROM bunch WHERE state = 'defined'") > 0
    upkeep.fold_and_wake(campaign.ctx)
    assert campaign.value("SELECT due_at FROM production_task WHERE id = :t", t=task) is None
    assert campaign.ask(T1)
    upkeep.fold_and_wake(campaign.ctx)
    due = campaign.value("SELECT due_at <= now() + interval '5 s' FROM production_task WHERE id = :t", t=task)
    assert due is True


ORDERS: dict[str, Callable[[Campaign, int], None]] = {
    "priority": lambda c, task: control.set_priority(c.ctx, task, 900, "w"),
    "hold": lambda c, task: control.pause_task(c.ctx, task, "w"),
    "abort": lambda c, task: control.abort_task(c.ctx, task, "w"),
    "finish": lambda c, task: control.finish_task(c.ctx, task, "w"),
    "site_off": lambda c, _task: control.set_site_status(c.ctx, T1, "offline", "w"),
}


@pytest.fixture
def wide(engine: Engine, tmp_path: Path) -> Iterator[Campaign]:
    """The tiny grid whose sites take any number of waiting jobs."""
    made = Campaign(a_context(engine, tmp_path, brokerage={"window_minimum_jobs": 100_000})).load()
    yield made
    made.check()


@pytest.mark.parametrize("kind", ORDERS)
def test_a_pop_never_waits_for_an_order_over_many_jobs(wide: Campaign, kind: str) -> None:
    """While an order goes over two thousand jobs, pops that wait for no lock get jobs, or find none, and never fail."""
    task = wide.submit(replace(an_evgen("long", 2000), site=T1))
    wide.tell(task)
    assert wide.value("SELECT count(*) FROM ready") == 2000
    ORDERS[kind](wide, task)
    over = Event()

    def work() -> None:
        try:
            while wide.value("SELECT count(*) FROM pending_action WHERE done_at IS NULL AND passes < 2"):
                control.work_off(wide.ctx)
        finally:
            over.set()

    orders = Thread(target=work)
    orders.start()
    found = wide.rows("SELECT id, site_id FROM requirement_class WHERE max_priority >= 0")
    wants = [Want(row["id"], row["site_id"], 4) for row in found]
    pops = 0
    with wide.ctx.engine.connect() as connection:
        connection.execute(text("SET lock_timeout = 250"))
        connection.commit()
        while not over.is_set() or pops < 3:
            with connection.begin():
                handed_out(connection, wants)
            pops += 1
    orders.join()
    assert wide.value("SELECT count(*) FROM pending_action WHERE passes > 0 OR done_at IS NOT NULL") == 1
    if kind == "priority":
        assert wide.rows("SELECT DISTINCT priority FROM ready") in ([], [{"priority": 900}])
    else:
        assert wide.value("SELECT count(*) FROM ready") == 0
