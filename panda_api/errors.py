"""The one table from errors to answers: HTTP status, PanDA's StatusCode, PanDA's code of a task command.

PanDA answers HTTP 200 with `success: false` when a request was understood and refused, and so do we: unmodified clients
drop the body of any other status. Other statuses are kept for what HTTP itself is about: 400 (not JSON), 403 (unknown
method, or a caller who may not), 408, 413, 431 (too slow, too large), 429 and 503 with Retry-After (busy, try again
later), 500.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from panda.ddm.errors import DdmError
from panda.errors import (
    BadRequest,
    Busy,
    Conflict,
    Forbidden,
    NameTaken,
    NotFound,
    NotOwner,
    PandaError,
    Refused,
    SchemaMismatch,
    Unavailable,
)
from panda_api.envelope import WireResponse, failed
from panda_api.monitor import show

log = logging.getLogger(__name__)

RETRY_AFTER_S = {503: 30, 429: 5}
"""When a call may be repeated, by HTTP status."""

HTTP_OK, HTTP_BAD, HTTP_NOWHERE = 200, 400, 404
SHOWN = 80
LEGACY = "/server/panda/"
DATABASE_LOST: tuple[type[Exception], ...] = (OperationalError, InterfaceError, PoolTimeoutError)


@dataclass(frozen=True, slots=True)
class Translation:
    """How one class of errors is answered. `status_code` is for pilots, `command_code` for task commands."""

    http: int
    status_code: int
    command_code: int


# wire-protocol.md 2 (StatusCode) and 7 (command codes). Pilots try again after 10 and 30, and give up after 50 and 70.
TABLE: dict[type[PandaError], Translation] = {
    NotFound: Translation(200, 50, 2),
    NameTaken: Translation(200, 50, 2),
    Refused: Translation(200, 50, 4),
    BadRequest: Translation(200, 50, 1),
    Forbidden: Translation(403, 70, 3),
    NotOwner: Translation(200, 70, 3),
    Conflict: Translation(200, 50, 4),
    Unavailable: Translation(503, 10, 1),
    Busy: Translation(429, 10, 1),
    SchemaMismatch: Translation(503, 30, 1),
    PandaError: Translation(500, 30, 1),
}


def translation_of(error: PandaError) -> Translation:
    """The row of the table for this error: its own class or the nearest above it."""
    return next(TABLE[one] for one in type(error).__mro__ if one in TABLE)


def answer_to(path: str, error: PandaError, fields: Sequence[str] = ()) -> WireResponse:
    """The envelope for an error, in the form that callers of this path expect.

    Task commands carry PanDA's number as `data`, everything else an object with the stable code, the hint and the names
    of wrong fields; pilot calls also StatusCode.
    """
    row = translation_of(error)
    if path.startswith(LEGACY):
        return legacy_failure(row, error, fields)
    data: int | dict[str, object]
    if path.startswith("/api/v1/task/") and not fields:
        data = row.command_code
    else:
        data = described(error, fields)
        if path.startswith("/api/v1/pilot/"):
            data = {"StatusCode": row.status_code, **data}
    # The sender of notifications takes 200 as "kept" and never sends them again.
    status = HTTP_BAD if row.http == HTTP_OK and path.startswith("/api/v1/ddm/") else row.http
    headers = {"Retry-After": str(RETRY_AFTER_S[status])} if status in RETRY_AFTER_S else None
    return failed(str(error), data, status=status, headers=headers)


def legacy_failure(row: Translation, error: PandaError, fields: Sequence[str] = ()) -> WireResponse:
    """The same for callers of legacy methods, who read bare objects: the text under both names they look for."""
    text = str(error)
    content = {"StatusCode": row.status_code, "errorDialog": text, "ErrorDiag": text, **described(error, fields)}
    headers = {"Retry-After": str(RETRY_AFTER_S[row.http])} if row.http in RETRY_AFTER_S else None
    return WireResponse(content, row.http, headers)


def described(error: PandaError, fields: Sequence[str] = ()) -> dict[str, object]:
    """What a program needs to know of an error: its stable code, what would be right, the fields that are wrong."""
    return {"code": error.code, "hint": error.hint, "fields": list(fields)}


def install(app: FastAPI) -> None:
    """Let the table answer every error of the app's routes."""
    app.add_exception_handler(PandaError, _on_panda_error)
    app.add_exception_handler(DdmError, _on_ddm_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in DATABASE_LOST:
        app.add_exception_handler(kind, _on_database_lost)
    app.add_middleware(DefectGuard)


async def _on_panda_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, PandaError):
        raise error
    return refusal(request.url.path, error, request.method)


def refusal(path: str, error: PandaError, method: str = "POST") -> WireResponse:
    """The answer to a call that an error ended; what an operator should know of is logged."""
    if isinstance(error, Unavailable | Forbidden):
        log.warning("%s %s: %s", method, path, error)
    return answer_to(path, error)


async def _on_ddm_error(request: Request, error: Exception) -> Response:
    kind = Unavailable if getattr(error, "retryable", False) else Conflict
    return answer_to(request.url.path, kind(f"data management: {error}"))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """A missing field or a wrong type: the documented envelope with the fields' names; not JSON at all: HTTP 400."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return failed("the body is not JSON", {"code": BadRequest.code, "hint": "send one JSON object"}, status=400)
    names = [field_name(one["loc"]) for one in found]
    sentences = [sentence(name, one) for name, one in zip(names, found, strict=True)]
    return answer_to(request.url.path, BadRequest("; ".join(sentences[:10])), names)


def field_name(location: Sequence[int | str]) -> str:
    """`job_list[3].job_id` from pydantic's location; a missing body is called `body`."""
    name = ""
    for part in location[1:]:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name.lstrip(".") or "body"


def sentence(name: str, detail: Mapping[str, Any]) -> str:
    """Say what is wrong with one field, in one sentence that shows a short wrong value."""
    text = str(detail["msg"]).removeprefix("Value error, ")
    shown = repr(detail.get("input"))
    return f"{name}: {text}" if detail["type"] == "missing" or len(shown) > SHOWN else f"{name}: {text}, not {shown}"


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code in {404, 405} and request.url.path.startswith(("/api/", "/server/")):
        return PlainTextResponse(f"unknown method: {request.method} {request.url.path}", 403)
    if error.status_code == HTTP_BAD:
        return failed(
            "the body cannot be read as JSON", {"code": BadRequest.code, "hint": str(error.detail)}, status=400
        )
    if error.status_code == HTTP_NOWHERE and "text/html" in request.headers.get("accept", ""):  # a person
        nowhere = NotFound("there is no such page", hint="the pages are listed above; the search finds the rest")
        return show.refused(nowhere, request.url.path, HTTP_NOWHERE, as_json=False)
    return PlainTextResponse(str(error.detail), error.status_code, error.headers)


async def _on_database_lost(request: Request, error: Exception) -> Response:
    return database_lost(request.method, request.url.path, error)


def database_lost(method: str, path: str, error: Exception) -> WireResponse:
    """The answer when the database did not serve a call."""
    log.warning("%s %s: the database does not answer: %s", method, path, error)
    return answer_to(path, Unavailable("the database does not answer now", hint="the same call works later"))


def defect(method: str, path: str, error: Exception) -> WireResponse:
    """The answer when a call failed by our own fault: that is logged, not told."""
    log.error("%s %s failed", method, path, exc_info=error)
    return answer_to(path, PandaError("an error of the server; it is in the server's log"))


class DefectGuard:
    """The last resort: what nothing above translated is logged, and answered without its text."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await defect(scope["method"], scope["path"], error)(scope, receive, send)
