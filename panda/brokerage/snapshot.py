"""What brokerage sees of the world: plain frozen values, filled by the store, never changed by a rule."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

PRODUCTION_EXCLUDES = frozenset({"user", "panda"})
TEST_LABELS = frozenset({"test", "prod_test", "validation", "ptest", "rc_test"})


class ProcessGroup(StrEnum):
    """Kinds of work that compete with each other for a site (domain.md 2.1 step 2)."""

    GENERATION = "evgen+simul"
    REPROCESSING = "reprocessing"
    TEST = "test"
    OTHER = "other"


def process_group(processing_type: str) -> ProcessGroup:
    """Tell which group a processing type (evgen, simul, reco, ...) belongs to."""
    if processing_type in {"evgen", "simul"}:
        return ProcessGroup.GENERATION
    if processing_type == "reprocessing":
        return ProcessGroup.REPROCESSING
    if processing_type in {"prod_test", "rc_test", "validation"}:
        return ProcessGroup.TEST
    return ProcessGroup.OTHER


class Release(NamedTuple):
    """An installed software release, equal to the plain pair (name, architecture); no architecture stands for any."""

    name: str
    architecture: str = ""


def has_release(installed: Iterable[Release], name: str, architecture: str) -> bool:
    """Tell whether a release is installed; an architecture that is not asked for, or not known, does not matter."""
    return any(r.name == name and (not architecture or r.architecture in {"", architecture}) for r in installed)


def show_releases(installed: Iterable[Release], limit: int = 8) -> str:
    """List releases for a reason: `25.0.3 (x86_64), ...`, or `none`."""
    names = sorted(f"{r.name} ({r.architecture})" if r.architecture else r.name for r in installed)
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "none"


@dataclass(frozen=True, slots=True)
class Needs:
    """What each job of a bunch, class or request asks for; a zero, a no or an empty text asks for nothing.

    Memory, disk and cores are those of the whole job. Its wall time is `wall_s`, the fixed part, plus `work_hs23_s`
    (HS23 seconds) divided by the power of the cores it gets.
    """

    label: str = "managed"
    vo: str = "atlas"
    processing_type: str = ""
    release: str = ""
    architecture: str = ""
    memory_mb: int = 0
    disk_mb: int = 0
    cores: int = 1
    wall_s: float = 0.0
    work_hs23_s: float = 0.0
    in_container: bool = False

    @property
    def is_production(self) -> bool:
        """Everything but users' jobs and their build jobs."""
        return self.label not in PRODUCTION_EXCLUDES

    @property
    def is_test(self) -> bool:
        """Test work by its label or its processing type: the only work for queues in status test."""
        if self.label in TEST_LABELS or self.label.startswith("rc_test"):
            return True
        return process_group(self.processing_type) is ProcessGroup.TEST

    def wall_at(self, corepower: float | None) -> float:
        """Wall seconds on cores of `corepower` HS23 each; where that is unknown only the fixed part counts."""
        if not corepower or corepower <= 0:
            return self.wall_s
        return self.wall_s + self.work_hs23_s / (max(self.cores, 1) * corepower)


@dataclass(frozen=True, slots=True)
class JobCount:
    """Jobs of one process group and priority at a site: those that wait for their input or a pilot, and the running."""

    group: ProcessGroup
    priority: int
    assigned: int = 0
    activated: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """One site (queue) of a cloud.

    A limit of 0 is no limit; None is unknown and refuses nothing. `pilots` are the worker nodes seen asking for jobs or
    updating them in the pilot window (3 h), `running_nodes` those updating jobs. `started_recently` are the jobs
    started here in the last two refill intervals.
    """

    id: int
    name: str
    cloud: str
    tier: int = 2
    status: str = "online"
    is_test: bool = False
    vos: frozenset[str] | None = None
    labels: frozenset[str] | None = None
    releases: frozenset[Release] | None = None
    validated_releases: frozenset[Release] | None = None
    memory_mb: int = 0
    disk_mb: int = 0
    cores: int = 0
    max_time_s: float = 0.0
    corepower: float | None = None
    container_runtime: str = ""
    free_space_gb: float | None = None
    pilots: int = 0
    running_nodes: int = 0
    started_recently: int = 0
    rses: tuple[str, ...] = ()
    counts: tuple[JobCount, ...] = ()

    def queued(self, priority: int, group: ProcessGroup | None = None) -> int:
        """Jobs assigned or activated here of at least `priority` (of one group, or of all)."""
        rows = (c for c in self.counts if c.priority >= priority and group in {None, c.group})
        return sum(c.assigned + c.activated for c in rows)

    @property
    def running(self) -> int:
        """Jobs running here, of all groups and priorities."""
        return sum(c.running for c in self.counts)

    @property
    def jobs(self) -> int:
        """Jobs assigned, activated or running here."""
        return sum(c.assigned + c.activated + c.running for c in self.counts)


