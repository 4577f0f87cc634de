"""The grid as a file describes it: clouds, sites, queues, storages, releases; and the rules that make it consistent.

Attributes follow schedconfig and cloudconfig of 2009 with the names of today (domain.md 3, "Site / queue / cloud").
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from panda.domain.document import build, mapping, refuse_unknown, value
from panda.domain.names import check_name
from panda.domain.work import LABELS
from panda.errors import BadRequest

SITE_STATUSES = ("online", "brokeroff", "test", "offline")
"""From open to closed; brokeroff stops brokerage only, test lets test jobs through, offline nothing (domain.md 1b)."""

CLOUD_STATUSES = ("online", "offline")

CONTAINER_RUNTIMES = ("", "apptainer", "singularity", "bubblewrap")
"""What a site may run payloads in; their processes stay below the pilot's. Bubblewrap takes unpacked images only."""

ALL_LABELS = tuple(label for label in LABELS if label != "install")


@dataclass(frozen=True, slots=True)
class CloudSpec:
    """A Tier 1 and the sites around it; `mcshare` is its share of production, `weight` how much its T1 is preferred.

    The transfer limits, in days, belong to jobs below and from priority 900 (domain.md 2.6).
    """

    name: str
    tier1: str
    status: str | None = value(None, choices=CLOUD_STATUSES)
    mcshare: float = value(1.0, minimum=0)
    weight: float = 2.0
    validation: bool = False
    fasttrack: bool = True
    transfer_time_low_days: float = value(2.0, minimum=0)
    transfer_time_high_days: float = value(1.0, minimum=0)


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A door to a site's worker nodes, with the limits of one slot; 0 is no limit, None is taken from the site.

    `nqueue` idle pilots are kept while it is online, at most `max_pilots` live at the same time (domain.md 2.8).
    """

    name: str
    status: str | None = value(None, choices=SITE_STATUSES)
    labels: tuple[str, ...] | None = value(None, choices=LABELS)
    vos: tuple[str, ...] | None = None
    memory_mb: int | None = value(None, minimum=0)
    disk_mb: int | None = value(None, minimum=0)
    cores: int | None = value(None, minimum=1)
    max_time_s: int | None = value(None, minimum=0)
    corepower: float | None = value(None, minimum=0)
    reference_mhz: float | None = value(None, minimum=0)
    nqueue: int = value(1, minimum=0)
    max_pilots: int = value(2, minimum=0)
    max_per_cycle: int = value(4, minimum=1)
    time_floor_min: int = value(0, minimum=0)
    heartbeat_s: int | None = value(None, minimum=1)


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """A site: its storage element, VOs, releases, and what one slot offers; corepower is HS23 per core.

    A `status` in the file counts at every load; without one a new site is online and a known one keeps its status.
    `software` is the folder its pilots find releases in; without one we make it and put the releases there.
    `container_runtime` is what its nodes run users' images with; without one, jobs that want an image go elsewhere.
    """

    name: str
    cloud: str
    rse: str
    tier: int = value(2, minimum=0)
    status: str | None = value(None, choices=SITE_STATUSES)
    software: str = ""
    releases: tuple[str, ...] = ()
    vos: tuple[str, ...] = ()
    labels: tuple[str, ...] = value(ALL_LABELS, choices=LABELS)
    memory_mb: int = value(0, minimum=0)
    disk_mb: int = value(0, minimum=0)
    cores: int = value(1, minimum=1)
    max_time_s: int = value(0, minimum=0)
    corepower: float = value(10.0, minimum=0)
    comment: str = ""
    container_runtime: str = value("", choices=CONTAINER_RUNTIMES)
    queues: tuple[QueueSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class StorageSpec:
    """A storage element. It declares its space (GB = 10^9 bytes), so that small disks can play large ones.

    `root` is its folder, as seen from our data folder; without one it gets one there. Limits count copies at the same
    time.
    """

    rse: str
    space_gb: float = value(minimum=0)
    root: str = ""
    max_incoming: int = value(8, minimum=1)
    max_outgoing: int = value(8, minimum=1)


@dataclass(frozen=True, slots=True)
class ReleaseSpec:
    """A software release that sites may install: the folder it is taken from, and its architecture (empty: any)."""

    name: str
    source: str
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class GridFile:
    """A whole grid; every name that one part uses for another is known to exist."""

    clouds: tuple[CloudSpec, ...]
    sites: tuple[SiteSpec, ...]
    storages: tuple[StorageSpec, ...]
    releases: tuple[ReleaseSpec, ...] = ()

    def cloud_of(self, rse: str) -> str:
        """The cloud of the best (lowest tier) site that uses a storage."""
        return self.home_of(rse).cloud

    def home_of(self, rse: str) -> SiteSpec:
        """The best (lowest tier) site that uses a storage."""
        return min((site for site in self.sites if site.rse == rse), key=lambda site: site.tier)


def parse_grid(document: object) -> GridFile:
    """Make a grid of a YAML document with clouds, sites, storages, releases; raises BadRequest.

    Top keys that start with `x-` are left alone: a place for YAML anchors.
    """
    top = {name: part for name, part in mapping(document, "the grid file").items() if not name.startswith("x-")}
    refuse_unknown(top, ("clouds", "sites", "storages", "releases"), "the grid file")
    grid = GridFile(
        clouds=tuple(
            build(CloudSpec, part, f"clouds.{name}", name=name) for name, part in _named(top, "clouds", "cloud")
        ),
        sites=tuple(_site(name, part) for name, part in _named(top, "sites", "site")),
        storages=tuple(
            build(StorageSpec, part, f"storages.{name}", rse=name) for name, part in _named(top, "storages", "storage")
        ),
        releases=tuple(
            build(ReleaseSpec, part, f"releases.{name}", name=name) for name, part in _named(top, "releases", "release")
        ),
    )
    _check(grid)
    return grid


def stricter(site_status: str, queue_status: str) -> str:
    """The status that counts at a queue: its own or its site's, whichever lets less through."""
    return max(site_status, queue_status, key=SITE_STATUSES.index)


