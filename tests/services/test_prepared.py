"""Texts of arrays: what goes into a statement comes out of it, whatever characters it has."""

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from panda.store.prepared import Prepared, numbers, texts

_BACK = Prepared(
    "test_back",
    "SELECT CAST(:words AS text[]), CAST(:counts AS bigint[]), CAST(:parts AS float8[])",
)
WORDS = st.one_of(
    st.none(),
    st.sampled_from(['"', "\\", '","', "NULL", "null", "", "{", "}", "{}", ",", " ", "a b", "'", "%s", "\n", '\\"']),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8),
)


def test_arrays_come_back_as_they_went_in(rows: Connection) -> None:
    @settings(max_examples=150)
    @given(
        words=st.lists(WORDS, max_size=6),
        counts=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=6),
        parts=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=6),
    )
    def there_and_back(words: list[str | None], counts: list[int | None], parts: list[float | None]) -> None:
        (found,) = _BACK.run(rows, words=texts(words), counts=numbers(counts), parts=numbers(parts))
        assert (found[0], found[1], found[2]) == (words, counts, parts)

    there_and_back()
