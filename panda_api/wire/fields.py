"""Kinds of fields that several requests share: texts without control characters, times, identifiers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Value = TypeVar("Value")

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HARVESTER_TIME = "datetime/"
JSON_LIMIT = 100_000
TAIL_LIMIT = 10_000


class WireModel(BaseModel):
    """A request of PanDA's protocol: keys we do not know are what other versions send, and are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OwnModel(BaseModel):
    """A request of our own form: a key we do not know is a typing error and is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _tidied(limit: int) -> Callable[[object], object]:
    def tidy(value: object) -> object:
        return _CONTROL.sub(" ", value)[:limit] if isinstance(value, str) else value

    return tidy


def _texted(value: object) -> object:
    """Text of a number: batch systems differ in what their identifiers are."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def json_object(value: object) -> object:
    """An object, or the text of one; nothing in it that the database cannot keep."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError("it must be a JSON object, or the text of one") from None
    words = orjson.dumps(value)
    if len(words) > JSON_LIMIT or b"\\u0000" in words:
        raise ValueError(f"at most {JSON_LIMIT // 1000} kB, without NUL characters")
    return value


def json_list(value: object) -> object:
    """A list, or the text of one."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise ValueError("it must be a JSON list, or the text of one") from None


def _none_of_text(value: object) -> object:
    """The text "None" or "NULL" and blank text are how older clients say nothing."""
    return None if isinstance(value, str) and value.strip() in {"", "None", "NULL", "null"} else value


def _unknown_if_zero(value: object) -> object:
    return None if value in (0, 0.0, "0", "") else value


def _time(value: object) -> object:
    """UTC of `YYYY-mm-dd HH:MM:SS`, of Harvester's `datetime/...`, of ISO text, of epoch seconds; None of nothing."""
    if value is None or isinstance(value, datetime) or value == "":
        return value or None
    if isinstance(value, str):
        text = value.removeprefix(_HARVESTER_TIME)
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            return _epoch(text)
        return _utc(parsed)
    return _epoch(value)


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("a time is written YYYY-mm-dd HH:MM:SS (UTC)") from None


def _epoch(value: object) -> datetime:
    try:
        return datetime.fromtimestamp(float(value), UTC)  # type: ignore[arg-type]  # what is no number is refused below
    except (TypeError, ValueError, OverflowError, OSError):
        raise ValueError("a time is written YYYY-mm-dd HH:MM:SS (UTC)") from None


Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A short name; whether it keeps a stricter grammar is the domain's question."""

NumberText = Annotated[Name | None, BeforeValidator(_none_of_text), BeforeValidator(_texted)]
"""A short text that some clients send as a number."""

JsonObject = Annotated[dict[str, object], BeforeValidator(json_object)]

MaybeName = Annotated[Name | None, BeforeValidator(_none_of_text)]

PlainText = Annotated[str, StringConstraints(max_length=100_000, pattern=r"^[^\x00]*$")]

Diagnosis = Annotated[str, BeforeValidator(_tidied(500))]
"""An error's text: cut and freed of control characters, never a reason to refuse a final report."""

Tidied = Annotated[str | None, BeforeValidator(_tidied(500)), BeforeValidator(_none_of_text), BeforeValidator(_texted)]
"""A remark of another program: cut and freed of control characters, never a reason to refuse."""


def _last(value: object) -> object:
    return _CONTROL.sub(" ", value)[-TAIL_LIMIT:] if isinstance(value, str) else value


Tail = Annotated[str, BeforeValidator(_last), BeforeValidator(lambda value: value or "")]
"""The end of a program's output: cut and freed of control characters, never a reason to refuse."""

Reason = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Why somebody orders something; empty where nobody says."""

Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
MaybeCount = Annotated[Count | None, BeforeValidator(_none_of_text)]
MaybeNumber = Annotated[Number | None, BeforeValidator(_none_of_text)]
Known = Annotated[Count | None, BeforeValidator(_unknown_if_zero)]
"""A fact about a node: absent, 0 and empty all mean that it is unknown."""

Code = Annotated[int, Field(ge=-(2**31), le=2**31 - 1), BeforeValidator(lambda value: _none_of_text(value) or 0)]
"""An error code; absent and empty are 0, no error. pilot3 negates recoverable ones."""

Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
MaybeSeconds = Annotated[Seconds | None, BeforeValidator(_none_of_text)]
Time = Annotated[datetime, BeforeValidator(_time)]
MaybeTime = Annotated[datetime | None, BeforeValidator(_time)]
