"""What bad input gets, at every route of the real server: a clear refusal, and nothing is stored."""

import gzip
from collections.abc import Iterator
from typing import Any

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
    "cut gzip": gzip.compress(b'{"a": 1}', mtime=0)[:-4],
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


# Not what callers store: how far counts were folded, and when the database was away.
TABLES = [one for one in schema.metadata.sorted_tables if one.name not in {"outage", "fold_watermark"}]


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


SCHEMA = an_app().openapi()
NO_OBJECTS: list[object] = [None, [], [1, 2], "text", 3, True]
ANSWERED = {200, 400, 403, 404, 413, 415}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without a reference at its top."""
    while "$ref" in schema:
        schema = SCHEMA["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def takes(schema: dict[str, Any], kind: str) -> bool:
    """Whether a value of this kind may be right; a schema that says nothing takes everything."""
    schema = resolved(schema)
    choices = schema.get("anyOf", schema.get("oneOf", []))
    if choices:
        return any(takes(one, kind) for one in choices)
    if "enum" in schema or "const" in schema:
        return False
    return bool(schema.get("type", kind) == kind)


def operations(method: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation of the description, by path."""
    for path, methods in sorted(SCHEMA["paths"].items()):
        if method in methods:
            yield path, methods[method]


def body_of(operation: dict[str, Any]) -> dict[str, Any]:
    """The schema of an operation's JSON body; empty if it has none."""
    content = operation.get("requestBody", {}).get("content", {})
    return resolved(content.get("application/json", {}).get("schema", {}))


def fields_of(answer: Any) -> list[str]:
    """The fields that a refusal names, without places inside them."""
    told = answer.json()
    assert told["success"] is False, told
    assert told["message"]
    return [str(one).partition(".")[0].partition("[")[0] for one in (told["data"] or {}).get("fields", [])]


def test_a_body_that_is_no_object_is_refused_by_every_route_and_stores_nothing(caller: Caller, engine: Engine) -> None:
    before = rows(engine)
    for path in POSTS:
        for body in NO_OBJECTS:
            answer = caller.session.post(caller.address + path, json=body, timeout=30)
            assert answer.status_code in ANSWERED, (path, body, answer.text)
            assert fields_of(answer) is not None, (path, body)
    assert rows(engine) == before


def test_an_object_in_place_of_a_plain_value_is_refused_with_the_fields_name(caller: Caller, engine: Engine) -> None:
    before = rows(engine)
    tried = 0
    unnamed: list[tuple[str, str, object, str]] = []
    for path, operation in operations("post"):
        if not path.startswith("/api/v1/") or path == "/api/v1/ddm/notify":  # signed, or not read at all
            continue
        for name, wanted in body_of(operation).get("properties", {}).items():
            for kind, wrong in (("object", {"wrong": []}), ("array", [{"wrong": []}])):
                if takes(wanted, kind):
                    continue
                answer = caller.post(path, {name: wrong})
                assert answer.status_code in ANSWERED, (path, name, answer.text)
                if name not in fields_of(answer):
                    unnamed.append((path, name, wrong, answer.text))
                tried += 1
    assert unnamed == []
    assert tried > 100
    assert rows(engine) == before


def test_a_text_in_place_of_a_number_is_refused_in_every_query(caller: Caller, engine: Engine) -> None:
    before = rows(engine)
    tried = 0
    for path, operation in operations("get"):
        if not path.startswith("/api/v1/") or "{" in path:
            continue
        for one in operation.get("parameters", []):
            wanted = resolved(one["schema"])
            if one["in"] != "query" or wanted.get("type") not in {"integer", "number"}:
                continue
            answer = caller.get(path, **{one["name"]: "many"})
            assert answer.status_code in ANSWERED, (path, one["name"], answer.text)
            assert one["name"] in fields_of(answer), (path, one["name"], answer.text)
            tried += 1
    assert tried > 10
    assert rows(engine) == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b"%%%=&&&", gzip.compress(b"[1]", mtime=0), gzip.compress(b"{}", mtime=0)[:-3]]
)
def test_legacy_calls_outlive_every_body_and_store_nothing(caller: Caller, engine: Engine, body: bytes) -> None:
    before = rows(engine)
    for path, _ in operations("post"):
        if path.startswith("/server/panda/"):
            for kind in ("application/json", "application/x-www-form-urlencoded"):
                answer = caller.post(path, data=body, headers={"Content-Type": kind})
                assert answer.status_code in ANSWERED, (path, kind, answer.text)
                assert answer.text, path
    assert rows(engine) == before


@pytest.mark.parametrize("path", ["/api/v1/task/destroy", "/api/v1/nothing/submit", "/server/panda/noSuchMethod"])
def test_an_unknown_method_gets_403_and_a_text(caller: Caller, path: str) -> None:
    for answer in (caller.get(path), caller.post(path, {})):
        assert answer.status_code == 403
        assert answer.text
