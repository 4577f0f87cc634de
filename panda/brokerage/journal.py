"""Brokerage as stored JSON: snapshots and decisions out and in again, and the replay that must give the same answer."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from panda.brokerage.choose import run_round
from panda.brokerage.cloud import assign_cloud
from panda.brokerage.decision import CloudDecision, SiteDecision
from panda.brokerage.snapshot import BunchFacts, CloudFacts, RoundSnapshot, SiteFacts, TaskFacts
from panda.brokerage.thresholds import Thresholds

Json = dict[str, Any]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round of brokerage to sites: all it looked at, and what it decided."""

    snapshot: RoundSnapshot
    bunches: tuple[BunchFacts, ...]
    thresholds: Thresholds
    seed: int
    decisions: tuple[SiteDecision, ...]


@dataclass(frozen=True, slots=True)
class CloudRecord:
    """One assignment of a task to a cloud: all it looked at, and what it decided."""

    task: TaskFacts
    clouds: tuple[CloudFacts, ...]
    grid: tuple[SiteFacts, ...]
    thresholds: Thresholds
    seed: int
    decision: CloudDecision


def replay_round(record: RoundRecord) -> tuple[SiteDecision, ...]:
    """Decide the round again from what it saw; equals `record.decisions` unless the rules were changed since."""
    return run_round(record.bunches, record.snapshot, record.thresholds, record.seed)


def replay_cloud(record: CloudRecord) -> CloudDecision:
    """Decide the task's cloud again from what was seen; equals `record.decision` unless rules were changed since."""
    return assign_cloud(record.task, record.clouds, record.thresholds, record.seed, record.grid)


def to_json(value: object) -> Json:
    """Turn a value of this package (snapshot, thresholds, decision, record, ...) into plain JSON."""
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} is no value of brokerage")
    return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}


def from_json(kind: type[Value], data: Mapping[str, Any]) -> Value:
    """Make the value of type `kind` that `to_json` turned into `data`; fields that are missing take their default.

    Raises ValueError for a field that `kind` does not have: it was written by another version of the rules.
    """
    hints = _hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(hints))}")
    return kind(**{name: _typed(hints[name], value) for name, value in data.items()})


_HINTS: dict[type[object], dict[str, Any]] = {}


def _hints(kind: type[object]) -> dict[str, Any]:
    """Give the types of a class's fields; resolving them is slow, so it is done once."""
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind)
    return _HINTS[kind]


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, frozenset):
        return sorted(_plain(one) for one in value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in sorted(value.items())}
    return value


def _typed(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return _typed_union(arguments, value)
    if origin is tuple:
        return tuple(_typed(arguments[0], one) for one in value)
    if origin is frozenset:
        return frozenset(_typed(arguments[0], one) for one in value)
    if origin is Mapping:
        return {arguments[0](key): _typed(arguments[1], one) for key, one in value.items()}
    return _typed_class(hint, value)


def _typed_union(arguments: tuple[Any, ...], value: Any) -> Any:
    """Read `X | None`, or a union of plain types, which JSON keeps apart by itself."""
    kinds = [one for one in arguments if one is not types.NoneType]
    return _typed(kinds[0], value) if len(kinds) == 1 else value


def _typed_class(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if isinstance(hint, type) and issubclass(hint, tuple):
        return hint(*value)
    if hint in {int, str, bool}:
        return value
    return hint(value)
