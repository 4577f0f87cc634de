"""Hot calls on the connection: whatever way the bytes come, answers are whole, in order, and those of the routes."""

import asyncio
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg2.extensions import get_wait_callback
from sqlalchemy import Engine

from panda.auth.identity import Identity
from panda.errors import Forbidden
from panda.store.engine import blocking
from panda_api import hot, security
from panda_api.app import Application, build
from panda_api.direct import HotProtocol
from panda_api.parked import Parked
from panda_api.security import LOCAL_OPERATOR, Callers
from tests.api.conftest import load_grid
from tests.api.requests_of import an_ask
from tests.support.builders import a_context
from tests.support.serving import serving

ACQUIRE = "/api/v1/pilot/acquire_jobs"
UPDATE = "/api/v1/pilot/update_job"


@pytest.fixture
def app(engine: Engine, tmp_path: Path) -> Application:
    """The product's application on a grid without work."""
    context = a_context(engine, tmp_path)
    load_grid(context, tmp_path)
    return build(context)


@pytest.fixture
def line(app: Application) -> Iterator[socket.socket]:
    """A connection to it."""
    with serving(app) as address, connected(address) as one:
        yield one


def connected(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def a_request(path: str, body: object, *more: str, method: str = "POST") -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *more]
    return "\r\n".join([*head, f"Content-Length: {len(text)}", "", ""]).encode() + text


def an_update(job: int) -> dict[str, Any]:
    return {"job_id": job, "job_status": "running"}


