"""Owns how the embedded DDM runs a transaction: repeated on deadlock, a lost database told as Unavailable."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from panda.ddm.errors import Inconsistent, Unavailable

T = TypeVar("T")

CHUNK = 5000
_ATTEMPTS = 6
_REPEAT = frozenset({"40P01", "40001"})  # deadlock detected, serialization failure

_REMEMBER_CALL = text("""
    INSERT INTO ddm.call (method, key, digest) VALUES (:method, :key, :digest) ON CONFLICT DO NOTHING
""")
_KNOWN_DIGEST = text("SELECT digest FROM ddm.call WHERE method = :method AND key = :key")


def run(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Do `work` in one transaction; it must be repeatable. Raises Unavailable when the database does not answer."""
    for attempt in range(_ATTEMPTS):
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            repeat = getattr(error.orig, "pgcode", None) in _REPEAT
            if repeat and attempt + 1 < _ATTEMPTS:
                continue
            if repeat or error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)):
                raise Unavailable(f"the DDM's database does not answer: {str(error.orig).strip()[:300]}") from error
            raise
    raise AssertionError("unreachable")


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Consecutive pieces of at most `size` items."""
    source = iter(items)
    while piece := list(islice(source, size)):
        yield piece


def remember_call(engine: Engine, method: str, key: str, content: Callable[[], str]) -> None:
    """Keep `key` with a digest of the call's content; raises Inconsistent when it was used with other content."""
    if not key:
        return
    digest = hashlib.sha256(content().encode()).hexdigest()
    values = {"method": method, "key": key, "digest": digest}

    def work(connection: Connection) -> None:
        if connection.execute(_REMEMBER_CALL, values).rowcount:
            return
        known = connection.execute(_KNOWN_DIGEST, values).scalar_one()
        if known != digest:
            raise Inconsistent(
                f"the key '{key}' was used before for {method} with other content", "Take a new key for a new call."
            )

    run(engine, work)
