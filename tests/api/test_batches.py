"""When a batch begins, and that its connection's transactions are whole though BEGIN is never said alone."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from panda.services.dispatch import BATCH, batch_engine
from panda_api.batch import BESIDE, GATHER_FROM, GATHER_S, Lane, _Waiting


def a_lane(waiting: int) -> Lane[int, int]:
    lane: Lane[int, int] = Lane(lambda _connection, asked: list(asked), "test")
    lane.waiting.extend(_Waiting(n, None, 0.0) for n in range(waiting))  # type: ignore[arg-type]  # nobody is answered
    return lane


@pytest.mark.parametrize(
    ("answered", "left", "come", "after_s", "due"),
    [
        (0, 1, 0, 0.0, True),  # an idle server waits for nobody
        (GATHER_FROM - 1, 1, 0, 0.0, True),
        (GATHER_FROM, 1, 0, 0.0, False),
        (GATHER_FROM, 1, GATHER_FROM, 0.0, True),  # as many as may come are there
        (GATHER_FROM, 1, GATHER_FROM - 1, 0.0, False),
        (GATHER_FROM, 1, 0, GATHER_S, True),
        (BATCH, 0, 0, GATHER_S, False),  # nobody waits
        (BATCH, BATCH, 0, 0.0, True),
    ],
)
def test_a_batch_waits_a_moment_for_those_just_answered(
    answered: int, left: int, come: int, after_s: float, due: bool
) -> None:
    lane = a_lane(left)
    lane.answered(answered, 100.0)
    lane.waiting.extend(a_lane(come).waiting)
    assert lane.is_due(100.0 + after_s, beside=False) is due


def test_beside_a_running_batch_only_a_large_one_begins() -> None:
    assert [a_lane(n).is_due(0.0, beside=True) for n in (1, BESIDE - 1, BESIDE, BATCH)] == [False, False, True, True]


def test_a_transaction_that_begins_with_its_first_statement_is_whole(engine: Engine) -> None:
    """Committed or taken back as one, also after a first statement that fails."""
    with batch_engine(engine).connect() as connection:
        connection.execute(text("CREATE TABLE kept (n int)"))
        connection.commit()

        def kept() -> list[int]:
            with engine.connect() as other:
                return list(other.scalars(text("SELECT n FROM kept ORDER BY n")))

        for n in (1, 2):
            connection.execute(text("INSERT INTO kept VALUES (:n)"), {"n": n})
        assert kept() == []
        connection.rollback()
        assert kept() == []
        for n in (3, 4):
            connection.execute(text("INSERT INTO kept VALUES (:n)"), {"n": n})
        connection.commit()
        assert kept() == [3, 4]
        for wrong in ("SELECT 1/0", "no statement at all"):
            with pytest.raises(DBAPIError):
                connection.execute(text(wrong))
            connection.rollback()
            connection.execute(text("INSERT INTO kept VALUES (5)"))
            connection.rollback()
        assert kept() == [3, 4]
