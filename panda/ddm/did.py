"""Owns data identifiers: scope and name, and the grammar of both."""

import re
from typing import NamedTuple, Self

from typing_extensions import override

from panda.ddm.errors import InvalidName

SCOPE_LENGTH = 25
NAME_LENGTH = 250
_SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+\-]*", re.ASCII)
_PART = re.compile(r"\.part-[0-9.]+$")
_GOOD = re.compile(rf"{_SCOPE.pattern}:{_NAME.pattern}", re.ASCII)


class Did(NamedTuple):
    """A data identifier: a file, dataset or container by scope and name, unique in the whole system."""

    scope: str
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.scope}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """`scope:name` as a Did, its grammar checked; raises InvalidName."""
        scope, colon, name = text.partition(":")
        if not colon:
            raise InvalidName(f"'{text[:300]}' is not a data identifier: write scope:name")
        did = cls(scope, name)
        check_did(did)
        return did


def check_did(did: Did) -> None:
    """Raise InvalidName unless scope and name keep the grammar (security-sites.md 3.6; scope <= 25, name <= 250)."""
    whole = f"{did.scope}:{did.name}"
    short = len(did.scope) <= SCOPE_LENGTH and len(did.name) <= NAME_LENGTH
    if short and _GOOD.fullmatch(whole) and ":" not in did.scope and ".." not in whole and ".part-" not in whole:
        return  # the usual case, fast
    for what, text, length, grammar in (
        ("scope", did.scope, SCOPE_LENGTH, _SCOPE),
        ("name", did.name, NAME_LENGTH, _NAME),
    ):
        if len(text) > length:
            raise InvalidName(f"{what} '{text[:60]}...' has {len(text)} characters, at most {length} are allowed")
        if not grammar.fullmatch(text) or ".." in text:
            raise InvalidName(
                f"{what} '{text}' is not allowed: begin with a letter or digit, then letters, digits and "
                f"{'. _ -' if what == 'scope' else '. _ : + -'}, never '..'"
            )
    if _PART.search(did.name):
        raise InvalidName(f"name '{did.name}' ends like a temporary file (.part-<number>): choose another ending")
