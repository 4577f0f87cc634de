"""Builders: a small grid, a bunch, a task, with everything in order unless a test says otherwise."""

from dataclasses import replace
from typing import Any

from panda.brokerage.filters import SiteCase
from panda.brokerage.snapshot import (
    BunchFacts,
    CloudFacts,
    DatasetFacts,
    DatasetLocation,
    JobCount,
    Needs,
    ProcessGroup,
    Release,
    RemainingWork,
    SiteFacts,
    TaskFacts,
)
from panda.brokerage.thresholds import Thresholds

T = Thresholds()
X86 = "x86_64-el9-gcc13-opt"
GENERATION = ProcessGroup.GENERATION


def a_site(name: str = "T2A", site_id: int = 2, **changes: Any) -> SiteFacts:
    """A healthy T2 of cloud US with ten pilots, and no limits."""
    site = SiteFacts(id=site_id, name=name, cloud="US", pilots=10, free_space_gb=5000.0)
    return replace(site, **changes)


def the_tier1(**changes: Any) -> SiteFacts:
    """The T1 of cloud US."""
    return a_site("T1", 1, tier=1, **changes)


def a_cloud(name: str = "US", **changes: Any) -> CloudFacts:
    """An online cloud with share 1 and much space."""
    cloud = CloudFacts(name, tier1_site_id=1, tier1_site="T1", free_space_gb=10_000.0, pilots=9, fasttrack=True)
    return replace(cloud, **changes)


def some_needs(**changes: Any) -> Needs:
    """What simulation jobs ask for."""
    return replace(Needs(processing_type="simul"), **changes)


def a_bunch(bunch_id: int = 1, **changes: Any) -> BunchFacts:
    """Twenty simulation jobs of priority 500 without input."""
    return replace(BunchFacts(bunch_id, task_id=10_000_001, priority=500, needs=some_needs(), n_jobs=20), **changes)


def a_case(bunch: BunchFacts | None = None, site: SiteFacts | None = None, **changes: Any) -> SiteCase:
    """A bunch at a site of cloud US."""
    return replace(SiteCase(bunch or a_bunch(), site or a_site(), a_cloud(), T), **changes)


def queued(n: int, priority: int = 500, group: ProcessGroup = GENERATION, running: int = 0) -> JobCount:
    """Jobs that wait for a pilot."""
    return JobCount(group, priority, activated=n, running=running)


def a_dataset(*locations: DatasetLocation, name: str = "data.input", gigabytes: float = 100.0) -> DatasetFacts:
    """An input dataset."""
    return DatasetFacts(name, int(gigabytes * 1e9), locations)


def a_task(**changes: Any) -> TaskFacts:
    """A simulation task of priority 500 with 100 units of work and no input."""
    return replace(TaskFacts(10_000_001, "simul", 500, some_needs(), expected_work=100.0), **changes)


def work(cloud: str = "US", equal_or_higher: float = 0.0, full: float = 0.0) -> tuple[RemainingWork, ...]:
    """The remaining work of one cloud."""
    return (RemainingWork(cloud, equal_or_higher, full),)


def releases(*names: str, architecture: str = X86) -> frozenset[Release]:
    """Installed releases."""
    return frozenset(Release(name, architecture) for name in names)
