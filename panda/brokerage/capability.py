"""What a site can run at all: permanent refusals, which no waiting changes (domain.md 2.2, design.md 4 "Needs").

Used by brokerage, by cloud assignment and by the check of requests at submission. A limit of 0 is no limit and an
unknown value refuses nothing. Add a rule by writing one function and naming it in CAPABILITY_RULES.
"""

from collections.abc import Callable

from panda.brokerage.decision import Rejection
from panda.brokerage.snapshot import Needs, ProcessGroup, Release, SiteFacts, has_release, process_group, show_releases

CapabilityRule = Callable[[Needs, SiteFacts], Rejection | None]


def _refuse(name: str, value: float | str, threshold: float | str, text: str, rule: str = "2.2") -> Rejection:
    return Rejection(rule, name, value, threshold, text, permanent=True)


def test_site(needs: Needs, site: SiteFacts) -> Rejection | None:
    """A site that exists for tests takes nothing else (2.2)."""
    if site.is_test and not needs.is_test:
        return _refuse(
            "test site", site.name, "a test job", f"{site.name} is a test site, the jobs are {needs.label!r}"
        )
    return None


def label(needs: Needs, site: SiteFacts) -> Rejection | None:
    """No production at analysis queues, no analysis at production queues (2.2)."""
    return _serves("label", "takes", needs.label, site.labels, site)


def vo(needs: Needs, site: SiteFacts) -> Rejection | None:
    """The site must serve the virtual organisation (ours: in 2009 there was hardly more than one)."""
    return _serves("vo", "serves", needs.vo, site.vos, site)


def release(needs: Needs, site: SiteFacts) -> Rejection | None:
    """The release must be installed, for reprocessing also validated; sites with no list are not checked (2.2)."""
    installed = _releases_for(needs, site)
    if installed is None or not needs.release or has_release(installed, needs.release, ""):
        return None
    have = show_releases(installed)
    return _refuse("release", have, needs.release, f"release {needs.release} is not at {site.name}, which has {have}")


def architecture(needs: Needs, site: SiteFacts) -> Rejection | None:
    """The release must be there for the architecture (cmtConfig) that the jobs ask for (2.2)."""
    installed = _releases_for(needs, site)
    if not installed or not needs.architecture:
        return None
    candidates = [r for r in installed if not needs.release or r.name == needs.release]
    if any(r.architecture in {"", needs.architecture} for r in candidates):
        return None
    have = ", ".join(sorted({r.architecture for r in candidates})) or "none"
    what = f"release {needs.release}" if needs.release else "its releases"
    text = f"{site.name} has {what} for {have}, not for {needs.architecture}"
    return _refuse("architecture", have, needs.architecture, text)


def container(needs: Needs, site: SiteFacts) -> Rejection | None:
    """Payloads that want an image need a site that runs images (ours: 2009 knew none)."""
    if not needs.in_container or site.container_runtime:
        return None
    text = f"the jobs run in a container, {site.name} has no container runtime"
    return _refuse("container", "no runtime", "a container runtime", text, "design.md 4 Needs")


def memory(needs: Needs, site: SiteFacts) -> Rejection | None:
    """The site's memory limit, if it has one, must allow the whole job (2.2)."""
    return _at_most("memory", "MB of memory", needs.memory_mb, site.memory_mb, site, "2.2")


def cores(needs: Needs, site: SiteFacts) -> Rejection | None:
    """A slot of the site must have the cores."""
    return _at_most("cores", "cores", needs.cores, site.cores, site)


def disk(needs: Needs, site: SiteFacts) -> Rejection | None:
    """A slot of the site must have the scratch space."""
    return _at_most("disk", "MB of scratch disk", needs.disk_mb, site.disk_mb, site)


def wall_time(needs: Needs, site: SiteFacts) -> Rejection | None:
    """The job must end within the queue's time limit at the queue's CPU power."""
    return _at_most("wall time", "s of wall time", round(needs.wall_at(site.corepower)), site.max_time_s, site)


CAPABILITY_RULES: tuple[CapabilityRule, ...] = (
    test_site,
    label,
    vo,
    release,
    architecture,
    container,
    memory,
    cores,
    disk,
    wall_time,
)


def incapable(needs: Needs, site: SiteFacts) -> Rejection | None:
    """Give the first rule that keeps the site from ever running such jobs, or None if it can run them."""
    for rule in CAPABILITY_RULES:
        rejection = rule(needs, site)
        if rejection is not None:
            return rejection
    return None


def incapabilities(needs: Needs, site: SiteFacts) -> list[Rejection]:
    """Give every rule that keeps the site from running such jobs."""
    return [rejection for rule in CAPABILITY_RULES if (rejection := rule(needs, site)) is not None]


def _releases_for(needs: Needs, site: SiteFacts) -> frozenset[Release] | None:
    reprocessing = process_group(needs.processing_type) is ProcessGroup.REPROCESSING
    if reprocessing and site.validated_releases is not None:
        return site.validated_releases
    return site.releases


def _serves(name: str, verb: str, asked: str, served: frozenset[str] | None, site: SiteFacts) -> Rejection | None:
    if served is None or asked in served:
        return None
    have = ", ".join(sorted(served)) or "none"
    return _refuse(name, have, asked, f"{site.name} {verb} {have}, not {asked!r}")


def _at_most(
    name: str, unit: str, asks: float, limit: float, site: SiteFacts, rule: str = "design.md 4 Needs"
) -> Rejection | None:
    if not limit or asks <= limit:
        return None
    return _refuse(name, limit, asks, f"the job needs {asks:.12g} {unit}, {site.name} gives {limit:.12g}", rule)