class Answers:
    """The answers of one connection, one after the other."""

    def __init__(self, line: socket.socket) -> None:
        self._file = line.makefile("rb")

    def next(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and envelope of the next answer."""
        status = int(self._file.readline().split()[1])
        headers: dict[str, str] = {}
        while text := self._file.readline().decode().strip():
            name, _, value = text.partition(": ")
            headers[name.lower()] = value
        return status, headers, json.loads(self._file.read(int(headers["content-length"])))

    @property
    def ended(self) -> bool:
        """Whether the server closed the connection."""
        return self._file.read(1) == b""


def test_pipelined_requests_are_answered_in_their_order(line: socket.socket) -> None:
    hot, cold = a_request(UPDATE, an_update(11)), a_request("/api/v1/system/is_alive", b"", method="GET")
    line.sendall(hot + cold + a_request(UPDATE, an_update(12)) + hot + cold)
    answers = Answers(line)
    said = [answers.next()[2] for _ in range(5)]
    jobs = [one["message"] for one in said if not one["success"]]
    assert jobs == ["there is no job 11", "there is no job 12", "there is no job 11"]
    assert [one["success"] for one in said] == [False, True, False, False, True]


def test_a_request_may_come_in_any_pieces(line: socket.socket) -> None:
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers = Answers(line)
    request = a_request(UPDATE, an_update(11))
    for cut in (5, request.index(b"\r\n\r\n"), request.index(b"\r\n\r\n") + 4, len(request) - 1):
        line.sendall(request[:cut])
        line.sendall(request[cut:])
        assert answers.next()[2]["message"] == "there is no job 11"


def test_a_slow_body_goes_on_to_the_routes(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HotProtocol, "header_wait_s", 0.1)
    handed: list[bool] = []
    hand_over = HotProtocol._hand_over

    def noted(self: HotProtocol) -> None:
        handed.append(True)
        hand_over(self)
        self.loop.call_soon(line.sendall, request[-3:])

    monkeypatch.setattr(HotProtocol, "_hand_over", noted)
    request = a_request(UPDATE, an_update(11))
    with serving(app) as address, connected(address) as line:
        line.sendall(request[:-3])
        assert Answers(line).next()[2]["message"] == "there is no job 11"
    assert handed == [True]


def test_a_large_body_goes_on_to_the_routes_that_refuse_it(line: socket.socket) -> None:
    line.sendall(a_request(UPDATE, an_update(11) | {"stdout": "x" * 2**20}))
    status, headers, said = Answers(line).next()
    assert (status, headers["connection"]) == (413, "close")
    assert "larger than 1 MiB" in said["message"]


def test_who_asks_to_close_is_answered_and_left(line: socket.socket) -> None:
    line.sendall(a_request(UPDATE, an_update(11), "Connection: close"))
    answers = Answers(line)
    assert answers.next()[1]["connection"] == "close"
    assert answers.ended


def test_a_pilot_that_waits_for_work_and_leaves_is_forgotten(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, forgotten = threading.Event(), threading.Event()

    async def wait(_self: Parked, _site: int, _seconds: float, _told: int) -> bool:
        waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            forgotten.set()
            raise
        return False

    monkeypatch.setattr(Parked, "wait", wait)
    monkeypatch.setattr(Parked, "has_room", True)
    with serving(app) as address:
        with connected(address) as line:
            line.sendall(a_request(ACQUIRE, an_ask("ALPHA", wait_time=60)))
            assert waiting.wait(20)
        assert forgotten.wait(20)


HEADERS = ((b"host", b"localhost:1"), (b"content-type", b"application/json"))


def test_a_known_caller_is_not_worked_out_again(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    identify = security.identify

    def noted(request: Any) -> Identity:
        asked.append(request)
        return identify(request)

    monkeypatch.setattr(security, "identify", noted)
    callers = Callers(app)
    for length in (b"1", b"2"):
        headers = (*HEADERS, (b"content-length", length))
        assert callers.identify(headers, ("127.0.0.1", 1)) is LOCAL_OPERATOR
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (((b"host", b"elsewhere.example"),), "127.0.0.1"),
        ((*HEADERS, (b"origin", b"https://elsewhere.example")), "127.0.0.1"),
        ((*HEADERS, (b"sec-fetch-site", b"cross-site")), "127.0.0.1"),
        ((*HEADERS, (b"authorization", b"Bearer nonsense")), "127.0.0.1"),
        (HEADERS, "192.0.2.1"),
    ],
)
def test_whoever_differs_from_a_known_caller_is_looked_at(
    app: Application, headers: security.Headers, client: str
) -> None:
    callers = Callers(app)
    assert callers.identify(HEADERS, ("127.0.0.1", 1)) is LOCAL_OPERATOR
    with pytest.raises(Forbidden):
        callers.identify(headers, (client, 1))


def test_copy_works_beside_batches(app: Application, engine: Engine) -> None:
    with serving(app):  # from here on the driver waits in the loop's way
        with engine.begin() as rows, blocking(), closing(rows.connection.cursor()) as cursor:
            cursor.execute("CREATE TEMP TABLE copied (n int)")
            cursor.copy_expert("COPY copied FROM STDIN", io.StringIO("1\n2\n"))
            cursor.execute("SELECT sum(n) FROM copied")
            assert cursor.fetchone() == (3,)
        assert get_wait_callback() is not None


def test_our_own_fault_is_said_to_be_that_and_the_connection_goes_on(
    line: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_raw: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(hot, "ask_of", broken)
    line.sendall(a_request(ACQUIRE, an_ask("ALPHA")) + a_request(UPDATE, an_update(11)))
    answers = Answers(line)
    status, _, said = answers.next()
    assert status == 500
    assert "an error of the server" in said["message"]
    assert "secret" not in json.dumps(said)
    assert answers.next()[0] == 200


def test_a_header_block_that_was_read_before_is_answered_the_same(app: Application) -> None:
    """The second and third request with the same headers are not parsed; other bodies, pieces and pairs still are."""
    told = a_request(UPDATE, an_update(11))
    with serving(app) as address, connected(address) as line:
        answers = Answers(line)
        first = second = None
        for job in (11, 12, 13):
            line.sendall(a_request(UPDATE, an_update(job)))
            first, second = second, answers.next()
            assert second[2]["message"] == f"there is no job {job}"
        assert first is not None
        assert second is not None
        assert first[1].keys() == second[1].keys()
        assert app.hot is not None
        parsed: list[bytes] = []
        app.hot.heads.learn = lambda data, *_: parsed.append(data)  # type: ignore[method-assign]
        line.sendall(told)
        assert answers.next()[2]["message"] == "there is no job 11"
        assert parsed == []
        line.sendall(told + told[:30])
        line.sendall(told[30:])
        assert [answers.next()[2]["message"] for _ in range(2)] == ["there is no job 11"] * 2
        line.sendall(a_request(UPDATE, an_update(11), "X-More: 1"))
        assert answers.next()[2]["message"] == "there is no job 11"
        assert len(parsed) >= 2


def test_a_known_header_block_with_a_bad_body_is_refused_by_the_routes(line: socket.socket) -> None:
    answers = Answers(line)
    good = a_request(UPDATE, an_update(11))
    bad = good[:-1] + b"]"
    for request, status in ((good, 200), (bad, 400), (good, 200)):
        line.sendall(request)
        assert answers.next()[0] == status


def test_a_connection_that_says_nothing_more_is_ended(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    made = HotProtocol.connection_made

    def made_impatient(self: HotProtocol, transport: Any) -> None:
        made(self, transport)
        self.timeout_keep_alive = 0.2  # type: ignore[assignment]  # whole seconds are its type, any number works

    monkeypatch.setattr(HotProtocol, "connection_made", made_impatient)
    with serving(app) as address, connected(address) as line:
        answers = Answers(line)
        for _ in range(3):
            line.sendall(a_request(UPDATE, an_update(11)))
            answers.next()
        assert answers.ended
