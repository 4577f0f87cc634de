"""A job's life changes no index: its updates are HOT, so that neither table nor indexes grow with what happens."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from panda.domain.states import JobStatus
from panda.services import upkeep
from tests.support.builders import a_context
from tests.support.campaign import T1, Campaign, an_evgen

AT_ONCE, EACH = 40, 8
"""Jobs in hand at the same time, and how many of them one batch of pilots got."""


@pytest.fixture
def wide(engine: Engine, tmp_path: Path) -> Iterator[Campaign]:
    """The tiny grid whose sites take any number of waiting jobs."""
    made = Campaign(a_context(engine, tmp_path, brokerage={"window_minimum_jobs": 100_000})).load()
    yield made
    made.check()


@pytest.mark.slow
def test_updates_of_jobs_are_hot(wide: Campaign) -> None:
    """Forty pilots at the same time run 200 jobs from hand-out to the end, with heartbeats."""
    task = wide.submit(replace(an_evgen("lives", 200), site=T1))
    wide.tell(task)
    while jobs := [job for _ in range(AT_ONCE // EACH) for job in wide.ask(T1, EACH)]:
        for status in (JobStatus.STARTING, JobStatus.RUNNING, JobStatus.RUNNING):
            for job in jobs:
                wide.say(job, status)
        for job in jobs:
            wide.run(job)
        upkeep.collect(wide.ctx)
    with wide.ctx.engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.commit()
        found = connection.execute(
            text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'job'")
        ).one()
    assert found.n_tup_upd >= 5 * 200
    assert found.n_tup_hot_upd >= 0.95 * found.n_tup_upd, f"{found.n_tup_hot_upd} of {found.n_tup_upd}"
