"""From a plain mapping (YAML, JSON) to a frozen dataclass, with errors that name the key and say what would be right.

A dataclass is its own description: its field names are the keys, its annotations the types, its defaults the defaults.
Ranges and choices stand in the field's metadata, put there by `value`.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from panda.errors import BadRequest

Built = TypeVar("Built")

_WORDS: Mapping[object, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def value(default: Any = MISSING, *, minimum: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with a least value or a list of choices, which `build` checks."""
    return field(default=default, metadata={"minimum": minimum, "choices": choices})


def build(cls: type[Built], document: object, where: str, **given: object) -> Built:
    """Make a `cls` of a mapping found at `where` (for messages); fields in `given` are not keys but set as they are.

    Raises BadRequest for unknown, missing and wrong keys.
    """
    if not is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is not a dataclass")
    members = {one.name: one for one in fields(cls) if one.name not in given}
    items = mapping(document, where)
    refuse_unknown(items, members, where)
    types = get_type_hints(cls)
    values = dict(given)
    for name, member in members.items():
        if name in items:
            values[name] = _checked(convert(items[name], types[name], f"{where}.{name}"), member, f"{where}.{name}")
        elif member.default is MISSING and member.default_factory is MISSING:
            raise BadRequest(f"{where} lacks the key {name!r}.", _example(name, types[name]))
    return cls(**values)


def mapping(document: object, where: str) -> dict[str, object]:
    """The document as a mapping with text keys (nothing at all is an empty one); raises BadRequest."""
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise BadRequest(f"{where} is {_shown(document)}, not a list of keys with values.", "Write `key: value` lines.")
    strange = next((key for key in document if not isinstance(key, str)), None)
    if strange is not None:
        raise BadRequest(
            f"{where} has the key {strange!r}, which YAML reads as {type(strange).__name__}, not as a name.",
            "Put it in quotes.",
        )
    return dict(document)


def refuse_unknown(items: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise BadRequest for the first key that is not known, with the nearest one that is."""
    names = sorted(known)
    for key in items:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(names)}."
            raise BadRequest(f"{where} has the unknown key {key!r}.", hint)


def convert(found: object, wanted: Any, where: str) -> object:
    """Give the value as the annotated type: text, number, flag, a tuple of these, or a dataclass; raises BadRequest."""
    if get_origin(wanted) is UnionType:
        options = [one for one in get_args(wanted) if one is not type(None)]
        return None if found is None else convert(found, options[0], where)
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)[0]
        if not isinstance(found, list):
            raise BadRequest(f"{where} is {_shown(found)}, not a list.", f"Write [{_shown(found)}] for a list of one.")
        return tuple(convert(one, inner, f"{where}[{place}]") for place, one in enumerate(found))
    if is_dataclass(wanted) and isinstance(wanted, type):
        return build(wanted, found, where)
    return _scalar(found, wanted, where)


def _scalar(found: object, wanted: Any, where: str) -> object:
    if wanted is float and isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
        return float(found)
    if type(found) is wanted and wanted is not float:
        return found
    hint = "Put it in quotes." if wanted is str and isinstance(found, int | float | bool) else ""
    raise BadRequest(f"{where} is {_shown(found)}, but has to be {_WORDS.get(wanted, 'something else')}.", hint)


def _checked(found: object, member: Field[Any], where: str) -> object:
    minimum, choices = member.metadata.get("minimum"), member.metadata.get("choices")
    if minimum is not None and isinstance(found, int | float) and found < minimum:
        raise BadRequest(f"{where} is {found}, but has to be at least {minimum:g}.")
    if choices and found is not None:
        for one in found if isinstance(found, tuple) else (found,):
            if one not in choices:
                raise BadRequest(f"{where} is {one!r}, which is unknown.", f"One of {', '.join(choices)}.")
    return found


def _example(name: str, wanted: Any) -> str:
    return f"Add `{name}: ...` ({_WORDS.get(wanted, 'see the documentation')})."


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - one line of a terminal
