"""The description of the API (OpenAPI): what the routes say of themselves, and the answers that every route may give.

Failures are translated in one table (`panda_api.errors`) and at the edge (`panda_api.body`), so they are described in
one place too; the framework's own word for wrong fields (422) is never said.
"""

from typing import Any

from fastapi import FastAPI
from typing_extensions import override

from panda_api.envelope import Envelope
from panda_api.errors import LEGACY

_ENVELOPE = {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}

FAILURES: dict[str, dict[str, Any]] = {
    "400": {"description": "The body cannot be read: broken gzip, JSON or form.", "content": _ENVELOPE},
    "403": {"description": "The caller may not do this, or the method is unknown.", "content": _ENVELOPE | _TEXT},
    "408": {"description": "The body came too slowly.", "content": _ENVELOPE},
    "413": {"description": "The body is too large.", "content": _ENVELOPE},
    "429": {"description": "Too many calls at once; `Retry-After` says when to come again.", "content": _ENVELOPE},
    "431": {"description": "The header is too large.", "content": _TEXT},
    "503": {"description": "The database or the data management does not answer now.", "content": _ENVELOPE},
}
_BARE = {"application/json": {"schema": {"$ref": "#/components/schemas/LegacyAnswer"}}}
_OF_THE_ROUTES = ("403", "429", "503")
_WRONG_FIELDS = "422"


class Api(FastAPI):
    """FastAPI with the description of what our edge and our table of errors answer."""

    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            described = super().openapi()
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            schemas.setdefault("Envelope", Envelope.model_json_schema())
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for path, operations in described["paths"].items():
                for operation in operations.values():
                    _describe(path, operation["responses"])
        return self.openapi_schema or {}


def _describe(path: str, answers: dict[str, Any]) -> None:
    """Add the failures to one operation; one that answers text may answer a failure as an envelope.

    Legacy methods answer bare objects; what the edge refuses before them has the envelope there too.
    """
    answers.pop(_WRONG_FIELDS, None)
    for status, failure in FAILURES.items():
        bare = path.startswith(LEGACY) and status in _OF_THE_ROUTES
        answers.setdefault(status, failure | {"content": {**failure["content"], **_BARE}} if bare else failure)
    content = answers.get("200", {}).get("content", {})
    if content and "application/json" not in content:
        content.update(_ENVELOPE)
