"""What brokerage answers: for each candidate the first rule that refused it, with numbers; the weights; the choice."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a candidate was refused: the rule (paragraph of domain.md or design.md), its short name, and the numbers.

    `permanent` means that waiting does not help: only another request or another site would.
    """

    rule: str
    name: str
    value: float | str | None
    threshold: float | str | None
    text: str
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cloud or site that was looked at, and either its refusal or the number it competed with.

    A cloud has a `weight` (its chance, the higher the better), a site an `id` and a `load` (1/w of domain.md 2.2, the
    lower the better). `files` counts input files of the bunch that the site holds.
    """

    name: str
    id: int | None = None
    rejection: Rejection | None = None
    weight: float | None = None
    load: float | None = None
    files: int = 0


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """Step 9 of domain.md 2.1: copy these datasets to a cloud's T1, so that a later round finds them there."""

    cloud: str
    site_id: int | None
    rses: tuple[str, ...]
    datasets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CloudDecision:
    """The cloud of one production task, or why there is none yet. `subscribe` may ask for a copy of its input."""

    task_id: int
    chosen: str | None
    candidates: tuple[Candidate, ...]
    reason: str
    subscribe: CopyRequest | None = None


class Verdict(StrEnum):
    """What happens to a bunch: it has a site, waits for a later round, or no site of its cloud can ever run it."""

    PLACED = "placed"
    WAIT = "wait"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class SiteDecision:
    """The site of one bunch (`chosen` is its id), or why there is none."""

    bunch_id: int
    verdict: Verdict
    chosen: int | None
    chosen_name: str
    candidates: tuple[Candidate, ...]
    reason: str


def draw(seed: int, *key: object) -> float:
    """Give the number in [0, 1) that belongs to a seed and a key: chance that does not depend on any order of calls."""
    text = "|".join((str(seed), *map(str, key)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def tally(candidates: tuple[Candidate, ...]) -> str:
    """Say which filter removed how many candidates, the busiest first: `release 3 (A, B, C); pilots 1 (D)`."""
    by_name: dict[str, list[str]] = {}
    for candidate in candidates:
        if candidate.rejection is not None:
            by_name.setdefault(candidate.rejection.name, []).append(candidate.name)
    parts = sorted(by_name.items(), key=lambda item: (-len(item[1]), item[0]))
    return "; ".join(f"{name} {len(names)} ({_some(sorted(names))})" for name, names in parts)


def _some(names: list[str], limit: int = 8) -> str:
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
