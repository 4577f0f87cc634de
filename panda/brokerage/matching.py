"""A pilot and the requirement classes of its queue: which it may take, in which order, and why not the others.

Rules: design.md section 4 "Needs" and "Fair share", domain.md 2.5. A value that a pilot does not know never refuses.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from typing_extensions import override

from panda.brokerage.decision import Rejection
from panda.brokerage.shares import VO
from panda.brokerage.snapshot import TEST_LABELS, Needs, Release, has_release, show_releases
from panda.domain.resource_types import resource_type_of

# Which jobs a pilot takes, by the label it asks with (domain.md 1, "Panda server": prodSourceLabel classes).
PRODUCTION_LABELS = frozenset({"managed", "prod_test", "validation", "software", "install", "regional"})
USER_LABELS = frozenset({"user", "panda"})
LABELS_OF_PILOT: Mapping[str, frozenset[str]] = {
    "": PRODUCTION_LABELS,
    "managed": PRODUCTION_LABELS,
    "user": USER_LABELS,
    "self": USER_LABELS,
    "test": TEST_LABELS,
    "ptest": TEST_LABELS,
    "unified": PRODUCTION_LABELS | USER_LABELS | TEST_LABELS,
}


class PilotFacts(NamedTuple):
    """What a pilot says of its worker node. None is unknown; so is a memory, disk, core or MHz number of 0.

    `releases` are the names it found in the site's software folder; an empty set is a finding, None is not.
    `owner` and `working_group` are set for private pilots, which take only that person's or group's jobs.
    `resource_type` is set by factories that ask for jobs of one kind of slot.
    """

    site_id: int
    label: str = "managed"
    memory_mb: float | None = None
    disk_mb: float | None = None
    cores: int | None = None
    cpu_mhz: float | None = None
    remaining_s: float | None = None
    releases: frozenset[str] | None = None
    vos: frozenset[str] | None = None
    owner: str = ""
    working_group: str = ""
    resource_type: str = ""


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """The queue a pilot runs at. `releases` are those found there before (`site_release`), None if never looked.

    `corepower` is HS23 per core of a core with `reference_mhz`.
    """

    site_id: int
    name: str
    status: str = "online"
    corepower: float | None = None
    reference_mhz: float | None = None
    releases: frozenset[Release] | None = None
    vos: frozenset[str] | None = None
    labels: frozenset[str] | None = None

    @override
    def __hash__(self) -> int:
        return hash(self.name)  # looked up for each pilot that asks; all fields took five times as long


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """A requirement class: jobs at one site that ask for the same.

    `oldest` orders classes of equal priority: any number that grows with time, the id of the first job for instance.
    """

    id: int
    site_id: int
    needs: Needs = field(default_factory=Needs)
    share: str = ""
    owner: str = ""
    working_group: str = ""
    max_priority: int = 0
    oldest: int = 0


Rule = Callable[[PilotFacts, ClassFacts, QueueFacts], Rejection | None]


def _refuse(name: str, value: float | str | None, threshold: float | str | None, text: str) -> Rejection:
    return Rejection("design.md 4 Needs", name, value, threshold, text)


def site(pilot: PilotFacts, wanted: ClassFacts, queue: QueueFacts) -> Rejection | None:
    """A class belongs to one site."""
    if wanted.site_id == pilot.site_id == queue.site_id:
        return None
    text = f"the jobs are for site {wanted.site_id}, the pilot runs at site {pilot.site_id}"
    return _refuse("site", pilot.site_id, wanted.site_id, text)


def status(_pilot: PilotFacts, wanted: ClassFacts, queue: QueueFacts) -> Rejection | None:
    """An offline queue gives out nothing, one in test only test jobs; brokeroff stops brokerage, not dispatch."""
    if queue.status == "offline":
        return _refuse("status", queue.status, "online", f"{queue.name} is offline")
    if queue.status == "test" and not wanted.needs.is_test:
        text = f"{queue.name} is in test: it takes prod_test, validation and test jobs only"
        return _refuse("status", queue.status, "online", text)
    return None


def label(pilot: PilotFacts, wanted: ClassFacts, queue: QueueFacts) -> Rejection | None:
    """Managed pilots take production, user pilots analysis and builds, test pilots tests; a queue may take fewer."""
    asked = wanted.needs.label
    accepted = LABELS_OF_PILOT.get(pilot.label, frozenset({pilot.label}))
    if asked not in accepted and not (pilot.label in TEST_LABELS and wanted.needs.is_test):
        text = f"a pilot with label {pilot.label!r} takes {', '.join(sorted(accepted))}, not {asked!r}"
        return _refuse("label", pilot.label, asked, text)
    if queue.labels is not None and asked not in queue.labels:
        text = f"{queue.name} takes {', '.join(sorted(queue.labels)) or 'no label'}, not {asked!r}"
        return _refuse("label", ", ".join(sorted(queue.labels)), asked, text)
    return None


def vo(pilot: PilotFacts, wanted: ClassFacts, queue: QueueFacts) -> Rejection | None:
    """Pilot and queue must serve the jobs' virtual organisation."""
    asked = wanted.needs.vo
    for who, served in (("the pilot", pilot.vos), (queue.name, queue.vos)):
        if served is not None and asked not in served:
            text = f"{who} serves {', '.join(sorted(served)) or 'no VO'}, not {asked!r}"
            return _refuse("vo", ", ".join(sorted(served)), asked, text)
    return None


