"""Fixtures of the ProdDB's tests."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from panda.embedded import Address
from tests.support.proddb import new_proddb


@pytest.fixture
def proddb(cluster: Address) -> Iterator[Engine]:
    """A ProdDB without rows."""
    with new_proddb(cluster) as engine:
        yield engine
