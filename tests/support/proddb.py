"""Owns the ProdDB of tests: a database beside PanDA's, with the tables its migrations make, and requests to put in."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from panda.domain.work import OutputSpec, Resources, Split, TaskRequest
from panda.embedded import Address
from panda.proddb.engine import make_engine, upgrade
from tests.support.database import cloned_database

_numbers = itertools.count(1)


@contextlib.contextmanager
def empty_proddb(cluster: Address) -> Iterator[Engine]:
    """An engine on a new database without ProdDB's tables."""
    with cloned_database(cluster, f"proddb_{next(_numbers)}") as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA IF EXISTS proddb CASCADE")
        yield engine
        engine.dispose()


@contextlib.contextmanager
def new_proddb(cluster: Address) -> Iterator[Engine]:
    """An engine on a ProdDB without rows. It is never PanDA's database: nothing may join the two."""
    with cloned_database(cluster, f"proddb_{next(_numbers)}") as url:
        engine = make_engine(url)
        upgrade(engine)
        yield engine
        engine.dispose()


def a_request(name: str = "mc.evgen", **changes: Any) -> TaskRequest:
    """A task of two jobs without input."""
    request = TaskRequest(
        name=name,
        transformation="evgen",
        parameters="--seed ${SEED}",
        outputs=(OutputSpec("OUTPUT", f"{name}.EVNT", f"{name}.EVNT._${{SN}}.root"),),
        split=Split(n_jobs=2),
        resources=Resources(memory_mb=500),
    )
    return replace(request, **changes)
