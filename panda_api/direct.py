"""The hot calls on the connection itself: a request that is understood at once is answered without the framework.

Theory. An ASGI server makes a task, a scope, two messages and two writes of every request; for the hot calls that cost
three times what the rest of the request does (docs/decisions.md). So the connection asks `panda_api.hot` first,
as soon as it has the whole request. Whatever is unusual (no JSON, a large or slow body, gzip, an upgrade, a crowd) goes
on to the framework as if nobody had looked, in the order in which it came.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from panda_api.body import UPDATE_LIMIT
from panda_api.hot import HotCalls
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

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._hot: HotCalls | None = getattr(self.app, "hot", None)
        self._path = ""
        self._pieces: list[bytes] | None = None
        self._size = 0
        self._asked: asyncio.Future[Any] | None = None

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
        if self._pieces is None or self._hot is None:
            super().on_message_complete()
            return
        begun = self._hot.begin(self._path, self.headers, self.client, b"".join(self._pieces))
        if begun is None:
            self._hand_over()
            super().on_message_complete()
            return
        self._pieces = None
        self._unanswered += 1
        self._stop_deadline()
        asked, made = begun
        turn = _Turn(keep_alive=self.parser.should_keep_alive())
        self.cycle = turn  # type: ignore[assignment]  # it has what uvicorn looks at
        self._asked = asked
        if isinstance(asked, asyncio.Task):  # ended with the server, as the framework's are
            self.tasks.add(asked)
            asked.add_done_callback(self.tasks.discard)
        path = self._path
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

    def _is_plain(self) -> bool:
        parser, limit = self.parser, self.limit_concurrency
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and getattr(self.cycle, "response_complete", True)
            and not (parser.should_upgrade() or self.expect_100_continue or self.flow.write_paused)
            and (limit is None or len(self.connections) < limit)
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
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        if not turn.keep_alive:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join((*lines, b"\r\n", body)))
        turn.response_complete = True
        if not turn.keep_alive:
            self.transport.close()
        self.on_response_complete()
