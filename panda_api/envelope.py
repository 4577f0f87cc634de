"""The envelope every answer of `/api/v1` comes in, and how values become JSON (wire-protocol.md 2)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi.responses import Response
from pydantic import BaseModel, Field
from typing_extensions import override


class Envelope(BaseModel):
    """What a client gets, for success and failure alike."""

    success: bool = Field(description="Whether the call did what it was asked to do.")
    message: str = Field(description="For people: what is wrong and what would be right; empty or a note on success.")
    data: Any = Field(description="The answer; on failure a code and, where known, the fields that are wrong.")


class WireResponse(Response):
    """JSON as PanDA's clients read it: no newline after the last brace, or pilot3 reads a query string."""

    media_type = "application/json"

    @override
    def render(self, content: Any) -> bytes:
        return as_json(content)


def as_json(content: Any) -> bytes:
    """The JSON of an answer."""
    return orjson.dumps(content, default=_dumped, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS)


def _dumped(value: object) -> object:
    """Times as PanDA's clients restore them: `{"__datetime__": iso}` in UTC without an offset."""
    if isinstance(value, datetime):
        return {"__datetime__": value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")}
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def success(data: object = None, message: str = "") -> dict[str, object]:
    """The envelope of a call that did what it was asked to do."""
    return {"success": True, "message": message, "data": data}


def failure(message: str, data: object = None) -> dict[str, object]:
    """The envelope of a call that did nothing."""
    return {"success": False, "message": message, "data": data}


def succeeded(data: object = None, message: str = "") -> WireResponse:
    """The answer of a call that did what it was asked to do."""
    return WireResponse(success(data, message))


def failed(
    message: str, data: object = None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> WireResponse:
    """The answer of a call that did nothing; HTTP 200 unless the failure belongs to HTTP itself."""
    return WireResponse(failure(message, data), status, dict(headers or {}))
