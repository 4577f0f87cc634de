"""Whether a request can ever run anywhere, asked at submission; if not, the nearest request that would."""

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from panda.brokerage.capability import incapabilities
from panda.brokerage.decision import Rejection
from panda.brokerage.snapshot import Needs, Release, SiteFacts, show_releases


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A request that no site can ever satisfy: why, and `nearest`, which `site` could run.

    `rejections` are the refusals of that site; `changes` says in words what `nearest` changes. `nearest` is None, and
    `changes` empty, if no site takes any request at all (none serves a VO, for instance).
    """

    text: str
    nearest: Needs | None
    site: str
    rejections: tuple[Rejection, ...]
    changes: str

    @property
    def hint(self) -> str:
        """Say what would run, and where."""
        if not self.changes:
            return "no site of this grid would run any such request"
        return f"the nearest request that would run (at {self.site}): {self.changes}"


@dataclass(frozen=True, slots=True)
class _Attempt:
    site: SiteFacts
    rejections: tuple[Rejection, ...]


def nearest(request: Needs, sites: Sequence[SiteFacts]) -> Infeasible | None:
    """Give None if some site can run such jobs, whatever its status now; otherwise why not and what would work.

    Raises ValueError if there are no sites at all.
    """
    if not sites:
        raise ValueError("the grid has no sites: load a grid file first")
    attempts = [_Attempt(site, tuple(incapabilities(request, site))) for site in sites]
    if any(not one.rejections for one in attempts):
        return None
    attempts.sort(key=lambda one: (_distance(one), one.site.name))
    for one in attempts:
        changed = _adapt(request, one.site)
        if not incapabilities(changed, one.site):
            changes = _changes(request, changed)
            return Infeasible(_why(attempts, one), changed, one.site.name, one.rejections, changes)
    first = attempts[0]
    return Infeasible(_why(attempts, first), None, first.site.name, first.rejections, "")


def _why(attempts: Sequence[_Attempt], best: _Attempt) -> str:
    """Name what no site gives; if each single wish is met somewhere, what the nearest site lacks."""
    everywhere = set.intersection(*({r.name for r in one.rejections} for one in attempts))
    texts = [_nearest_text(name, attempts) for name in sorted(everywhere)]
    if texts:
        return "no site can ever run this: " + "; ".join(texts)
    lacks = "; ".join(one.text for one in best.rejections)
    return f"no single site offers all that is asked for: {lacks}"


def _nearest_text(name: str, attempts: Sequence[_Attempt]) -> str:
    """Say for one wish that no site meets which comes nearest."""
    refusals = [(one.site.name, r) for one in attempts for r in one.rejections if r.name == name]
    site, refusal = min(refusals, key=lambda pair: (_shortfall(pair[1]), pair[0]))
    if name != "release":
        return f"{refusal.text} (the most any site gives)" if isinstance(refusal.value, int | float) else refusal.text
    installed = {r for one in attempts for r in one.site.releases or frozenset()}
    close = _closest(str(refusal.threshold), sorted({r.name for r in installed}))
    hint = f"nearest names: {', '.join(close)}" if close else f"installed: {show_releases(installed)}"
    return f"release {refusal.threshold} is installed nowhere (site {site} and all others); {hint}"


def _distance(attempt: _Attempt) -> float:
    """How far a site is from the request: each refusal counts, small shortfalls less than large ones."""
    return sum(1.0 + _shortfall(one) for one in attempt.rejections)


def _shortfall(refusal: Rejection) -> float:
    """Give 0..9 for how far a limit is from what is asked: ratio of numbers, unlikeness of names."""
    value, asked = refusal.value, refusal.threshold
    if isinstance(value, int | float) and isinstance(asked, int | float) and value > 0:
        return min(9.0, math.log2(max(asked / value, 1.0)))
    if refusal.name == "test site":
        return 9.0
    return 1.0 - difflib.SequenceMatcher(None, str(value), str(asked)).ratio()


def _adapt(request: Needs, site: SiteFacts) -> Needs:
    """Change only what the site refuses until it refuses nothing. Each step removes its refusal for good or almost."""
    changed = request
    for _ in range(len(_ADAPTATIONS) + 1):
        for refusal in incapabilities(changed, site):
            changed = _ADAPTATIONS[refusal.name](changed, site)
    return changed


def _to_label(needs: Needs, site: SiteFacts) -> Needs:
    return replace(needs, label=_one_of(needs.label, site.labels))


def _to_vo(needs: Needs, site: SiteFacts) -> Needs:
    return replace(needs, vo=_one_of(needs.vo, site.vos))


def _to_release(needs: Needs, site: SiteFacts) -> Needs:
    validated = site.validated_releases if needs.processing_type == "reprocessing" else None
    installed = site.releases if validated is None else validated
    fitting = {r.name for r in installed or () if not needs.architecture or r.architecture in {"", needs.architecture}}
    names = sorted(fitting or {r.name for r in installed or ()})
    close = _closest(needs.release, names) or names[:1]
    return replace(needs, release=close[0] if close else "")


def _to_architecture(needs: Needs, site: SiteFacts) -> Needs:
    validated = site.validated_releases if needs.processing_type == "reprocessing" else None
    installed = (site.releases if validated is None else validated) or frozenset[Release]()
    known = sorted({r.architecture for r in installed if not needs.release or r.name == needs.release})
    return replace(needs, architecture=(_closest(needs.architecture, known) or known or [""])[0])


def _to_wall(needs: Needs, site: SiteFacts) -> Needs:
    fixed = min(needs.wall_s, site.max_time_s)
    if not site.corepower:
        return replace(needs, wall_s=fixed)
    work = math.floor((site.max_time_s - fixed) * max(needs.cores, 1) * site.corepower)
    return replace(needs, wall_s=fixed, work_hs23_s=max(0, min(work, math.floor(needs.work_hs23_s))))


_ADAPTATIONS: dict[str, Callable[[Needs, SiteFacts], Needs]] = {
    "test site": lambda needs, _site: replace(needs, processing_type="prod_test"),
    "label": _to_label,
    "vo": _to_vo,
    "release": _to_release,
    "architecture": _to_architecture,
    "container": lambda needs, _site: replace(needs, in_container=False),
    "memory": lambda needs, site: replace(needs, memory_mb=site.memory_mb),
    "cores": lambda needs, site: replace(needs, cores=site.cores),
    "disk": lambda needs, site: replace(needs, disk_mb=site.disk_mb),
    "wall time": _to_wall,
}

_UNITS = {"memory_mb": " MB", "disk_mb": " MB", "wall_s": " s", "work_hs23_s": " HS23 s"}


def _changes(asked: Needs, changed: Needs) -> str:
    names = ("label", "vo", "processing_type", "release", "architecture", "memory_mb", "disk_mb", "cores")
    parts = []
    for name in (*names, "wall_s", "work_hs23_s", "in_container"):
        before, after = getattr(asked, name), getattr(changed, name)
        if before != after:
            unit = _UNITS.get(name, "")
            parts.append(f"{name} {_show(after)}{unit} instead of {_show(before)}{unit}")
    return ", ".join(parts)


def _show(value: float | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.12g}" if isinstance(value, int | float) else value or "none"


def _one_of(asked: str, served: Iterable[str] | None) -> str:
    names = sorted(served or ())
    return (_closest(asked, names) or names or [asked])[0]


def _closest(asked: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(asked, names, n=3, cutoff=0.4)
