"""From a page to its answer: HTML by templates, JSON, CSV, and the page that says what is wrong with an address."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from fastapi import Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from panda.errors import PandaError
from panda_api.monitor import drawing, words
from panda_api.monitor.asked import Asked, Form, address
from panda_api.monitor.blocks import Column, Page
from panda_api.monitor.sheet import named, written

STATIC = Path(__file__).parent / "static"
SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# Title, address, key (after g) of what the head of every page leads to.
PLACES = (
    ("Dashboard", "/", "d"),
    ("Tasks", "/tasks", "t"),
    ("Jobs", "/jobs", "j"),
    ("Datasets", "/datasets", "a"),
    ("Errors", "/errors", "e"),
    ("DDM", "/ddm", "m"),
    ("Sites", "/sites", "s"),
    ("Pilots", "/workers", "p"),
    ("Users", "/users", "u"),
    ("Shares", "/shares", "f"),
    ("Incidents", "/incidents", "i"),
    ("Health", "/health", "h"),
    ("Shift", "/report", "r"),
)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("panda_api.monitor"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(words.FILTERS, with_zeros=_with_zeros)
    made.globals.update(
        places=PLACES, version=_version(), address=address, hidden=words.query_of, laid_out=drawing.laid_out
    )
    return made


def _with_zeros(columns: Sequence[Column]) -> list[tuple[Column, Markup | None]]:
    """Each column with its cell for none: most counts are none, and a cell that is written anew costs 20 us."""
    return [
        (one, Markup('<td class="k-{} zero"><span class="none">·</span></td>').format(one.kind))
        if one.kind in {"tally", "count"}
        else (one, None)
        for one in columns
    ]


@cache
def _version() -> str:
    """Name the static files' content, so that browsers keep them until they change."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(STATIC.rglob("*.*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def shown(page: Page, asked: Asked, now: datetime) -> Response:
    """The answer in the form that was asked for; raises BadRequest for CSV of a page without a table."""
    if asked.form is Form.JSON:
        return _json(page, asked, now)
    if asked.form is Form.CSV:
        return Response(
            written(page, asked.sheet), media_type="text/csv; charset=utf-8", headers=SAFE | named(page, asked.sheet)
        )
    return Response(rendered(page, asked, now), media_type="text/html", headers=SAFE)


def rendered(page: Page, asked: Asked, now: datetime) -> str:
    """The HTML of a page."""
    return (
        _templates()
        .get_template("page.html")
        .render(page=page, place=page.place, asked=asked, now=now, ago=words.ago_from(now))
    )


def refused(error: PandaError, path: str, status: int, *, as_json: bool) -> Response:
    """The answer to an address that leads nowhere or asks for what is impossible."""
    if as_json:
        body = {"error": error.message, "hint": error.hint, "code": error.code}
        return Response(orjson.dumps(body), status, media_type="application/json", headers=SAFE)
    html = _templates().get_template("refused.html").render(error=error, path=path, status=status, place="")
    return Response(html, status, media_type="text/html", headers=SAFE)


def _json(page: Page, asked: Asked, now: datetime) -> Response:
    body: dict[str, object] = {
        "title": page.title,
        "at": now,
        "since": asked.span.since,
        "until": asked.span.until,
        "asked": dict(asked.given),
    }
    body |= {one.name: one.data() for one in page.blocks}
    data = orjson.dumps(body, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_INDENT_2)
    return Response(data, media_type="application/json", headers=SAFE)


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)
