"""The grammar of filters: what is written is what matches, and SQL agrees with Python."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda.domain.pattern import Pattern, exactly, parse
from panda.errors import BadRequest

TEXTS = st.text(alphabet="ab|*-~\\%_.é\n", max_size=6)


@given(TEXTS, TEXTS)
def test_exactly_lets_one_text_through(text: str, other: str) -> None:
    pattern = parse(exactly(text))
    assert pattern.matches(text)
    assert pattern.matches(other) == (text == other)


@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_alternatives_are_any_of_them(texts: list[str], other: str) -> None:
    pattern = parse("|".join(map(exactly, texts)))
    assert all(pattern.matches(text) for text in texts)
    assert pattern.matches(other) == (other in texts)


@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_excluded_is_all_but_them(texts: list[str], other: str) -> None:
    pattern = parse("|".join(f"-{exactly(text).removeprefix(chr(92)) if text[:1] == '-' else exactly(text)}"
                             for text in texts))  # fmt: skip
    assert not any(pattern.matches(text) for text in texts)
    assert pattern.matches(other) == (other not in texts)


@given(TEXTS.filter(lambda text: text and "|" not in text and text != "-"))
def test_every_text_without_bars_is_a_filter(text: str) -> None:
    assert parse(text) != Pattern()


@pytest.mark.parametrize(
    ("text", "matched", "refused"),
    [
        ("BNL", ["BNL"], ["bnl", "BNL2", ""]),
        ("DESY*", ["DESY", "DESY-HH"], ["xDESY"]),
        ("*HH*", ["DESY-HH", "HH"], ["DESY"]),
        ("-BNL", ["MWT2", ""], ["BNL"]),
        ("*T2|-M*", ["AGLT2"], ["MWT2", "BNL"]),
        ("~", [""], ["~", "a"]),
        (r"\~|\-a", ["~", "-a"], ["", "a"]),
        ("DESY-HH", ["DESY-HH"], ["DESY"]),
    ],
)
def test_what_a_filter_lets_through(text: str, matched: list[str], refused: list[str]) -> None:
    pattern = parse(text)
    assert [one for one in matched if not pattern.matches(one)] == []
    assert [one for one in refused if pattern.matches(one)] == []


@pytest.mark.parametrize("text", ["", "a|", "|a", "a||b", "-", "a|-"])
def test_an_empty_alternative_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=re.escape("~ for what has no value")):
        parse(text)


@pytest.mark.parametrize(("text", "numbers"), [("17", (17,)), ("1|2", (1, 2)), ("1*", None), ("-1", None), ("x", None)])
def test_numbers_are_seen_as_such(text: str, numbers: tuple[int, ...] | None) -> None:
    assert parse(text).numbers == numbers
