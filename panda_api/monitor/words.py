"""How values are written on pages: numbers, bytes, times; and the colours of states."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from panda.domain.states import JobStatus
from panda.domain.words import ago, size, span

# What a word looks like; a job's state has a look of its own name (monitor.css).
LOOKS: Mapping[str, str] = {
    **{one.value: one.value for one in JobStatus},
    "registered": "defined",
    "done": "finished",
    "aborting": "cancelled",
    "aborted": "cancelled",
    "paused": "holding",
    "online": "finished",
    "offline": "failed",
    "brokeroff": "holding",
    "test": "holding",
    "open": "running",
    "complete": "finished",
    "planned": "defined",
    "requested": "assigned",
    "queued": "assigned",
    "stuck": "failed",
    "OK": "finished",
    "MOVING": "transferring",
    "QUEUED": "assigned",
    "STUCK": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "cancelled",
    "AVAILABLE": "finished",
    "SUSPICIOUS": "holding",
    "attached": "finished",
    "ready": "activated",
    "info": "defined",
    "warning": "holding",
    "error": "failed",
    "submitted": "assigned",
    "idle": "activated",
    "missed": "failed",
    "good": "finished",
    "warn": "holding",
    "alert": "failed",
}


def look(word: object) -> str:
    """The look of a state's word."""
    return LOOKS.get(str(word), "plain")


def number(value: int | float) -> str:  # noqa: PYI041 - an int is written otherwise
    """A number with thin spaces between its thousands; fractions with two digits."""
    text = f"{value:,.2f}".removesuffix("00").removesuffix(".") if isinstance(value, float) else f"{value:,}"
    return text.replace(",", "\u202f")


def percent(value: float) -> str:
    """A part of a hundred: `3.4 %`."""
    return f"{value:.1f}".removesuffix(".0") + "\u202f%"


def when(value: datetime) -> str:
    """A point in time in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def drawn(value: object) -> str:
    """A value as JSON for an attribute that a script reads."""
    return json.dumps(value, default=str)


def query_of(form: Mapping[str, str], without: Iterable[str]) -> list[tuple[str, str]]:
    """The hidden fields of a form: what the address says, without what the form asks for itself."""
    left = set(without)
    return [(name, text) for name, text in form.items() if name not in left]


FILTERS: Mapping[str, Any] = {
    "number": number,
    "percent": percent,
    "when": when,
    "size": size,
    "span": span,
    "look": look,
    "drawn": drawn,
}


def ago_from(now: datetime) -> Any:
    """The filter that says how long ago something was."""
    return lambda value: ago(now, value)
