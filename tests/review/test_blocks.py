"""Blocks that nobody needs or that can never arrive: no bunch waits for them, the DDM is told to forget them."""

from dataclasses import replace

from panda.ddm.port import TransferState
from panda.domain.states import TaskStage
from panda.domain.work import Split
from panda.services import activate, control, upkeep
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen


def a_waiting_reader(campaign: Campaign) -> tuple[int, str]:
    """A task of 3 jobs whose inputs are on their way to the T2, and its transfer."""
    parent = campaign.submit(replace(an_evgen("parent", 3), site=T1))
    assert campaign.drive(parent) == [TaskStage.DONE]
    task = campaign.submit(replace(a_reader("reader", "mc.parent.EVNT", Split(files_per_job=1)), site=T2))
    assert campaign.tell(task) == "AwaitingTransfers: 3 assigned"
    return task, campaign.value("SELECT transfer_id FROM block WHERE kind = 'dis'")


def state_of(campaign: Campaign, transfer: str) -> TransferState:
    """What the DDM says of a transfer."""
    return campaign.ctx.ddm.status([transfer])[transfer].state


def test_a_transfer_that_the_ddm_gave_up_is_asked_for_again(campaign: Campaign) -> None:
    task, transfer = a_waiting_reader(campaign)
    campaign.ctx.ddm.cancel([transfer]).raise_first()
    activate.sweep(campaign.ctx)
    assert campaign.drive(task) == [TaskStage.DONE]


def test_a_transfer_that_the_ddm_does_not_know_is_asked_for_again(campaign: Campaign) -> None:
    task, _ = a_waiting_reader(campaign)
    campaign.change("UPDATE block SET transfer_id = '999999' WHERE kind = 'dis'")
    activate.sweep(campaign.ctx)
    assert campaign.drive(task) == [TaskStage.DONE]


def test_what_an_aborted_task_asked_for_does_not_move(campaign: Campaign) -> None:
    task, transfer = a_waiting_reader(campaign)
    control.abort_task(campaign.ctx, task, "operator")
    upkeep.round_once(campaign.ctx)
    activate.sweep(campaign.ctx)
    assert state_of(campaign, transfer) is TransferState.CANCELLED
    assert campaign.move() == 0


def test_blocks_of_a_site_that_went_off_are_cancelled(campaign: Campaign) -> None:
    _, transfer = a_waiting_reader(campaign)
    control.set_site_status(campaign.ctx, T2, "offline", "operator")
    upkeep.round_once(campaign.ctx)
    activate.sweep(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM block WHERE kind = 'dis' AND state <> 'dropped'") == 0
    assert state_of(campaign, transfer) is TransferState.CANCELLED


def test_a_block_whose_jobs_still_wait_for_pilots_stays(campaign: Campaign) -> None:
    task, transfer = a_waiting_reader(campaign)
    campaign.move()
    upkeep.round_once(campaign.ctx)
    assert campaign.statuses(task) == {"activated": 3}
    activate.sweep(campaign.ctx)
    assert state_of(campaign, transfer) is TransferState.OK
