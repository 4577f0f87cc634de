"""The edge of the server: bodies, headers and their pace, before any route of ours is reached."""

import gzip
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter, FastAPI
from sqlalchemy.exc import OperationalError

from panda.ddm.errors import Inconsistent
from panda.ddm.errors import Unavailable as DdmUnavailable
from panda.errors import Conflict, Forbidden, LeaseLost, NotFound, PandaError, Refused, Unavailable
from panda_api import errors
from panda_api.body import LIMIT, UPDATE_LIMIT, BodyGuard, WireRoute, depth_exceeds, limit_of
from panda_api.envelope import WireResponse, succeeded
from panda_api.protocol import HEADER_LIMIT, GridHttpProtocol
from tests.support.serving import Caller, serving

RAISED: dict[str, Exception] = {
    "not-found": NotFound("there is no such thing", "try another"),
    "refused": Refused("no site has it", "ask for less"),
    "conflict": Conflict("somebody was faster"),
    "lease": LeaseLost("too late"),
    "forbidden": Forbidden("not you"),
    "unavailable": Unavailable("not now"),
    "panda": PandaError("odd"),
    "database": OperationalError("SELECT 1", {}, Exception("gone")),
    "ddm": Inconsistent("another size"),
    "ddm-away": DdmUnavailable("away"),
    "defect": ZeroDivisionError("secret detail"),
}


def an_app(chunk_wait_s: float = 10.0) -> FastAPI:
    """An app with the product's edge and routes of its own."""
    router = APIRouter(route_class=WireRoute)

    @router.post("/api/v1/pilot/update_job")
    @router.post("/api/v1/other")
    async def echo(body: dict[str, object]) -> WireResponse:
        return succeeded({"keys": sorted(body), "text": body.get("text")})

    @router.post("/api/v1/{family}/raise/{name}")
    async def raising(family: str, name: str) -> WireResponse:
        raise RAISED[name]

    app = FastAPI()
    app.include_router(router)
    errors.install(app)
    app.add_middleware(BodyGuard, chunk_wait_s=chunk_wait_s)
    return app


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with serving(an_app()) as address:
        yield Caller(address)


UPDATE, OTHER = "/api/v1/pilot/update_job", "/api/v1/other"
JSON = {"Content-Type": "application/json"}


def padded(size: int) -> bytes:
    """A JSON object of exactly this many bytes."""
    return b'{"x":"' + b"a" * (size - 8) + b'"}'


