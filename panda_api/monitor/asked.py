"""What an address of the monitor asks for: time, filters, paging, order and form; what is wrong is refused.

The names are ours and BigPanDA's (domain.md 5c): `hours`, `days`, `date_from`, `date_to`, `limit`, `offset`, `sort`.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import urlencode

from panda.domain import pattern
from panda.domain.pattern import Pattern
from panda.errors import BadRequest
from panda.services.monitor import Span

MOST_HOURS = 24.0 * 366
MOST_ROWS = 10_000
ROWS = 100
TIMES = ("hours", "days", "date_from", "date_to")
PAGING = ("limit", "offset", "sort")
FORMS = ("json", "csv", "_live")

# BigPanDA's names for what is filtered by here.
ALIASES: Mapping[str, str] = {
    "computingsite": "site",
    "jobstatus": "status",
    "jeditaskid": "task",
    "taskid": "task",
    "produsername": "user",
    "username": "user",
    "prodsourcelabel": "label",
    "processingtype": "processing",
    "tasktype": "type",
    "workinggroup": "group",
    "gshare": "share",
    "modificationhost": "node",
    "computingelement": "queue",
    "attemptnr": "attempt",
    "transpath": "transformation",
    "display_limit": "limit",
    "sortby": "sort",
}


class Form(StrEnum):
    """How a page is answered."""

    HTML = "html"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a page understands: filters by name, orders by name with the usual one, the usual length of time.

    `words` may stand in the address besides; those in `choices` only with one of their values.
    """

    filters: tuple[str, ...] = ()
    sorts: tuple[str, ...] = ()
    sort: str = ""
    hours: float | None = None
    words: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that may stand in the address."""
        times = TIMES if self.hours is not None else ()
        return (*times, *self.filters, *PAGING, *self.words)


@dataclass(frozen=True, slots=True)
class Asked:
    """An address, understood. `given` holds the names and texts that stand in it; `sheet` names the table for CSV."""

    path: str
    given: Mapping[str, str]
    span: Span
    filters: Mapping[str, Pattern]
    limit: int
    offset: int
    sort: str
    form: Form
    vocabulary: Vocabulary
    sheet: str = ""

    @property
    def hours(self) -> float:
        """How long the time is that is asked for."""
        return (self.span.until - self.span.since).total_seconds() / 3600

    @property
    def times(self) -> dict[str, str]:
        """The part of the address that says the time, for links to other pages about the same time."""
        given = {name: text for name, text in self.given.items() if name in TIMES}
        usual = self.vocabulary.hours
        return given or ({} if usual is None else {"hours": f"{usual:g}"})

    def here(self, **changes: str | int | None) -> str:
        """The same page with some names changed, None taking one away; paging begins anew unless it is what changes."""
        kept = {name: text for name, text in self.given.items() if name not in {"offset", "_live"}}
        return address(self.path, **{**kept, **changes})

    def kept(self, names: Iterable[str]) -> dict[str, str]:
        """Those of the texts in the address that another page understands, too."""
        known = set(names)
        return {**self.times, **{name: text for name, text in self.given.items() if name in known}}


def address(path: str, **names: str | int | None) -> str:
    """An address of the monitor."""
    query = urlencode({name: text for name, text in names.items() if text is not None and text != ""})
    return f"{path}?{query}" if query else path


def only(value: object) -> str:
    """The filter that lets only this value through."""
    return pattern.exactly("" if value is None else str(value))


def read(path: str, query: Iterable[tuple[str, str]], accept: str, vocabulary: Vocabulary, now: datetime) -> Asked:
    """Understand an address; raises BadRequest that says what is wrong and what would be right."""
    given, form = _given(query, vocabulary), Form.HTML
    if "json" in given or "application/json" in accept.split(",", maxsplit=1)[0]:
        form = Form.JSON
    if "csv" in given or "text/csv" in accept.split(",", maxsplit=1)[0]:
        form = Form.CSV
    texts = {name: text for name, text in given.items() if name not in FORMS}
    return Asked(
        path=path,
        given=texts,
        span=_span(texts, vocabulary, now),
        filters={name: pattern.parse(texts[name]) for name in vocabulary.filters if name in texts},
        limit=_number(texts, "limit", ROWS, 1, MOST_ROWS),
        offset=_number(texts, "offset", 0, 0, 10**9),
        sort=_sort(texts.get("sort", vocabulary.sort), vocabulary),
        form=form,
        vocabulary=vocabulary,
        sheet=given.get("csv", ""),
    )


def _given(query: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> dict[str, str]:
    given: dict[str, str] = {}
    for raw, text in query:
        name = ALIASES.get(raw.lower(), raw)
        if name not in vocabulary.names and name not in FORMS:
            near = difflib.get_close_matches(name, vocabulary.names, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(vocabulary.names)
            raise BadRequest(f"this page knows no {raw!r}", hint=f"{meant}it knows {known}, json and csv")
        if name in given and text != given[name]:
            raise BadRequest(f"{raw} stands twice in the address", hint=f"several values are written {raw}=a|b")
        if text or name in FORMS:
            if "\x00" in text:
                raise BadRequest(f"{raw} has a character that no name has", hint="leave NUL out")
            _check_choice(name, text, vocabulary)
            given[name] = text
    return given


def _check_choice(name: str, text: str, vocabulary: Vocabulary) -> None:
    allowed = vocabulary.choices.get(name)
    if allowed is not None and text not in allowed:
        raise BadRequest(f"{name}={text} is impossible", hint=f"{name} is one of {', '.join(allowed)}")


def _span(texts: Mapping[str, str], vocabulary: Vocabulary, now: datetime) -> Span:
    named = [name for name in ("hours", "days") if name in texts]
    dated = [name for name in ("date_from", "date_to") if name in texts]
    if len(named) > 1 or (named and dated):
        raise BadRequest(f"{' and '.join(named + dated)} contradict each other", hint="give one of them")
    if dated:
        until = _date(texts, "date_to") or now
        since = _date(texts, "date_from") or until - timedelta(hours=vocabulary.hours or 12)
        if since >= until:
            raise BadRequest("date_from is not before date_to", hint="exchange them")
        if (until - since).total_seconds() > MOST_HOURS * 3600:
            raise BadRequest("more than a year is asked for", hint="choose dates that are at most 366 days apart")
        return Span(since, until)
    hours = vocabulary.hours or 12.0
    for name, scale in (("hours", 1.0), ("days", 24.0)):
        if name in texts:
            hours = _hours(name, texts[name], scale)
    return Span(now - timedelta(hours=hours), now)


def _hours(name: str, text: str, scale: float) -> float:
    try:
        hours = float(text) * scale
    except ValueError:
        hours = -1.0
    if not 0 < hours <= MOST_HOURS:
        raise BadRequest(
            f"{name}={text} is no length of time", hint=f"a number above 0, at most {MOST_HOURS / scale:g}"
        )
    return hours


def _date(texts: Mapping[str, str], name: str) -> datetime | None:
    if name not in texts:
        return None
    try:
        found = datetime.fromisoformat(texts[name].replace(" ", "T", 1))
    except ValueError:
        raise BadRequest(
            f"{name}={texts[name]} is no date", hint="write 2026-11-22 or 2026-11-22T18:30 (UTC)"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _number(texts: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = texts.get(name, str(usual))
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise BadRequest(f"{name}={text} is impossible", hint=f"a whole number from {least} to {most}")
    return int(text)


def _sort(text: str, vocabulary: Vocabulary) -> str:
    if text.removeprefix("-") not in {*vocabulary.sorts, ""} or text == "-":
        known = ", ".join(vocabulary.sorts) or "nothing"
        raise BadRequest(
            f"this page does not sort by {text!r}", hint=f"it sorts by {known}; -{known.split(',')[0]} turns it"
        )
    return text
