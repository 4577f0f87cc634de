"""The last statement of a transaction: work beside it is done while the database is at work; COMMIT travels with it."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from psycopg2.extensions import get_wait_callback, set_wait_callback
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from panda.services.dispatch import batch_engine
from panda.store.prepared import Prepared
from panda_api import cooperative

LOCK = 4711
KEEP = Prepared("test_keep", "INSERT INTO kept VALUES (CAST(:n AS int))")
HALF = Prepared("test_half", "SELECT 8 / CAST(:n AS int)")
LOCKED = Prepared("test_locked", "SELECT pg_advisory_xact_lock(CAST(:key AS bigint))")


@pytest.fixture
def hot(engine: Engine) -> Iterator[Connection]:
    """A connection of a batch; the driver waits in the loop's way."""
    before = get_wait_callback()
    cooperative.enable()
    with batch_engine(engine).connect() as connection:
        yield connection
    set_wait_callback(before)


def aside(work: Callable[[], object]) -> object:
    async def main() -> object:
        return await cooperative.aside(work)

    return asyncio.run(main())


def test_work_is_done_while_the_statement_runs(hot: Connection, engine: Engine) -> None:
    """The statement waits for a lock that the work gives back: it would never end if the work waited for it."""
    hot.execute(text("SET lock_timeout = '20 s'"))
    hot.commit()
    with engine.connect() as other:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})

        def release() -> str:
            other.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
            return "released"

        assert aside(lambda: LOCKED.run_last(hot, release, key=LOCK)) == "released"
        hot.rollback()


def test_without_a_loop_the_work_is_done_all_the_same(engine: Engine, hot: Connection) -> None:
    def count(done: list[int]) -> int:
        done.append(1)
        return len(done)

    with engine.connect() as plain:
        for connection in (plain, hot):
            done: list[int] = []
            assert HALF.run_last(connection, partial(count, done), n=2) == 1
            assert done == [1]


def test_a_failure_of_the_work_is_raised_after_the_statement(hot: Connection) -> None:
    def broken() -> None:
        raise ZeroDivisionError("of the work")

    with pytest.raises(ZeroDivisionError, match="of the work"):
        aside(lambda: HALF.run_last(hot, broken, n=2))
    assert aside(lambda: HALF.run(hot, n=2)) == [(4,)], "the connection goes on"


def test_a_failure_of_the_statement_is_raised_and_no_later_statement_does_the_work(hot: Connection) -> None:
    done: list[str] = []
    with pytest.raises(DBAPIError, match="division by zero"), hot.begin():
        aside(lambda: HALF.run_last(hot, lambda: done.append("first"), n=0))
    with pytest.raises(DBAPIError, match="can't adapt"), hot.begin():
        aside(lambda: HALF.run_last(hot, lambda: done.append("second"), n=object()))
    assert aside(lambda: HALF.run(hot, n=2)) == [(4,)]
    assert done == ["first"], "the second was never sent"


def test_the_last_statement_commits_and_a_failed_one_keeps_nothing(hot: Connection, engine: Engine) -> None:
    with engine.begin() as rows:
        rows.execute(text("CREATE TABLE kept (n int PRIMARY KEY)"))

    def kept() -> list[int]:
        with engine.connect() as other:
            return list(other.scalars(text("SELECT n FROM kept ORDER BY n")))

    with hot.begin():
        KEEP.run(hot, n=1)
        assert kept() == []
        assert aside(lambda: KEEP.run_last(hot, lambda: "made", n=2)) == "made"
        assert kept() == [1, 2]

    def fail_at_last() -> None:
        with hot.begin():
            KEEP.run(hot, n=3)
            aside(lambda: KEEP.run_last(hot, lambda: "made", n=1))

    with pytest.raises(DBAPIError, match="duplicate key"):
        fail_at_last()
    assert kept() == [1, 2]
    with hot.begin():
        KEEP.run(hot, n=4)
    assert kept() == [1, 2, 4], "a later transaction is whole"
