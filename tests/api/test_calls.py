"""What is written of the calls is what they are: the table of the docs, the policies, the OpenAPI description."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from panda_api.context import ASYNCHRONOUS
from panda_api.security import every_route, policy_of
from tests.api.openapi import SNAPSHOT, an_app, written

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "api-calls.md"
_ROW = re.compile(
    r"\| `(?P<call>[A-Z]+ /[^`]*)` \| (?P<answer>\w+) \| (?P<policy>[^|]+?) \| (?P<follows>.*?) ?\|$", re.MULTILINE
)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return an_app()


def routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in every_route(app.routes) if isinstance(route, APIRoute)]


def is_asynchronous(route: APIRoute) -> bool:
    return ASYNCHRONOUS.items() <= (route.openapi_extra or {}).items()


def test_every_route_states_a_policy(app: FastAPI) -> None:
    every = list(every_route(app.routes))
    assert len(every) > 25
    assert [route for route in every if policy_of(route) is None] == []


def test_the_documented_table_is_the_routes(app: FastAPI) -> None:
    written = {
        (row["call"], row["answer"], row["policy"], bool(row["follows"].strip()))
        for row in _ROW.finditer(TABLE.read_text(encoding="utf-8"))
    }
    real = {
        (
            f"{method} {route.path}",
            "asynchronous" if is_asynchronous(route) else "synchronous",
            str(policy_of(route)),
            is_asynchronous(route),
        )
        for route in routes(app)
        for method in route.methods or ()
    }
    assert written == real


def test_the_description_of_the_api_is_the_one_that_was_agreed(app: FastAPI) -> None:
    """After a wanted change: `python -m tests.api.openapi`, and a line in the changelog if it breaks callers."""
    assert SNAPSHOT.read_text(encoding="utf-8") == written(app)
