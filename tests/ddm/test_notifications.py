"""Events are pushed at least once and in order, and the feed has them all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typing_extensions import override

from panda.ddm import notification
from panda.ddm.embedded import events, faults
from panda.ddm.embedded.events import Happening
from panda.ddm.embedded.faults import Fault, FaultKind
from panda.ddm.errors import Inconsistent
from panda.ddm.port import DdmEvent, Did, EventKind, TransferState
from tests.ddm.bench import Bench, eventually

SECRET = "a secret of the tests"


class Receiver:
    """A callback endpoint that keeps what it accepts and refuses as often as it is told to."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/notify"
        self.accepted: list[DdmEvent] = []
        self.refusals = 0
        self.refused = 0

    def take(self, body: bytes, signature: str) -> int:
        """The status code of the answer."""
        if not notification.is_signed(SECRET, body, signature):
            return 403
        if self.refused < self.refusals:
            self.refused += 1
            return 503
        self.accepted += notification.events_of(body)
        return 200


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(made.take(body, self.headers.get(notification.SIGNATURE_HEADER, "")))
            self.send_header("Content-Length", "0")
            self.end_headers()

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Receiver(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def told(bench: Bench, receiver: Receiver) -> Iterator[None]:
    agent = bench.agent("--notify", receiver.url, PANDA_NOTIFY_KEY=SECRET)
    yield
    agent.end()


def all_arrived(bench: Bench, receiver: Receiver) -> bool:
    return bool(receiver.accepted) and receiver.accepted[-1] == bench.ddm.changes(0)[-1]


def test_a_transfer_is_pushed_in_order(alone: Bench, receiver: Receiver) -> None:
    receiver.refusals = 3
    source, target = alone.rse(), alone.rse()
    dataset, _ = alone.filled(source)
    with told(alone, receiver):
        transfer = alone.ask(dataset, target)
        alone.ddm.close([dataset]).raise_first()
        alone.reaches(transfer, TransferState.OK)
        eventually(lambda: all_arrived(alone, receiver), "the events")
    assert receiver.refused == 3
    assert receiver.accepted == alone.ddm.changes(0)
    assert receiver.accepted[-1].kind is EventKind.TRANSFER_OK
    assert receiver.accepted[-1].transfer_id == transfer
    assert alone.ddm.health().undelivered_events == 0


def test_what_was_not_pushed_comes_after_a_restart(alone: Bench, receiver: Receiver) -> None:
    source, target = alone.rse(), alone.rse()
    receiver.refusals = 10**9
    with told(alone, receiver):
        alone.reaches(alone.ask(alone.filled(source)[0], target), TransferState.OK)
        eventually(lambda: receiver.refused, "a refusal")
    assert alone.ddm.health().undelivered_events > 0
    receiver.refusals = 0
    with told(alone, receiver):
        eventually(lambda: all_arrived(alone, receiver), "the events")
    assert receiver.accepted == alone.ddm.changes(0)


def test_doubled_and_lost_pushes_leave_the_feed_whole(alone: Bench, receiver: Receiver) -> None:
    dataset, other = alone.dataset(), alone.dataset()
    faults.inject(alone.engine, Fault(FaultKind.DUPLICATE_EVENT, remaining=1))
    with told(alone, receiver):
        alone.ddm.close([dataset]).raise_first()
        eventually(lambda: len(receiver.accepted) == 2, "the doubled event")
        faults.inject(alone.engine, Fault(FaultKind.LOST_EVENT, remaining=1))
        alone.ddm.close([other]).raise_first()
        eventually(lambda: alone.ddm.health().undelivered_events == 0, "the event to be lost")
    assert {e.did for e in receiver.accepted} == {dataset}
    assert [e.did for e in alone.ddm.changes(0)] == [dataset, other]


def test_the_feed_never_skips_a_late_commit(alone: Bench) -> None:
    seen: list[DdmEvent] = []
    done = threading.Event()

    def write(number: int) -> None:
        for step in range(20):
            with alone.engine.begin() as connection:
                did = Did("test", f"writer{number}.{step}")
                events.write(connection, [Happening(EventKind.DATASET_CLOSED, did)] * (1 + number % 3))

    def read() -> None:
        while True:
            last = done.is_set()
            fresh = alone.ddm.changes(seen[-1].seq if seen else 0, limit=7)
            seen.extend(fresh)
            if last and not fresh:
                return

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert len(seen) == 20 * (1 + 2 + 3) * 2
    assert seen == alone.ddm.changes(0)


def test_a_body_that_is_none_is_refused() -> None:
    for body in (b"", b"[]", b'{"events": [{"seq": 1}]}', b'{"events": 5}'):
        with pytest.raises(Inconsistent):
            notification.events_of(body)
    assert not notification.is_signed("key", b"body", notification.sign("other key", b"body"))
