"""HTTP on the connection: limits on the header block and on its pace (security-sites.md section 3, point 11).

uvicorn alone takes 200 KB of headers and keeps a connection that says nothing, or half a header, for ever.
"""

import asyncio
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_LIMIT = 64 * 1024
"""Bytes of request line and headers of one request."""

HEADER_WAIT_S = 10.0
"""Time for the first request of a new connection, and for any header block once something of it has come."""


LEAVE_S = 2.0


class _HeaderTooLarge(Exception):
    """Stops the parser; uvicorn then asks for the answer to a bad request, which is ours."""


class GridHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a header limit and a header deadline. A connection's identity will be worked out here."""

    header_wait_s = HEADER_WAIT_S

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_header = True
        self._received = 0
        self._parsed = 0
        self._unanswered = 0
        self._left = False
        self._deadline: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_deadline()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_gone():
            return
        if self._in_header:
            self._received += len(data)
        super().data_received(data)
        if self._is_gone():
            return
        if self._in_header and self._received > HEADER_LIMIT:
            # One endless header never reaches `on_header`; of its first piece it is not known where it began.
            self.send_400_response("")
        elif not self._unanswered:
            # Between requests: blank lines stop the keep-alive timer of uvicorn, but begin no request.
            self._start_deadline()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_header = True
        self._received = self._parsed = 0
        self._start_deadline()

    @override
    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._in_header = False
        self._unanswered += 1
        self._stop_deadline()
        super().on_headers_complete()

    @override
    def on_response_complete(self) -> None:
        self._unanswered -= 1
        super().on_response_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        if not self._in_header or max(self._parsed, self._received) <= HEADER_LIMIT:
            super().send_400_response(msg)
            return
        text = f"the header is larger than {HEADER_LIMIT // 1024} KiB".encode()
        head = (
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"connection: close\r\ncontent-length: {len(text)}\r\n\r\n"
        )
        self.transport.write(head.encode() + text)
        self._leave()

    def _is_gone(self) -> bool:
        return self._left or self.transport.is_closing()

    def _leave(self) -> None:
        """Close after a moment in which what still comes is thrown away: closed at once, the answer would be lost."""
        self._left = True
        self._stop_deadline()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LEAVE_S, self._give_up)

    def _count(self, size: int) -> None:
        self._parsed += size
        if self._parsed > HEADER_LIMIT:
            raise _HeaderTooLarge

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.header_wait_s, self._give_up)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
