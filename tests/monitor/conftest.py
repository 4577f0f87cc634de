"""Fixtures of the monitor's tests: the scene, and the real app behind a real socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from panda.services.context import Context
from panda_api.app import build
from tests.monitor.scene import fill
from tests.support.builders import a_context
from tests.support.serving import Caller, serving


@pytest.fixture
def ctx(engine: Engine, tmp_path: Path) -> Context:
    """A context on this test's own database."""
    return a_context(engine, tmp_path)


@pytest.fixture
def rows(engine: Engine) -> Iterator[Connection]:
    """A connection that commits at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@pytest.fixture
def scene(rows: Connection) -> None:
    """Work in every state."""
    fill(rows)


@pytest.fixture
def caller(ctx: Context) -> Iterator[Caller]:
    """A caller of the real app."""
    with serving(build(ctx)) as address:
        yield Caller(address)
