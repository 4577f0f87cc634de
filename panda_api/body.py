"""What a request body may be before anyone looks into it: its size (also after unpacking), its pace, its nesting.

It stands in front of the routes as a bare ASGI callable. Rules: security-sites.md section 3, points 10 and 11. Gzip is
recognised by their first two bytes, because PanDA's pilots do not announce it (wire-protocol.md 2).
"""

import asyncio
import contextlib
import json
import zlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from panda.errors import BadRequest, PandaError
from panda_api.envelope import failed

MEBIBYTE = 1024**2
UPDATE_LIMIT = MEBIBYTE
LIMIT = 10 * MEBIBYTE
STREAMED: Mapping[str, int] = {"/api/v1/file_server/upload_cache_file": 769 * MEBIBYTE}
"""Paths whose bodies are files: they are passed on piece by piece, up to so many bytes, and never unpacked."""

SMALL_BODIES = frozenset({"/api/v1/pilot/update_job", "/api/v1/pilot/update_worker_status"})
DEPTH_LIMIT = 32
CHUNK_WAIT_S = 10.0
GRACE_S = 20.0
LEAST_RATE = 1024
DRAINED_LIMITS = 4
_GZIP = b"\x1f\x8b"


class _Refusal(Exception):
    """A body that is not taken: HTTP status, the sentence for the caller, and whether more of it is on the way."""

    def __init__(self, status: int, message: str, hint: str, *, unread: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.unread = status, message, hint, unread


class BodyGuard:
    """Reads the body for the app behind it, or answers 408, 413 or 400 itself. Times in seconds, rate in bytes/s."""

    def __init__(self, app: ASGIApp, *, chunk_wait_s: float = CHUNK_WAIT_S, grace_s: float = GRACE_S) -> None:
        self.app = app
        self.chunk_wait_s = chunk_wait_s
        self.grace_s = grace_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = limit_of(scope["path"])
        if scope["path"] in STREAMED:
            await self._stream(scope, receive, send, limit)
            return
        try:
            packed = await self._read(scope, receive, limit)
            body = unpacked(packed, limit) if packed.startswith(_GZIP) else packed
        except _Refusal as refusal:
            if refusal.unread:
                await self._drain(receive, DRAINED_LIMITS * limit)
            await _answer_of(refusal)(scope, receive, send)
            return
        scope["headers"] = [one for one in scope["headers"] if one[0] != b"content-encoding"]
        await self.app(scope, _replayed(body, receive), send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Pass a body on as it comes, with the same limits on its size and its pace."""
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            await self._drain(receive, LIMIT)
            await _answer_of(_too_large(limit))(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        start, size, ended = loop.time(), 0, False

        async def watched() -> Message:
            nonlocal size, ended
            if ended:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.chunk_wait_s)
            except TimeoutError:
                raise _as_error(_too_slow()) from None
            size += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if size > limit:
                raise _as_error(_too_large(limit))
            if not ended and loop.time() - start > self.grace_s + size / LEAST_RATE:
                raise _as_error(_too_slow())
            return message

        await self.app(scope, watched, send)

    async def _read(self, scope: Scope, receive: Receive, limit: int) -> bytes:
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            raise _too_large(limit, unread=True)
        loop = asyncio.get_running_loop()
        start = loop.time()
        chunks: list[bytes] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(self.chunk_wait_s):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            if message["type"] == "http.disconnect":
                raise _Refusal(400, "the connection ended before the body did", "send the whole body")
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                raise _too_large(limit, unread=message.get("more_body", False))
            if not message.get("more_body", False):
                return b"".join(chunks)
            if loop.time() - start > self.grace_s + size / LEAST_RATE:
                raise _too_slow()

    async def _drain(self, receive: Receive, limit: int) -> None:
        """Throw the rest away, up to a bound: a connection closed with unread bytes would lose the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.chunk_wait_s):
                while limit > 0:
                    message = await receive()
                    limit -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return


def limit_of(path: str) -> int:
    """How many bytes a body sent to this path may have, packed or unpacked."""
    return STREAMED.get(path) or (UPDATE_LIMIT if path in SMALL_BODIES else LIMIT)


def unpacked(packed: bytes, limit: int) -> bytes:
    """A gzip body unpacked, never more than `limit` bytes of it in memory."""
    engine = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        body = engine.decompress(packed, limit + 1)
    except zlib.error as error:
        raise _Refusal(400, f"the body begins like gzip but is not: {error}", "send gzip or plain JSON") from None
    if len(body) > limit:
        raise _too_large(limit)
    if not engine.eof:
        raise _Refusal(400, "the gzip body ends too early", "send the whole body")
    return body


def _answer_of(refusal: _Refusal) -> Response:
    data = {"code": BadRequest.code, "hint": refusal.hint, "fields": []}
    return failed(refusal.message, data, status=refusal.status, headers={"Connection": "close"})


def _as_error(refusal: _Refusal) -> BadRequest:
    return BadRequest(refusal.message, hint=refusal.hint)


def _too_large(limit: int, *, unread: bool = False) -> _Refusal:
    return _Refusal(413, f"the body is larger than {limit // MEBIBYTE} MiB", "send less at once", unread=unread)


def _too_slow() -> _Refusal:
    return _Refusal(408, "the body came too slowly", f"at least {LEAST_RATE} bytes per second")


def _replayed(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again


class WireRequest(Request):
    """A request whose JSON is read strictly (no NaN, no lone surrogates) and not deeper than `DEPTH_LIMIT`."""

    @override
    async def json(self) -> Any:
        value = parsed(await self.body())
        if depth_exceeds(value, DEPTH_LIMIT):
            raise BadRequest(f"the JSON is nested deeper than {DEPTH_LIMIT}", hint="flatten it")
        return value


class WireRoute(APIRoute):
    """A route whose requests are `WireRequest`s."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        serve = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await serve(WireRequest(request.scope, request.receive))
            except Exception as error:
                # The framework wraps what reading the body raised; ours carries its own sentence.
                if isinstance(error.__cause__, PandaError):
                    raise error.__cause__ from None
                raise

        return handler


def parsed(body: bytes) -> Any:
    """The JSON of a body; NaN and Infinity are refused, half a surrogate pair (from some payload) becomes `?`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(body, parse_constant=_refused_constant)
        except RecursionError:
            raise BadRequest(f"the JSON is nested deeper than {DEPTH_LIMIT}", hint="flatten it") from None
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _refused_constant(name: str) -> None:
    raise BadRequest(f"{name} is not JSON", hint="leave an unknown number out")


_NESTED = (dict, list)


def depth_exceeds(value: object, limit: int) -> bool:
    """Whether lists and objects are nested deeper than `limit`."""
    level = [value] if value.__class__ in _NESTED else []
    for _ in range(limit):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if inner.__class__ in _NESTED
        ]
        if not level:
            return False
    return True
