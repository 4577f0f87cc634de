"""Fair share in dispatch: a share that lacks something goes before one with higher priority."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine

from panda.domain.dispatch import PilotAsk
from panda.services.acquire import acquire_many, jobs_of, plainly
from panda.services.board import Board
from panda.services.context import Context
from tests.support.builders import a_context
from tests.support.campaign import NODE, T1, Campaign, an_evgen


def two_shares(ctx: Context) -> Campaign:
    """Twelve jobs of each of two shares, those of `mc` with the higher priority."""
    campaign = Campaign(ctx).load()
    for share, priority in (("mc", 900), ("data", 100)):
        request = replace(an_evgen(share, 12), site=T1, share=share, priority=priority, bunch_size=12)
        campaign.tell(campaign.submit(request))
    return campaign


def shares_of(ctx: Context, n: int) -> Counter[str]:
    """The shares of the next n jobs, asked for one by one by a process that remembers what it gave."""
    board = Board()
    found: Counter[str] = Counter()
    with ctx.engine.connect() as connection:
        for _ in range(n):
            (answer,) = acquire_many(
                ctx, connection, [(PilotAsk(queue=T1, node=NODE, label="managed"), plainly)], board
            )
            (job,) = jobs_of(answer)
            found[job.task_name.removeprefix("mc.")] += 1
    return found


def test_shares_get_their_targets_whatever_the_priorities(engine: Engine, tmp_path: Path) -> None:
    campaign = two_shares(a_context(engine, tmp_path, dispatch={"shares": {"mc": 1, "data": 3}}))
    assert shares_of(campaign.ctx, 12) == {"mc": 3, "data": 9}


def test_without_targets_priority_decides(engine: Engine, tmp_path: Path) -> None:
    campaign = two_shares(a_context(engine, tmp_path))
    assert shares_of(campaign.ctx, 12) == {"mc": 12}
