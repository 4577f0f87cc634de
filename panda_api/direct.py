"""The hot calls on the connection itself: a request that is understood at once is answered without the framework.

Theory. An ASGI server makes a task, a scope, two messages and two writes of every request; for the hot calls that cost
three times what the rest of the request does (docs/decisions.md). So the connection asks `panda_api.hot` first, as soon
as it has the whole request; a header block that was read before is not even parsed again (`panda_api.heads`). Whatever
is unusual (no JSON, a large or slow body, gzip, an upgrade, a crowd) goes on to the framework as if nobody had looked,
in the order in which it came.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from panda_api.body import UPDATE_LIMIT
from panda_api.hot import Begun, HotCalls, as_lines
from panda_api.protocol import GridHttpProtocol

_JSON = b"application/json"


class _Turn:
    """The connection's turn of a hot call, with the names by which uvicorn looks at a request that is being served."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False
        self.message_event = _NOBODY


class _Nobody:
    """Nobody waits for the rest of a request that is there as a whole."""

    def set(self) -> None:
        """Tell nobody."""


_NOBODY = _Nobody()


class HotProtocol(GridHttpProtocol):
    """Our protocol, with the hot calls of its application in front."""

    _leading: ClassVar[tuple[object, bytes]] = (None, b"")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._hot: HotCalls | None = getattr(self.app, "hot", None)
        self._path = ""
        self._pieces: list[bytes] | None = None
        self._size = 0
        self._asked: asyncio.Future[Any] | None = None
        self._data = b""
        self._is_between = True
        self._idle_since = 0.0

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_between:
            if self._hot is not None and self._is_free() and self._is_answered(self._hot, data):
                return
            self._data = data
        else:
            self._data = b""
        super().data_received(data)

    def _is_answered(self, hot: HotCalls, data: bytes) -> bool:
        """Whether this was one whole hot call with a header block that was read before, which is being served now."""
        known = hot.heads.cut(data)
        if known is None or not hot.are_served:
            return False
        head, body = known
        begun = hot.begin(head.path, head.headers, self.client, body)
        if begun is None:
            return False
        self._await(head.path, begun, keep_alive=True)
        return True

    @override
    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        path = None if self._hot is None else self._hot.path_of(self.url)
        if path is None or not self._is_plain():
            super().on_headers_complete()
            return
        self._in_header = False
        self._path, self._pieces, self._size = path, [], 0

    @override
    def on_body(self, body: bytes) -> None:
        if self._pieces is None:
            super().on_body(body)
            return
        self._pieces.append(body)
        self._size += len(body)
        if self._size > UPDATE_LIMIT:
            self._hand_over()

    @override
    def on_message_complete(self) -> None:
        self._is_between = True
        if self._pieces is None or self._hot is None:
            super().on_message_complete()
            return
        body = b"".join(self._pieces)
        begun = self._hot.begin(self._path, self.headers, self.client, body)
        if begun is None:
            self._hand_over()
            super().on_message_complete()
            return
        self._pieces = None
        keep_alive = self.parser.should_keep_alive()
        if keep_alive:
            self._hot.heads.learn(self._data, self._path, self.headers, body)
        self._await(self._path, begun, keep_alive=keep_alive)

    def _await(self, path: str, begun: Begun, *, keep_alive: bool) -> None:
        """Answer once the future is done."""
        self._unanswered += 1
        self._stop_deadline()
        asked, made = begun
        turn = _Turn(keep_alive=keep_alive)
        self.cycle = turn  # type: ignore[assignment]  # it has what uvicorn looks at
        self._asked = asked
        if isinstance(asked, asyncio.Task):  # ended with the server, as the framework's are
            self.tasks.add(asked)
            asked.add_done_callback(self.tasks.discard)
        asked.add_done_callback(lambda answer: self._answer(turn, path, made, answer))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(self._asked, asyncio.Task):
            self._asked.cancel()
        super().connection_lost(exc)

    @override
    def _give_up(self) -> None:
        if self._pieces is None:
            super()._give_up()
            return
        self._deadline = None
        self._hand_over()  # a body that comes slowly has rules of its own

    def _is_free(self) -> bool:
        """Whether a request can be served at once: nothing before it, nothing too much."""
        limit = self.limit_concurrency
        return (
            getattr(self.cycle, "response_complete", True)
            and not (self.flow.write_paused or self._is_gone())
            and (limit is None or len(self.connections) < limit)
        )

    def _is_plain(self) -> bool:
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not (parser.should_upgrade() or self.expect_100_continue)
            and self._is_free()
            and any(name == b"content-type" and value.startswith(_JSON) for name, value in self.headers)
        )

    def _hand_over(self) -> None:
        """Let the framework have the request, with what is there of its body."""
        pieces, self._pieces = self._pieces or [], None
        super().on_headers_complete()
        for piece in pieces:
            super().on_body(piece)

    def _answer(self, turn: _Turn, path: str, made: Callable[[Any], bytes], answer: "asyncio.Future[Any]") -> None:
        self._asked = None
        if self._hot is None or turn.disconnected or self.transport.is_closing():
            return
        if answer.cancelled():
            self.transport.close()
            return
        status, headers, body = self._hot.finish(path, made, answer)
        end = b"\r\n" if turn.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], self._lead(), headers, end, body)))
        turn.response_complete = True
        if not turn.keep_alive:
            self.transport.close()
        if not turn.keep_alive or self.pipeline or self.flow.read_paused:
            self.on_response_complete()
            return
        self._unanswered -= 1
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._look_idle)

    def _look_idle(self) -> None:
        """End a connection that says nothing. One timer looks after many answers: to set one costs 5 us."""
        self.timeout_keep_alive_task = None
        if not self.cycle.response_complete:
            return  # its answer begins the time anew
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._look_idle)
        else:
            self.timeout_keep_alive_handler()

    def _lead(self) -> bytes:
        """The headers that all answers have; uvicorn makes them once a second."""
        known, lead = HotProtocol._leading
        if known is not self.server_state.default_headers:
            known = self.server_state.default_headers
            lead = as_lines(known)
            HotProtocol._leading = (known, lead)
        return lead
