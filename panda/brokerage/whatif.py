"""What a round of brokerage saw, with something changed: a site, a cloud, a threshold or the request. Pure.

A change is written `WHAT.FIELD=VALUE`: WHAT is a site, a cloud, `threshold` or `request`; `none` is no value, several
values are separated by commas.
"""

import difflib
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from panda.brokerage.journal import CloudRecord, RoundRecord
from panda.brokerage.snapshot import BunchFacts, CloudFacts, Release, RoundSnapshot, SiteFacts, TaskFacts
from panda.errors import BadRequest

THRESHOLD, REQUEST = "threshold", "request"
FIXED = frozenset({"id", "name", "cloud", "tier1_site_id"})
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is otherwise."""

    what: str
    field: str
    text: str


def parse(text: str) -> Change:
    """Read a change; raises BadRequest that says how it is written."""
    left, equals, value = text.partition("=")
    what, dot, field = left.strip().rpartition(".")
    if not (equals and dot and what and field):
        raise BadRequest(
            f"{text!r} is no change", hint="write SITE.FIELD=VALUE, threshold.FIELD=VALUE, request.FIELD=VALUE"
        )
    return Change(what, field, value.strip())


def changed_round(record: RoundRecord, changes: Iterable[Change]) -> RoundRecord:
    """Give what a round saw as it would have been; raises BadRequest for what is not in it."""
    for one in changes:
        if one.what == THRESHOLD:
            record = replace(record, thresholds=_set(record.thresholds, one))
        elif one.what == REQUEST:
            sites = record.snapshot.sites
            record = replace(record, bunches=tuple(_set_bunch(bunch, one, sites) for bunch in record.bunches))
        else:
            sites, clouds = _other_place(record.snapshot.sites, (record.snapshot.cloud,), one)
            record = replace(record, snapshot=RoundSnapshot(clouds[0], sites))
    return record


def changed_cloud(record: CloudRecord, changes: Iterable[Change]) -> CloudRecord:
    """Give what the choice of a cloud saw as it would have been; raises BadRequest for what is not in it."""
    for one in changes:
        if one.what == THRESHOLD:
            record = replace(record, thresholds=_set(record.thresholds, one))
        elif one.what == REQUEST:
            record = replace(record, task=_set_task(record.task, one))
        else:
            sites, clouds = _other_place(record.grid, record.clouds, one)
            record = replace(record, grid=sites, clouds=clouds)
    return record


def _set_task(task: TaskFacts, change: Change) -> TaskFacts:
    if change.field in {"priority", "task_type", "expected_work"}:
        return _set(task, change)
    return replace(task, needs=_set(task.needs, change, ("priority", "task_type", "expected_work")))


def _set_bunch(bunch: BunchFacts, change: Change, sites: Sequence[SiteFacts]) -> BunchFacts:
    if change.field in {"priority", "n_jobs"}:
        return _set(bunch, change)
    if change.field == "site":
        if change.text in {"", "none"}:
            return replace(bunch, preset_site_id=None, preset_site="")
        site = _named(sites, change.text)
        return replace(bunch, preset_site_id=site.id, preset_site=site.name)
    return replace(bunch, needs=_set(bunch.needs, change, ("priority", "n_jobs", "site")))


def _other_place(
    sites: tuple[SiteFacts, ...], clouds: tuple[CloudFacts, ...], change: Change
) -> tuple[tuple[SiteFacts, ...], tuple[CloudFacts, ...]]:
    """Give sites and clouds with one of them changed."""
    if change.what in {one.name for one in clouds}:
        return sites, tuple(_set(one, change) if one.name == change.what else one for one in clouds)
    wanted = _named(sites, change.what)
    return tuple(_set(one, change) if one is wanted else one for one in sites), clouds


def _named(places: Sequence[SiteFacts], name: str) -> SiteFacts:
    for one in places:
        if one.name == name:
            return one
    names = [one.name for one in places]
    near = difflib.get_close_matches(name, [*names, THRESHOLD, REQUEST], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise BadRequest(f"the round did not look at {name!r}", hint=f"{meant}it looked at {', '.join(names)}")


def _set(value: Value, change: Change, more: Sequence[str] = ()) -> Value:
    """Give the value with one field otherwise; `more` are fields that the caller knows besides."""
    hints = {name: hint for name, hint in get_type_hints(type(value)).items() if name not in FIXED and _can(hint)}
    if change.field not in hints:
        known = sorted((*hints, *more))
        near = difflib.get_close_matches(change.field, known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise BadRequest(f"{change.what} has no {change.field!r} to change", hint=f"{meant}it has {', '.join(known)}")
    try:
        read = _read(hints[change.field], change.text)
    except ValueError:
        raise BadRequest(
            f"{change.what}.{change.field}={change.text} is impossible", hint=f"write {_words(hints[change.field])}"
        ) from None
    made: Value = replace(value, **{change.field: read})  # type: ignore[type-var]  # only dataclasses come here
    return made


def _kind(hint: Any) -> Any:
    """The type of a field without its `| None`."""
    if get_origin(hint) in {Union, types.UnionType}:
        return next(one for one in get_args(hint) if one is not types.NoneType)
    return hint


def _can(hint: Any) -> bool:
    kind = _kind(hint)
    return kind in {int, float, str, bool} or get_origin(kind) is frozenset or kind == tuple[str, ...]


def _read(hint: Any, text: str) -> Any:
    kind = _kind(hint)
    if text.lower() == "none" and kind is not hint:
        return None
    if kind is bool:
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower()) or _no(text)
    if kind in {int, float}:
        number = kind(text)
        if not 0 <= number < float("inf"):
            raise ValueError(text)
        return number
    if kind is str:
        return text
    parts = [one.strip() for one in text.split(",") if one.strip()]
    if get_origin(kind) is tuple:
        return tuple(parts)
    return frozenset(Release(one) for one in parts) if get_args(kind) == (Release,) else frozenset(parts)


def _no(text: str) -> bool:
    if text.lower() not in {"false", "no"}:
        raise ValueError(text)
    return False


def _words(hint: Any) -> str:
    kind = _kind(hint)
    words = {int: "a whole number", float: "a number", str: "a word", bool: "yes or no"}
    return words.get(kind, "words with commas between them") + ("" if kind is hint else ", or none")
