"""Owns the fixtures that every test package shares: a real PostgreSQL database per test."""

import itertools
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine

from panda.embedded import Address
from panda.settings import PREFIX
from panda.store.engine import make_engine
from tests.support.database import build_template, cloned_database, running_cluster

_numbers = itertools.count(1)
# How long an example takes says how busy the machine is.
settings.register_profile("panda", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("panda")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """Settings of the person who runs the tests do not reach them."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """What tests start can be ended by Ctrl-C, also when a shell started the tests in the background: deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Address]:
    """One PostgreSQL cluster for this test process, with a template of all tables."""
    with running_cluster() as address:
        build_template(address)
        yield address


@pytest.fixture
def database(cluster: Address) -> Iterator[str]:
    """The URL of a database of this test's own, with all tables and no rows."""
    with cloned_database(cluster, f"test_{next(_numbers)}") as url:
        yield url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An engine on this test's own database."""
    made = make_engine(database)
    yield made
    made.dispose()


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file that start every process, or a Prefect server, on one worker: they share a system."""
    for item in items:
        if item.get_closest_marker("e2e") is not None or "tests/flows/" in item.path.as_posix():
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
