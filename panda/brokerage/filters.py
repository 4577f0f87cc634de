"""Why a site does not get a bunch now: the rules of domain.md 2.2 that depend on the moment, in order.

What a site can never run stands in capability.py. Each filter looks at one case (this bunch at this site) and gives
None or a Rejection with its numbers. Add a filter by writing one function and naming it in SITE_FILTERS.
"""

from collections.abc import Callable
from dataclasses import dataclass

from panda.brokerage.decision import Rejection
from panda.brokerage.snapshot import BunchFacts, CloudFacts, SiteFacts
from panda.brokerage.thresholds import Thresholds
from panda.brokerage.window import window_jobs


@dataclass(frozen=True, slots=True)
class SiteCase:
    """A bunch at a site. `tier1_only` is the reason why only the T1 may have it, empty if any site may."""

    bunch: BunchFacts
    site: SiteFacts
    cloud: CloudFacts
    thresholds: Thresholds
    tier1_only: str = ""


SiteFilter = Callable[[SiteCase], Rejection | None]


def preset(case: SiteCase) -> Rejection | None:
    """A preset site is kept: no other may have the bunch (2.2)."""
    wanted = case.bunch.preset_site_id
    if wanted is None or wanted == case.site.id:
        return None
    name = case.bunch.preset_site
    return Rejection(
        "2.2", "preset", case.site.name, name, f"the jobs were submitted for site {name} only", permanent=True
    )


def wish(case: SiteCase) -> Rejection | None:
    """Only where the owner lets the task run (ours, as PanDA's includedSite and excludedSite)."""
    if not case.bunch.wish.refuses(case.site.id):
        return None
    excluded = case.site.id in case.bunch.wish.excluded
    text = f"the owner excluded {case.site.name}" if excluded else f"{case.site.name} is not among the sites asked for"
    return Rejection("design.md 4 Needs", "wish", case.site.name, "a site asked for", text, permanent=True)


def status(case: SiteCase) -> Rejection | None:
    """Only online sites; test sites for test work; brokeroff only for jobs that were submitted for it (2.2)."""
    site, needs = case.site, case.bunch.needs
    if site.status == "online" or (site.status == "test" and needs.is_test):
        return None
    if site.status == "brokeroff" and case.bunch.preset_site_id == site.id:
        return None
    return Rejection("2.2", "status", site.status, "online", f"{site.name} is {site.status}")


def tier1_only(case: SiteCase) -> Rejection | None:
    """Urgent work and large inputs go to the cloud's T1 directly (2.2)."""
    if not case.tier1_only or is_tier1(case.site, case.cloud):
        return None
    return Rejection("2.2", "T1 only", case.site.name, case.cloud.tier1_site, case.tier1_only)


def pilots(case: SiteCase) -> Rejection | None:
    """No pilot seen lately: nobody would fetch the jobs. Queues that are online keep a few idle pilots (2.2)."""
    if case.site.pilots > 0:
        return None
    text = f"no pilot seen at {case.site.name} in the last {case.thresholds.pilot_window_hours:g} h"
    return Rejection("2.2", "pilots", case.site.pilots, 1, text)


def space(case: SiteCase) -> Rejection | None:
    """A T2 keeps 200 GB free after 0.25 GB for each job it has; for analysis the jobs there do not count (2.2)."""
    site, thresholds = case.site, case.thresholds
    if site.free_space_gb is None or is_tier1(site, case.cloud):
        return None
    jobs = site.jobs if case.bunch.needs.is_production else 0
    left = site.free_space_gb - thresholds.gb_per_queued_job * jobs
    if left >= thresholds.t2_space_floor_gb:
        return None
    text = (
        f"{site.name} has {site.free_space_gb:g} GB free, {left:g} GB after {jobs} jobs at "
        f"{thresholds.gb_per_queued_job:g} GB; {thresholds.t2_space_floor_gb:g} GB must stay free"
    )
    return Rejection("2.2", "space", left, thresholds.t2_space_floor_gb, text)


def window(case: SiteCase) -> Rejection | None:
    """Enough jobs of this or a higher priority wait there already; the bunch waits for the next round (design.md 4)."""
    waiting, limit = case.site.queued(case.bunch.priority), window_jobs(case.site, case.thresholds)
    if waiting < limit:
        return None
    text = f"{waiting} jobs of priority {case.bunch.priority} or more wait at {case.site.name}, its window is {limit}"
    return Rejection("design.md 4 window", "window", waiting, limit, text)


SITE_FILTERS: tuple[SiteFilter, ...] = (preset, wish, status, tier1_only, pilots, space, window)


def refused_now(case: SiteCase) -> Rejection | None:
    """Give the first filter that keeps the bunch from the site at this moment, or None."""
    for one in SITE_FILTERS:
        rejection = one(case)
        if rejection is not None:
            return rejection
    return None


def is_tier1(site: SiteFacts, cloud: CloudFacts) -> bool:
    """Tell whether the site is the T1 of the cloud."""
    return site.id == cloud.tier1_site_id or (cloud.tier1_site_id is None and site.name == cloud.tier1_site)


def has_large_input(bunch: BunchFacts, thresholds: Thresholds) -> bool:
    """Tell whether its jobs read many files or many bytes each (2.2: more than 5 files or 500 MB)."""
    many = bunch.input_files_per_job > thresholds.large_input_files_per_job
    return many or bunch.input_mb_per_job > thresholds.large_input_mb_per_job


def tier1_only_reason(bunch: BunchFacts, cloud: CloudFacts, thresholds: Thresholds) -> str:
    """Say why only the cloud's T1 may have the bunch (2.2); empty if any site may, or if sites were asked for.

    The rules are production's. A bunch of slc5 validation with many inputs is excepted, as it was in 2009.
    """
    if not bunch.needs.is_production or bunch.preset_site_id is not None or bunch.wish.wanted:
        return ""
    if bunch.priority >= thresholds.t1_direct_priority:
        return f"priority {bunch.priority} is at least {thresholds.t1_direct_priority}: T1 {cloud.tier1_site} directly"
    files, many = bunch.input_files_per_job, thresholds.t1_direct_input_files_per_job
    slc5_validation = bunch.needs.processing_type == "validation" and "slc5" in bunch.needs.architecture
    if files >= many and not slc5_validation:
        return f"{files:g} input files per job are at least {many:g}: T1 {cloud.tier1_site} directly"
    if cloud.weight < 0 and has_large_input(bunch, thresholds):
        megabytes = bunch.input_mb_per_job
        return f"{files:g} input files and {megabytes:g} MB per job, and the weight of {cloud.name} is {cloud.weight:g}"
    return ""