def owner(pilot: PilotFacts, wanted: ClassFacts, _queue: QueueFacts) -> Rejection | None:
    """A private pilot takes only its owner's or its working group's jobs."""
    if pilot.owner and pilot.owner != wanted.owner:
        text = f"a private pilot of {pilot.owner!r}; the jobs are {wanted.owner or 'nobody'!r}'s"
        return _refuse("owner", pilot.owner, wanted.owner, text)
    if pilot.working_group and pilot.working_group != wanted.working_group:
        text = f"a pilot of group {pilot.working_group!r}; the jobs' group is {wanted.working_group!r}"
        return _refuse("owner", pilot.working_group, wanted.working_group, text)
    return None


def memory(pilot: PilotFacts, wanted: ClassFacts, _queue: QueueFacts) -> Rejection | None:
    """The slot must have the memory of the whole job."""
    return _at_least("memory", "MB of memory", pilot.memory_mb, wanted.needs.memory_mb)


def disk(pilot: PilotFacts, wanted: ClassFacts, _queue: QueueFacts) -> Rejection | None:
    """The slot must have the scratch space."""
    return _at_least("disk", "MB of scratch disk", pilot.disk_mb, wanted.needs.disk_mb)


def cores(pilot: PilotFacts, wanted: ClassFacts, _queue: QueueFacts) -> Rejection | None:
    """The slot must have the cores."""
    return _at_least("cores", "cores", pilot.cores, wanted.needs.cores)


def resource_type(pilot: PilotFacts, wanted: ClassFacts, _queue: QueueFacts) -> Rejection | None:
    """A factory that asks for one resource type gets only jobs of it (wire-protocol.md 8, get_jobs)."""
    asks = resource_type_of(wanted.needs.cores, wanted.needs.memory_mb)
    if pilot.resource_type in {"", asks}:
        return None
    text = f"the job is {asks}, the pilot asks for {pilot.resource_type}"
    return _refuse("resource type", pilot.resource_type, asks, text)


def wall_time(pilot: PilotFacts, wanted: ClassFacts, queue: QueueFacts) -> Rejection | None:
    """The job must end before the slot does, on the cores that this node really has."""
    if pilot.remaining_s is None:
        return None
    power = core_power(pilot, queue)
    wall = wanted.needs.wall_at(power)
    if wall <= pilot.remaining_s:
        return None
    how = f"{power:g} HS23 per core" if power else "unknown power"
    text = f"the job needs {wall:.0f} s at {how}, the slot ends in {pilot.remaining_s:.0f} s"
    return _refuse("wall time", pilot.remaining_s, wall, text)


def release(pilot: PilotFacts, wanted: ClassFacts, queue: QueueFacts) -> Rejection | None:
    """What the pilot found on its node decides; one that lists nothing stands for what its queue is known to have."""
    asked, architecture = wanted.needs.release, wanted.needs.architecture
    if not asked:
        return None
    if pilot.releases is not None:
        if asked in pilot.releases:
            return None
        have = show_releases(Release(name) for name in pilot.releases)
        return _refuse("release", have, asked, f"release {asked} is not among those the pilot found: {have}")
    if queue.releases is None or has_release(queue.releases, asked, architecture):
        return None
    have, wish = show_releases(queue.releases), show_releases([Release(asked, architecture)])
    return _refuse("release", have, wish, f"release {wish} is not among those of {queue.name}: {have}")


RULES: tuple[Rule, ...] = (site, status, label, vo, owner, memory, disk, cores, resource_type, wall_time, release)


def core_power(pilot: PilotFacts, queue: QueueFacts) -> float | None:
    """HS23 per core of this node: the queue's, scaled by the node's MHz only where the queue says at which MHz."""
    if queue.corepower and queue.reference_mhz and pilot.cpu_mhz:
        return queue.corepower * pilot.cpu_mhz / queue.reference_mhz
    return queue.corepower


def refusal(pilot: PilotFacts, wanted: ClassFacts, queue: QueueFacts) -> Rejection | None:
    """Give the first rule that keeps the pilot from the jobs of this class, or None if it may take them."""
    for rule in RULES:
        rejection = rule(pilot, wanted, queue)
        if rejection is not None:
            return rejection
    return None


def order(classes: Iterable[ClassFacts], deficits: Mapping[str, float]) -> list[ClassFacts]:
    """Sort classes for dispatch: the share that lacks most first, then priority, then age (design.md "Fair share").

    `deficits` is target minus used per share, in any unit; a share that is not named has 0.
    """
    return sorted(
        classes,
        key=lambda c: (
            -deficits.get(VO + c.needs.vo, 0.0),
            -deficits.get(c.share, 0.0),
            -c.max_priority,
            c.oldest,
            c.id,
        ),
    )


def _at_least(name: str, unit: str, has: float | None, asks: float) -> Rejection | None:
    if not has or has >= asks:
        return None
    return _refuse(name, has, asks, f"the job needs {asks:g} {unit}, the slot has {has:g}")
