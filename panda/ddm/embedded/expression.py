r"""Owns RSE expressions: `name`, `attribute=value`, `*` inside both, `&` and, `|` or, `\` without, parentheses. Pure.

`&` binds tighter than `|` and `\`, which go from left to right; the meaning is Rucio's.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from panda.ddm.errors import InvalidExpression

_TOKEN = re.compile(r"\s*(?:(?P<sign>[&|\\()])|(?P<word>[A-Za-z0-9_.\-*]+(?:\s*=\s*[A-Za-z0-9_.\-*:/+]+)?))")
_DEEPEST = 50


def select(expression: str, rses: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Names of the RSEs (name -> attributes) that match; raises InvalidExpression with the place of the error."""
    parser = _Parser(expression, rses)
    found = parser.union(0)
    parser.expect_end()
    return found


class _Parser:
    """A reader of one expression that evaluates while it reads."""

    def __init__(self, expression: str, rses: Mapping[str, Mapping[str, str]]) -> None:
        self._text = expression
        self._rses = rses
        self._tokens = list(_tokens(expression))
        self._at = 0

    def union(self, depth: int) -> set[str]:
        if depth > _DEEPEST:
            raise InvalidExpression(f"RSE expression has more than {_DEEPEST} nested parentheses")
        found = self._intersection(depth)
        while (sign := self._peek()) in ("|", "\\"):
            self._at += 1
            other = self._intersection(depth)
            found = found | other if sign == "|" else found - other
        return found

    def expect_end(self) -> None:
        if (part := self._peek()) is not None:
            raise self._error(f"'{part}' is too much")

    def _intersection(self, depth: int) -> set[str]:
        found = self._factor(depth)
        while self._peek() == "&":
            self._at += 1
            found &= self._factor(depth)
        return found

    def _factor(self, depth: int) -> set[str]:
        part = self._peek()
        self._at += 1
        if part == "(":
            found = self.union(depth + 1)
            if self._peek() != ")":
                raise self._error("a ')' is missing")
            self._at += 1
            return found
        if part is None or part in "&|\\)":
            raise self._error("a name or attribute=value is missing")
        return set(self._matching(part))

    def _matching(self, word: str) -> Iterable[str]:
        attribute, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            return (name for name in self._rses if fnmatchcase(name, attribute))
        return (name for name, has in self._rses.items() if attribute in has and fnmatchcase(has[attribute], value))

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _error(self, what: str) -> InvalidExpression:
        return InvalidExpression(
            f"RSE expression '{self._text[:200]}': {what} at part {self._at + 1}",
            "Write for example: cloud=DE&tier=2\\site=DESY|CERN_DATADISK.",
        )


def _tokens(expression: str) -> Iterable[str]:
    at = 0
    text = expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidExpression(f"RSE expression '{expression[:200]}': character {at + 1} cannot be read")
        yield match["sign"] or match["word"]
        at = match.end()
