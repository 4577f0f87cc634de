"""A board that trusts what it compared a moment ago: no pilot lacks a job by that, no job goes where it may not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from panda.domain.dispatch import PilotAsk
from panda.services.acquire import acquire_many, jobs_of, plainly
from panda.services.board import Board
from panda.store import queue
from tests.support.campaign import NODE, T1, Campaign, an_evgen

Ask = Callable[[], list[int]]


@pytest.fixture
def board() -> Board:
    """A board that trusts as long as any test lasts."""
    return Board(trust_s=3600)


@pytest.fixture
def ask(campaign: Campaign, board: Board) -> Ask:
    """Ask as one pilot after the other, of the same server."""

    def asked() -> list[int]:
        with campaign.ctx.engine.connect() as connection:
            (answer,) = acquire_many(
                campaign.ctx, connection, [(PilotAsk(queue=T1, node=NODE, label="managed"), plainly)], board
            )
        return [job.priority for job in jobs_of(answer)]

    return asked


def work(campaign: Campaign, name: str, n: int, priority: int) -> None:
    campaign.tell(campaign.submit(replace(an_evgen(name, n), site=T1, priority=priority, bunch_size=n)))


def test_who_would_get_nothing_is_served_after_a_comparison(campaign: Campaign, ask: Ask) -> None:
    assert ask() == []
    work(campaign, "first", 2, 500)
    assert [ask(), ask(), ask()] == [[500], [500], []]
    work(campaign, "second", 1, 100)
    assert [ask(), ask()] == [[100], []]


def test_what_is_known_is_not_compared_again(campaign: Campaign, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    work(campaign, "first", 3, 500)
    assert ask() == [500]
    monkeypatch.setattr(queue, "marks", lambda *_: pytest.fail("compared again"))
    assert ask() == [500]


def test_a_site_that_is_off_gets_no_job_though_it_is_trusted(campaign: Campaign, ask: Ask) -> None:
    work(campaign, "first", 2, 500)
    assert ask() == [500]
    with campaign.ctx.engine.begin() as connection:
        connection.execute(text("UPDATE site SET status = 'offline'"))
    assert ask() == []


def test_a_queue_that_is_gone_gets_nothing(campaign: Campaign, ask: Ask) -> None:
    assert ask() == []
    with campaign.ctx.engine.begin() as connection:
        connection.execute(text("DELETE FROM queue WHERE name = :name"), {"name": T1})
    assert ask() == []
