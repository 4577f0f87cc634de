"""Filters mean in SQL what they mean in Python: whatever the text and the filter are."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from panda.domain.pattern import parse
from panda.errors import BadRequest
from panda.store.monitor.snapshot import Clauses, rows, snapshot

TEXTS = st.text(alphabet="ab|*-~\\%_é\n", max_size=5)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(TEXTS, min_size=1, max_size=5), texts=st.lists(TEXTS, min_size=1, max_size=30, unique=True))
def test_the_database_lets_through_what_the_pattern_does(engine: Engine, asked: list[str], texts: list[str]) -> None:
    with snapshot(engine) as connection:
        for one in asked:
            try:
                pattern = parse(one)
            except BadRequest:
                continue
            clauses = Clauses()
            clauses.like("t.one", pattern)
            query = f"SELECT t.one FROM unnest(CAST(:texts AS text[])) AS t (one) WHERE {clauses.both}"  # noqa: S608
            found = {row["one"] for row in rows(connection, query, clauses.values | {"texts": texts})}
            assert found == {text for text in texts if pattern.matches(text)}
