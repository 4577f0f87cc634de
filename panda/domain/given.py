"""Typed reading of an untyped dictionary, as `task_parameters` are: what is wrong with a value names its key."""

from collections.abc import Mapping
from dataclasses import dataclass

from panda.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Given:
    """Typed reading of an untyped dictionary found at `where`; numbers may be text, null and absent are the same."""

    values: Mapping[str, object]
    where: str = "task_parameters"

    def text(self, key: str, default: str | None = None) -> str:
        """Text; `default` stands for an absent key, without one the key must be there."""
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise BadRequest(f"{self.where} lacks {key!r}", hint=f"give {key} as text")
            return default
        if not isinstance(value, str):
            raise BadRequest(f"{self.where} key {key!r} is {kind_of(value)}", hint="it must be text")
        return value

    def number(self, key: str) -> float | None:
        """A number from 0 to 2^53, also as text; None if it is absent."""
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadRequest(f"{self.where} key {key!r} is {kind_of(value)}", hint="it must be a number")
        try:
            number = float(value)
        except ValueError:
            raise BadRequest(f"{self.where} key {key!r} is {value!r}", hint="it must be a number") from None
        if number < 0 or number > 2**53 or number != number:  # noqa: PLR0124 - the test for "not a number"
            raise BadRequest(f"{self.where} key {key!r} is {value}", hint="a number from 0 to 2^53")
        return number

    def whole(self, key: str) -> int | None:
        """A whole number from 0 to 2^53, also as text; None if it is absent."""
        number = self.number(key)
        if number is not None and number != int(number):
            raise BadRequest(f"{self.where} key {key!r} is {number}", hint="it must be a whole number")
        return None if number is None else int(number)

    def flag(self, key: str) -> bool:
        """Whether the value says yes in any of the ways clients say it."""
        return self.values.get(key) in (True, 1, "True", "true", "1")


def refuse_nul(value: object, where: str = "task_parameters") -> None:
    """Raise BadRequest that names the key if a text anywhere in a value has a NUL character: no database keeps it."""
    if isinstance(value, str):
        if "\x00" in value:
            raise BadRequest(f"{where} holds a NUL character", hint="plain text")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            refuse_nul(str(key), where)
            refuse_nul(one, f"{where} key {key!r}")
    elif isinstance(value, list):
        for place, one in enumerate(value):
            refuse_nul(one, f"{where}[{place}]")


def kind_of(value: object) -> str:
    """What a value is, in words for people who read JSON."""
    names = {list: "a list", dict: "an object", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), type(value).__name__)
