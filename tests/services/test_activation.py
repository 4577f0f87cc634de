"""Activation: once, when every block is there, whoever hears of it first, and never before."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from panda.ddm.port import DdmEvent
from panda.domain.states import TaskStage
from panda.domain.work import Split
from panda.services import activate, control, upkeep
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen
from tests.support.together import together

N = 6


@pytest.fixture
def readers(campaign: Campaign) -> tuple[int, ...]:
    """Two tasks at the T2 that read the same files in different portions; their bunches share blocks."""
    parent = campaign.submit(replace(an_evgen("parent", N), site=T1))
    assert campaign.drive(parent) == [TaskStage.DONE]
    data = "mc.parent.EVNT"
    return (
        campaign.submit(replace(a_reader("one", data, Split(files_per_job=2)), site=T2, bunch_size=1)),
        campaign.submit(replace(a_reader("two", data, Split(files_per_job=4)), site=T2, bunch_size=1)),
    )


def news(campaign: Campaign) -> list[DdmEvent]:
    """Everything the DDM has told so far."""
    return campaign.ctx.ddm.changes(0)


def test_a_file_on_its_way_is_not_asked_for_again(campaign: Campaign, readers: tuple[int, ...]) -> None:
    for task in readers:
        campaign.tell(task)
    assert campaign.value("SELECT count(*) FROM block WHERE kind = 'dis'") == 3
    assert campaign.value("SELECT count(*) FROM block_file") == N
    assert campaign.value("SELECT count(*) FROM bunch_block") == 3 + 3
    assert campaign.move() == N


def test_a_bunch_waits_for_every_block(campaign: Campaign, readers: tuple[int, ...]) -> None:
    for task in readers:
        campaign.tell(task)
    (first,) = campaign.rows("SELECT transfer_id FROM block ORDER BY id LIMIT 1")
    campaign.move()
    early = [one for one in news(campaign) if one.transfer_id == first["transfer_id"]]
    assert activate.on_ddm_events(campaign.ctx, early) == 1
    assert campaign.statuses(readers[0]) == {"activated": 1, "assigned": 2}
    assert campaign.statuses(readers[1]) == {"assigned": 2}
    campaign.check()


@pytest.mark.parametrize("order", ["forwards", "backwards", "twice"])
def test_events_in_any_order_and_number_end_alike(campaign: Campaign, readers: tuple[int, ...], order: str) -> None:
    for task in readers:
        campaign.tell(task)
    campaign.move()
    told = news(campaign)
    parts: Sequence[DdmEvent] = {"forwards": told, "backwards": told[::-1], "twice": told + told}[order]
    for one in parts:
        activate.on_ddm_events(campaign.ctx, [one])
    assert [campaign.statuses(task) for task in readers] == [{"activated": 3}, {"activated": 2}]
    assert campaign.value("SELECT count(*) FROM ready") == 5


def test_an_event_that_never_comes_is_made_up_for_by_the_sweep(campaign: Campaign, readers: tuple[int, ...]) -> None:
    for task in readers:
        campaign.tell(task)
    campaign.move()
    activate.sweep(campaign.ctx)
    assert [campaign.statuses(task) for task in readers] == [{"activated": 3}, {"activated": 2}]
    assert activate.sweep(campaign.ctx) == 0


def test_an_event_before_its_block_is_known_is_made_up_for(campaign: Campaign, readers: tuple[int, ...]) -> None:
    task = readers[0]
    campaign.tell(task)
    campaign.move()
    told = news(campaign)
    campaign.change("UPDATE block SET state = 'planned', transfer_id = NULL")  # a crash before the id was stored
    activate.on_ddm_events(campaign.ctx, told)
    assert campaign.statuses(task) == {"assigned": 3}
    campaign.tell(task)
    assert campaign.statuses(task) == {"activated": 3}


def test_blocks_that_complete_at_once_do_not_wait_for_each_other(campaign: Campaign, readers: tuple[int, ...]) -> None:
    for task in readers:
        campaign.tell(task)
    campaign.move()
    told = news(campaign)
    by_block = [
        [one for one in told if one.transfer_id == row["transfer_id"]]
        for row in campaign.rows("SELECT transfer_id FROM block")
    ]
    activated = together(*(partial(activate.on_ddm_events, campaign.ctx, part) for part in by_block))
    assert sum(activated) == 5
    assert [campaign.statuses(task) for task in readers] == [{"activated": 3}, {"activated": 2}]
    assert campaign.value("SELECT count(*) FROM ready") == 5


def test_everybody_activates_at_once_but_only_once(campaign: Campaign, readers: tuple[int, ...]) -> None:
    for task in readers:
        campaign.tell(task)
    campaign.move()
    told = news(campaign)
    activated = together(
        *[lambda: activate.on_ddm_events(campaign.ctx, told)] * 3, *[lambda: activate.sweep(campaign.ctx)] * 3
    )
    assert sum(activated) == 5
    assert campaign.value("SELECT count(*) FROM job_event WHERE to_state = 'activated' AND task_id = ANY(:t)",
                          t=list(readers)) == 5  # fmt: skip


def test_a_block_is_not_cancelled_while_another_task_waits_for_it(campaign: Campaign, readers: tuple[int, ...]) -> None:
    for task in readers:
        campaign.tell(task)
    control.abort_task(campaign.ctx, readers[0], "operator")
    upkeep.round_once(campaign.ctx)
    assert campaign.rows("SELECT DISTINCT state FROM block") == [{"state": "requested"}]
    assert campaign.drive(*readers) == [TaskStage.ABORTED, TaskStage.DONE]


def test_blocks_that_nobody_waits_for_are_cancelled(campaign: Campaign, readers: tuple[int, ...]) -> None:
    campaign.tell(readers[0])
    control.abort_task(campaign.ctx, readers[0], "operator")
    upkeep.round_once(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM block WHERE state IN ('planned', 'requested', 'stuck')") == 0
    assert campaign.move() == 0
    assert campaign.drive(*readers) == [TaskStage.ABORTED, TaskStage.DONE]


def test_jobs_of_a_bunch_that_moves_away_leave_the_old_site(campaign: Campaign, readers: tuple[int, ...]) -> None:
    task = readers[0]
    campaign.tell(task)
    campaign.change("UPDATE production_task SET preset_site = NULL")
    control.set_site_status(campaign.ctx, T2, "offline", "operator")
    assert campaign.drive(*readers) == [TaskStage.DONE, TaskStage.DONE]
    campaign.move()
    activate.on_ddm_events(campaign.ctx, news(campaign))
    assert campaign.statuses(task) == {"finished": 3}
