"""Sweeps take turns: each looks at the next part of what waits, so that what fails for good hides nothing behind it."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from panda.store import blocks

T = TypeVar("T")


def part(
    connection: Connection, name: str, limit: int, read: Callable[[int, int], list[T]], key: Callable[[T], int]
) -> list[T]:
    """Read the part after the one that the last sweep of this name saw; after the last part the first comes again.

    `read` gives, after a key, at most `limit` things in the order of `key`. What is new lies behind and is not missed.
    """
    after = blocks.read_cursor(connection, name)
    found = read(after, limit)
    if not found and after:
        found = read(0, limit)
    blocks.set_cursor(connection, name, key(found[-1]) if len(found) >= limit else 0)
    return found
