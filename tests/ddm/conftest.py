"""Fixtures of the DDM's tests: a bench over each implementation of the port."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from panda.ddm.embedded import EmbeddedDdm
from panda.embedded import Address
from tests.ddm.bench import Bench
from tests.support.database import cloned_database

_databases = itertools.count(1)


@contextmanager
def embedded_bench(cluster: Address) -> Iterator[Bench]:
    """A bench over the embedded implementation, in a database of its own."""
    name = f"ddm_{next(_databases)}"
    with cloned_database(cluster, name) as url, tempfile.TemporaryDirectory(prefix="rse-") as folder:
        engine = create_engine(url, connect_args={"options": "-c jit=off"})
        bench = Bench(EmbeddedDdm(engine), engine, Path(folder))
        try:
            yield bench
        finally:
            for agent in bench.agents:
                agent.end()
            engine.dispose()


IMPLEMENTATIONS: dict[str, Callable[[Address], AbstractContextManager[Bench]]] = {"embedded": embedded_bench}


@pytest.fixture(scope="module", params=sorted(IMPLEMENTATIONS))
def bench(request: pytest.FixtureRequest, cluster: Address) -> Iterator[Bench]:
    """A bench for a module's tests, over each implementation in turn; no agent runs."""
    with IMPLEMENTATIONS[request.param](cluster) as made:
        yield made


@pytest.fixture(scope="module")
def moving(bench: Bench) -> Bench:
    """The same bench with an agent that moves bytes."""
    bench.agent()
    return bench


@pytest.fixture
def alone(cluster: Address) -> Iterator[Bench]:
    """A bench over the embedded implementation for one test alone."""
    with embedded_bench(cluster) as made:
        yield made