@dataclass(frozen=True, slots=True)
class CloudFacts:
    """One cloud: a T1 and the sites around it.

    `mcshare` is its share of production, `weight` the factor by which its T1 is preferred for large inputs (negative:
    large inputs go to the T1 only). `free_space_gb` is the T1's. `pilots` are the worker nodes of all its sites seen in
    the pilot window. The transfer limits (days) belong to jobs below and from priority 900.
    """

    name: str
    status: str = "online"
    validation: bool = False
    fasttrack: bool = False
    mcshare: float = 1.0
    weight: float = 2.0
    tier1_site_id: int | None = None
    tier1_site: str = ""
    tier1_rses: tuple[str, ...] = ()
    free_space_gb: float | None = None
    transtimelo_days: float = 2.0
    transtimehi_days: float = 1.0
    pilots: int = 0
    vos: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class SiteWish:
    """At which sites (by id) its owner lets a task run: only at those wanted, if any is, and at none excluded."""

    wanted: frozenset[int] = frozenset()
    excluded: frozenset[int] = frozenset()

    def refuses(self, site_id: int) -> bool:
        """Tell whether the owner does not want this site."""
        return site_id in self.excluded or (bool(self.wanted) and site_id not in self.wanted)


ANY_SITE = SiteWish()


@dataclass(frozen=True, slots=True)
class BunchFacts:
    """Jobs that are placed together (the unit of brokerage); all of them have the same needs.

    `files_at` says how many of the bunch's input files each site (by id) holds; `preset_site` names the one asked for.
    """

    id: int
    task_id: int
    priority: int
    needs: Needs
    n_jobs: int
    n_input_files: int = 0
    input_bytes: int = 0
    preset_site_id: int | None = None
    wish: SiteWish = ANY_SITE
    files_at: Mapping[int, int] = field(default_factory=dict)
    preset_site: str = ""

    @property
    def group(self) -> ProcessGroup:
        """The process group its jobs are counted in."""
        return process_group(self.needs.processing_type)

    @property
    def input_files_per_job(self) -> float:
        """Mean number of input files of a job."""
        return self.n_input_files / max(self.n_jobs, 1)

    @property
    def input_mb_per_job(self) -> float:
        """Mean input of a job in MB (10^6 bytes)."""
        return self.input_bytes / 1e6 / max(self.n_jobs, 1)


@dataclass(frozen=True, slots=True)
class RoundSnapshot:
    """All that one brokerage round of a cloud looks at."""

    cloud: CloudFacts
    sites: tuple[SiteFacts, ...]


@dataclass(frozen=True, slots=True)
class DatasetLocation:
    """What a cloud's T1 holds of a dataset; no such row means it holds nothing.

    `files_present` of `files_looked_up` were found in the T1's catalogue; `copying` says that a transfer of the dataset
    to this T1 is already under way. A row with `held` false only tells about such a transfer.
    """

    cloud: str
    held: bool = True
    complete: bool = True
    files_present: int = 0
    files_looked_up: int = 0
    copying: bool = False


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """An input dataset of a production task and where it is."""

    name: str
    bytes: int = 0
    locations: tuple[DatasetLocation, ...] = ()

    def at(self, cloud: str) -> DatasetLocation:
        """What the T1 of `cloud` holds of it."""
        nothing = DatasetLocation(cloud, held=False, complete=False)
        return next((row for row in self.locations if row.cloud == cloud), nothing)


@dataclass(frozen=True, slots=True)
class RemainingWork:
    """Work (units of thresholds.py) not yet done in a cloud.

    `equal_or_higher` counts tasks of the same process group with at least this task's priority, `full` counts all.
    """

    cloud: str
    equal_or_higher: float = 0.0
    full: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A production task that waits for its cloud.

    `task_type` is evgen, simul, reco, ...; `expected_work` is the task's own work in units of thresholds.py (expRW).
    `remaining` has a row per cloud, other tasks that were just assigned included (`cloud.remaining_work` builds it).
    `catalogue_error` says that replicas could not be looked up: then the round gives no answer (step 7).
    """

    id: int
    task_type: str
    priority: int
    needs: Needs
    expected_work: float = 0.0
    inputs: tuple[DatasetFacts, ...] = ()
    remaining: tuple[RemainingWork, ...] = ()
    catalogue_error: str = ""
    wish: SiteWish = ANY_SITE

    @property
    def group(self) -> ProcessGroup:
        """The process group its remaining work is counted in."""
        return process_group(self.needs.processing_type or self.task_type)

    def remaining_in(self, cloud: str) -> RemainingWork:
        """The work that waits in `cloud`."""
        return next((row for row in self.remaining if row.cloud == cloud), RemainingWork(cloud))
