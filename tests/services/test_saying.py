"""What pilots are told is made while the database writes: one that cannot be told takes nobody else's job away."""

from dataclasses import replace

import pytest

from panda.domain.dispatch import HandedJob, PilotAsk
from panda.services.acquire import acquire, acquire_many, plainly
from panda.services.board import Board
from tests.support.campaign import NODE, T1, Campaign, an_evgen

ASK = PilotAsk(queue=T1, node=NODE, label="managed")


def broken(_jobs: tuple[HandedJob, ...]) -> None:
    raise ZeroDivisionError("cannot be told")


def test_who_cannot_be_told_fails_alone_and_its_job_does_not_come_first_for_ever(campaign: Campaign) -> None:
    campaign.tell(campaign.submit(replace(an_evgen("told", 4), site=T1, bunch_size=4)))
    with campaign.ctx.engine.connect() as connection:
        asks = [(ASK, plainly), (ASK, broken), (ASK, plainly)]
        first, second, third = acquire_many(campaign.ctx, connection, asks, Board())
    assert isinstance(second, ZeroDivisionError)
    held = {row["job_id"] for row in campaign.rows("SELECT job_id FROM in_hand")}
    assert len(held) == 3, "its job was handed, too, and is lost by the usual rule"
    told = {job.job_id for jobs in (first, third) for job in jobs}
    assert told < held
    (last,) = acquire(campaign.ctx, ASK)
    assert last.job_id not in held


def test_who_gets_nothing_is_told_so_and_an_error_of_that_is_its_own(campaign: Campaign) -> None:
    with campaign.ctx.engine.connect() as connection:
        empty, error = acquire_many(campaign.ctx, connection, [(ASK, plainly), (ASK, broken)], Board())
    assert empty == ()
    with pytest.raises(ZeroDivisionError):
        raise error
