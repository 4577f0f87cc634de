"""The table of clients' calls is what the routes are, and each line has a test or a reason."""

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from panda_api.security import every_route
from tests.api.openapi import an_app

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reference" / "panda-endpoints.md"
_ROW = re.compile(
    r"^\| `(?P<call>[A-Z]+ /[^`]*)` \| (?P<state>[\w ]+) \|(?P<words>[^|]*)\|(?P<test>[^|]*)\|$", re.MULTILINE
)
LINES = [
    (found["call"], found["state"], found["words"].strip(), found["test"].strip(" `"))
    for found in _ROW.finditer(TABLE.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def routes() -> set[str]:
    every = (route for route in every_route(an_app().routes) if isinstance(route, APIRoute))
    return {f"{method} {route.path}" for route in every for method in route.methods or ()}


def test_what_the_table_says_is_there_is_there_and_nothing_else(routes: set[str]) -> None:
    assert len(LINES) > 80
    there = {call for call, state, _, _ in LINES if state in {"implemented", "absent"}}
    missing = {call for call, state, _, _ in LINES if state == "not there"}
    assert there - routes == set(), "listed, but no route"
    assert missing & routes == set(), "a route by now: say so in the table"
    assert there | missing == {call for call, *_ in LINES}, "a state that is none of the three"


def test_every_legacy_method_is_in_the_table(routes: set[str]) -> None:
    """Those by GET too are the same method."""
    listed = {call.split(" ")[1] for call, *_ in LINES}
    assert {one.split(" ")[1] for one in routes if "/server/panda/" in one} <= listed


@lru_cache
def said_in(test: str) -> frozenset[str]:
    """The texts that a module of tests works with; what it says of itself in docstrings and comments calls nothing."""
    module = ast.parse((ROOT / test).read_text(encoding="utf-8"))
    remarks = {id(one.value) for one in ast.walk(module) if isinstance(one, ast.Expr)}
    every = (one for one in ast.walk(module) if isinstance(one, ast.Constant) and id(one) not in remarks)
    return frozenset(one.value for one in every if isinstance(one.value, str))


@pytest.mark.parametrize(("call", "state", "words", "test"), LINES)
def test_every_line_has_a_test_or_a_reason(call: str, state: str, words: str, test: str) -> None:
    if state == "not there":
        assert words, "say why not"
        return
    assert state == "implemented" or words, "say the shape of the answer"
    method = re.sub(r"\{\w+\}", "", call.split(" ")[1]).strip("/").removesuffix(".all.json").rsplit("/", 1)[-1]
    assert any(re.search(rf"\b{re.escape(method)}\b", one) for one in said_in(test)), f"{test} never calls it"
