"""Fixtures of these tests: a context, the tiny grid at work, and a connection that commits every row."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from panda.services.context import Context
from tests.support.builders import a_context
from tests.support.campaign import Campaign


@pytest.fixture
def ctx(engine: Engine, tmp_path: Path) -> Context:
    """A context on this test's own database."""
    return a_context(engine, tmp_path)


@pytest.fixture
def campaign(ctx: Context) -> Iterator[Campaign]:
    """The tiny grid with its pilots; what must always hold is looked at in the end."""
    made = Campaign(ctx).load()
    yield made
    made.check()


@pytest.fixture
def rows(engine: Engine) -> Iterator[Connection]:
    """A connection that commits at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