@pytest.mark.parametrize(("path", "limit"), [(UPDATE, UPDATE_LIMIT), (OTHER, LIMIT)])
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(caller: Caller, path: str, limit: int) -> None:
    assert limit_of(path) == limit
    assert caller.post(path, data=padded(limit), headers=JSON).status_code == 200
    answer = caller.post(path, data=padded(limit + 1), headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["success"] is False
    assert f"{limit // 1024**2} MiB" in answer.json()["message"]


def test_a_body_of_unknown_length_is_counted_while_it_is_read(caller: Caller) -> None:
    pieces = (b"a" * 65536 for _ in range(32))
    assert caller.post(UPDATE, data=pieces, headers=JSON).status_code == 413


def test_gzip_is_recognised_without_being_announced(caller: Caller) -> None:
    packed = gzip.compress(b'{"a": 1}')
    for headers in (JSON, JSON | {"Content-Encoding": "gzip"}):
        assert caller.post(UPDATE, data=packed, headers=headers).json()["data"]["keys"] == ["a"]


@pytest.mark.parametrize("size", [UPDATE_LIMIT + 1, 50 * UPDATE_LIMIT])
def test_a_gzip_bomb_stops_at_the_limit(caller: Caller, size: int) -> None:
    answer = caller.post(UPDATE, data=gzip.compress(b" " * size), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "packed",
    [b"\x1f\x8b nonsense", gzip.compress(padded(1000), mtime=0)[:-9], b"\x1f\x8b"],
    ids=["no gzip", "cut off", "only its mark"],
)
def test_broken_gzip_is_refused(caller: Caller, packed: bytes) -> None:
    answer = caller.post(UPDATE, data=packed, headers=JSON)
    assert answer.status_code == 400
    assert "gzip" in answer.json()["message"]


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": Infinity}', b'{"a":' * 2000, b"[1,]"])
def test_what_is_not_json_is_refused(caller: Caller, text: bytes) -> None:
    answer = caller.post(OTHER, data=text, headers=JSON)
    assert answer.json()["success"] is False
    assert "JSON" in answer.json()["message"]


def test_half_a_surrogate_pair_does_not_lose_a_report(caller: Caller) -> None:
    answer = caller.post(UPDATE, data=b'{"text": "odd \\ud83d end"}', headers=JSON)
    assert answer.json()["data"]["text"] == "odd ? end"


def test_nesting_has_a_limit(caller: Caller) -> None:
    deep: object = 1
    for _ in range(33):
        deep = [deep]
    answer = caller.post(OTHER, {"deep": deep})
    assert answer.json()["success"] is False
    assert "nested" in answer.json()["message"]
    assert not depth_exceeds({"a": [1, 2]}, 2)
    assert depth_exceeds({"a": [1, 2]}, 1)


@pytest.mark.parametrize(("body", "named"), [("[]", "body"), ('"text"', "body"), ("", "body")])
def test_another_kind_of_json_names_the_body(caller: Caller, body: str, named: str) -> None:
    answer = caller.post(OTHER, data=body, headers=JSON)
    assert answer.status_code == 200
    assert answer.json()["success"] is False
    assert answer.json()["data"]["fields"] == [named]


@pytest.mark.parametrize("path", ["/api/v1/none", "/api/v2/other", "/server/panda/getSomething"])
def test_an_unknown_method_is_refused_in_plain_text(caller: Caller, path: str) -> None:
    for answer in (caller.post(path, {}), caller.get(path)):
        assert answer.status_code == 403
        assert answer.headers["content-type"].startswith("text/plain")
        assert path in answer.text
    assert caller.get(OTHER).status_code == 403
    assert caller.get("/elsewhere").status_code == 404


@pytest.mark.parametrize(
    ("name", "status", "code", "status_code", "command_code"),
    [
        ("not-found", 200, "not_found", 50, 2),
        ("refused", 200, "refused", 50, 4),
        ("conflict", 200, "conflict", 50, 4),
        ("lease", 200, "lease_lost", 50, 4),
        ("forbidden", 403, "forbidden", 70, 3),
        ("unavailable", 503, "unavailable", 10, 1),
        ("panda", 500, "panda_error", 30, 1),
        ("database", 503, "unavailable", 10, 1),
        ("ddm", 200, "conflict", 50, 4),
        ("ddm-away", 503, "unavailable", 10, 1),
        ("defect", 500, "panda_error", 30, 1),
    ],
)
def test_every_error_has_its_row(
    caller: Caller, name: str, status: int, code: str, status_code: int, command_code: int
) -> None:
    pilot = caller.post(f"/api/v1/pilot/raise/{name}")
    assert pilot.status_code == status
    assert pilot.json()["success"] is False
    assert pilot.json()["data"]["code"] == code
    assert pilot.json()["data"]["StatusCode"] == status_code
    assert ("Retry-After" in pilot.headers) == (status == 503)
    assert "secret detail" not in pilot.text
    assert caller.post(f"/api/v1/task/raise/{name}").json()["data"] == command_code
    assert "StatusCode" not in caller.post(f"/api/v1/job/raise/{name}").json()["data"]


# --- the connection -------------------------------------------------------------------------------------------------
def connected(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)


def spoken(address: str, *pieces: bytes) -> bytes:
    """Everything the server says to these bytes until it closes."""
    with connected(address) as line:
        for piece in pieces:
            line.sendall(piece)
        received = b""
        while chunk := line.recv(65536):
            received += chunk
        return received


HEAD = b"GET /api/v1/none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


def test_a_header_block_has_a_limit(caller: Caller) -> None:
    fits = HEAD + b"X: " + b"a" * (HEADER_LIMIT - 200) + b"\r\n\r\n"
    assert spoken(caller.address, fits).startswith(b"HTTP/1.1 403")
    many = HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(80)) + b"\r\n"
    assert spoken(caller.address, many).startswith(b"HTTP/1.1 431")
    endless = HEAD + b"X: " + b"a" * (10 * HEADER_LIMIT)
    assert spoken(caller.address, endless).startswith(b"HTTP/1.1 431")
    url = b"GET /" + b"a" * (HEADER_LIMIT + 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert spoken(caller.address, url).startswith(b"HTTP/1.1 431")


def test_the_limit_counts_each_request_of_a_connection_anew(caller: Caller) -> None:
    alive = HEAD.replace(b"close", b"keep-alive") + b"X: " + b"a" * (HEADER_LIMIT // 2) + b"\r\n\r\n"
    last = HEAD + b"\r\n"
    assert spoken(caller.address, alive, alive, alive, last).count(b"HTTP/1.1 403") == 4


def test_two_lengths_in_one_request_are_refused(caller: Caller) -> None:
    both = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert spoken(caller.address, both).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("said", [b"", HEAD[:20], b"\r\n\r\n"])
def test_who_says_nothing_or_half_a_header_is_left(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GridHttpProtocol, "header_wait_s", 0.2)
    with serving(an_app()) as address, connected(address) as line:
        line.sendall(said)
        assert line.recv(65536) == b""  # the server closed; the socket's own time-out would raise


def test_blank_lines_do_not_keep_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GridHttpProtocol, "header_wait_s", 0.2)
    with serving(an_app()) as address, connected(address) as line:
        line.sendall(HEAD.replace(b"close", b"keep-alive") + b"\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 403")
        line.sendall(b"\r\n")
        assert line.recv(65536) == b""


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with serving(an_app(chunk_wait_s=0.2)) as address:
        head = f"POST {UPDATE} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
        answer = spoken(address, head.encode() + b'{"a":')
    assert answer.startswith(b"HTTP/1.1 408")
    body = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert body["success"] is False