def _named(top: Mapping[str, object], section: str, kind: str) -> list[tuple[str, object]]:
    items = mapping(top.get(section), section)
    return [(check_name(kind, name), part) for name, part in items.items()]


def _site(name: str, part: object) -> SiteSpec:
    where = f"sites.{name}"
    items = mapping(part, where)
    described = mapping(items.pop("queues", None), f"{where}.queues")
    queues = tuple(
        build(QueueSpec, one, f"{where}.queues.{queue}", name=check_name("queue", queue))
        for queue, one in described.items()
    )
    site = build(SiteSpec, items, where, name=name, queues=())
    return replace(site, queues=tuple(_completed(one, site) for one in queues or (QueueSpec(name),)))


def _completed(queue: QueueSpec, site: SiteSpec) -> QueueSpec:
    """What a queue does not say it takes from its site."""
    return replace(
        queue,
        labels=site.labels if queue.labels is None else queue.labels,
        vos=site.vos if queue.vos is None else queue.vos,
        memory_mb=site.memory_mb if queue.memory_mb is None else queue.memory_mb,
        disk_mb=site.disk_mb if queue.disk_mb is None else queue.disk_mb,
        cores=site.cores if queue.cores is None else queue.cores,
        max_time_s=site.max_time_s if queue.max_time_s is None else queue.max_time_s,
        corepower=site.corepower if queue.corepower is None else queue.corepower,
    )


def _check(grid: GridFile) -> None:
    sites = {site.name: site for site in grid.sites}
    if not grid.clouds or not grid.sites:
        raise BadRequest("The grid file has no clouds or no sites.", "A grid has at least one cloud with its tier 1.")
    for cloud in grid.clouds:
        tier1 = sites.get(cloud.tier1)
        if tier1 is None or tier1.cloud != cloud.name:
            members = ", ".join(site.name for site in grid.sites if site.cloud == cloud.name) or "none"
            raise BadRequest(
                f"clouds.{cloud.name}.tier1 is {cloud.tier1!r}, which is no site of this cloud.", f"Sites: {members}."
            )
    clouds = {cloud.name for cloud in grid.clouds}
    storages = {storage.rse for storage in grid.storages}
    releases = {release.name for release in grid.releases}
    for site in grid.sites:
        _known(site.cloud, clouds, f"sites.{site.name}.cloud")
        _known(site.rse, storages, f"sites.{site.name}.rse")
        for release in site.releases:
            _known(release, releases, f"sites.{site.name}.releases")
    _check_queues(grid)
    for unused in sorted(storages - {site.rse for site in grid.sites}):
        raise BadRequest(f"storages.{unused} is used by no site.", "Name it as the rse of a site, or take it out.")


def _check_queues(grid: GridFile) -> None:
    owners: dict[str, str] = {}
    for site in grid.sites:
        for queue in site.queues:
            if queue.name in owners:
                raise BadRequest(f"The queue {queue.name!r} belongs to {owners[queue.name]} and to {site.name}.")
            owners[queue.name] = site.name


def _known(name: str, names: set[str], where: str) -> None:
    if name not in names:
        raise BadRequest(f"{where} is {name!r}, which the grid file does not describe.", f"Known: {_list(names)}.")


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
