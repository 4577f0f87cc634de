"""Connections whose transactions begin with their first statement and may end with their last, in the same messages.

psycopg2 sends BEGIN and COMMIT alone and waits for the answers: half of the round trips of a pop. For the hot calls
only: what has to run outside of a transaction (VACUUM) cannot be said to such a connection.
"""

from collections.abc import Callable
from typing import Any

from psycopg2.extensions import POLL_READ, connection, cursor
from sqlalchemy import Engine, NullPool, create_engine
from typing_extensions import override

from panda.store.engine import session_settings


class _Cursor(cursor):
    @override
    def execute(self, query: Any, vars: Any = None) -> None:
        owner = self.connection
        if not isinstance(owner, JoinedConnection):
            super().execute(query, vars)
            return
        is_last, owner.next_is_last = owner.next_is_last, False
        if not owner.has_begun:
            owner.has_begun = True
            query = f"BEGIN; {query}"
        super().execute(f"{query}; COMMIT" if is_last else query, vars)
        if is_last:
            owner.has_begun = False


class JoinedConnection(connection):
    """A connection that says BEGIN with its first statement, and COMMIT with its last one if told which that is."""

    next_is_last: bool = False
    """Whether the next statement ends the transaction; what that gives is not read."""

    meanwhile: Callable[[], None] | None = None
    """Called once, when the next statement is on its way and its answer is not there yet."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.has_begun = False
        self.autocommit = True  # BEGIN, COMMIT and ROLLBACK are said here
        self.cursor_factory = _Cursor

    @override
    def commit(self) -> None:
        self._end("COMMIT")

    @override
    def rollback(self) -> None:
        self._end("ROLLBACK")

    @override
    def poll(self) -> int:
        state: int = super().poll()
        if state == POLL_READ and self.meanwhile is not None:
            work, self.meanwhile = self.meanwhile, None
            work()
            state = super().poll()
        return state

    def _end(self, word: str) -> None:
        if self.has_begun:
            with self.cursor() as one:
                one.execute(word)
            self.has_begun = False


def joined(engine: Engine) -> Engine:
    """An engine of such connections to the same database; it keeps none of them."""
    settings = session_settings("panda-hot")
    given = {**settings, "connection_factory": JoinedConnection}
    return create_engine(engine.url, poolclass=NullPool, connect_args=given)
