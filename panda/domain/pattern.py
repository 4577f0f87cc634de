"""The filters of the monitor's addresses: `site=BNL|DESY*` and `-x` for "all but x" (domain.md 5c).

Grammar: alternatives are separated by `|`; `*` stands for any characters; a `-` in front excludes what the alternative
matches; `~` alone is the empty text (no site yet); a backslash takes the special meaning of `|`, `*`, `-`, `~` and
itself away. What matches one of the wanted alternatives (or there is none) and none of the unwanted ones is in.
Capitals count.
"""

import re
from dataclasses import dataclass

from panda.errors import BadRequest

NOTHING = "~"
_TOKEN = re.compile(r"\\[\\|*\-~]|[^|*]|\*", re.DOTALL)
_ALTERNATIVE = re.compile(r"(?:\\[\\|*\-~]|[^|])*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Glob:
    """One alternative: its literal pieces, between any two of which any characters may stand."""

    pieces: tuple[str, ...]

    @property
    def literal(self) -> str | None:
        """The only text it matches, None if it matches several."""
        return self.pieces[0] if len(self.pieces) == 1 else None

    @property
    def like(self) -> str:
        r"""The same as a pattern for SQL's LIKE with its usual escape `\`."""
        return "%".join(re.sub(r"([\\%_])", r"\\\1", one) for one in self.pieces)

    def matches(self, text: str) -> bool:
        """Whether it matches the whole text."""
        return re.fullmatch(".*".join(map(re.escape, self.pieces)), text, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a filter lets through."""

    wanted: tuple[Glob, ...] = ()
    unwanted: tuple[Glob, ...] = ()

    def matches(self, text: str) -> bool:
        """Whether the filter lets this text through."""
        some = not self.wanted or any(one.matches(text) for one in self.wanted)
        return some and not any(one.matches(text) for one in self.unwanted)

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The whole numbers that are wanted, None if the filter asks for anything else."""
        found = [one.literal or "" for one in self.wanted]
        if self.unwanted or not found or not all(re.fullmatch(r"[0-9]{1,18}", one) for one in found):
            return None
        return tuple(map(int, found))


def parse(text: str) -> Pattern:
    """Read a filter; raises BadRequest for an empty alternative, which would match by accident only."""
    wanted: list[Glob] = []
    unwanted: list[Glob] = []
    for alternative in _split(text):
        negative = alternative.startswith("-")
        body = alternative[1:] if negative else alternative
        if not body:
            raise BadRequest(
                f"the filter {text!r} has an empty alternative",
                hint="write a, a|b, a* or -a, and ~ for what has no value",
            )
        (unwanted if negative else wanted).append(Glob(("",) if body == NOTHING else _pieces(body)))
    return Pattern(tuple(wanted), tuple(unwanted))


def exactly(text: str) -> str:
    """Write the filter that lets only this text through."""
    if not text:
        return NOTHING
    escaped = re.sub(r"([\\|*])", r"\\\1", text)
    return f"\\{escaped}" if escaped[0] == "-" or escaped == NOTHING else escaped


def _split(text: str) -> list[str]:
    found, place = [], 0
    while True:
        match = _ALTERNATIVE.match(text, place)
        found.append(match.group() if match else "")
        place += len(found[-1]) + 1
        if place > len(text):
            return found


def _pieces(alternative: str) -> tuple[str, ...]:
    pieces = [""]
    for sign in _TOKEN.findall(alternative):
        if sign == "*":
            pieces.append("")
        else:
            pieces[-1] += sign[1:] if len(sign) > 1 else sign
    return tuple(pieces)
