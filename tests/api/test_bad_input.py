"""What bad input gets, at every route of the real server: a clear refusal, and nothing is stored."""

import gzip

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import Engine, func, select

from panda.store import schema
from panda_api.security import every_route
from tests.api.openapi import an_app
from tests.support.serving import Caller

POSTS = sorted(
    route.path
    for route in every_route(an_app().routes)
    if isinstance(route, APIRoute) and "POST" in (route.methods or ()) and route.path.startswith("/api/v1/")
)
BROKEN = {
    "cut gzip": gzip.compress(b'{"a": 1}')[:-4],
    "no gzip": b"\x1f\x8b nonsense",
    "half JSON": b'{"a": ',
    "NaN": b'{"task_id": NaN}',
    "a list": b"[1, 2]",
    "a text": b'"text"',
    "nothing": b"",
}


def rows(engine: Engine) -> dict[str, int]:
    """How many rows every table of ours has."""
    with engine.connect() as connection:
        counts = ((one.name, connection.scalar(select(func.count()).select_from(one))) for one in TABLES)
        return {name: n or 0 for name, n in counts}


TABLES = [one for one in schema.metadata.sorted_tables if one.name != "outage"]


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_bodies_are_refused_by_every_route_and_store_nothing(caller: Caller, engine: Engine, kind: str) -> None:
    before = rows(engine)
    for path in POSTS:
        answer = caller.post(path, data=BROKEN[kind], headers={"Content-Type": "application/json"})
        assert answer.status_code in {200, 400, 403}, (path, answer.text)
        told = answer.json()
        assert told["success"] is False, (path, told)
        assert told["message"], path
    assert rows(engine) == before
