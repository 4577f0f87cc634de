"""How loaded a site is for a bunch: 1/w of domain.md 2.2, the lower the better."""

from panda.brokerage.filters import SiteCase, has_large_input, is_tier1
from panda.brokerage.snapshot import SiteFacts


def jobs_per_node(site: SiteFacts) -> float:
    """Give the mean number of jobs that a worker node of the site runs; 1 if that is unknown."""
    if site.running_nodes <= 0 or site.running <= 0:
        return 1.0
    return site.running / site.running_nodes


def load(case: SiteCase) -> float:
    """Give waiting jobs of the same process group (equal or higher priority) per pilot and per job of a node.

    Where inputs are large the T1's load is divided by the cloud's weight, because its data need not travel.
    """
    site, bunch = case.site, case.bunch
    waiting = site.queued(bunch.priority, bunch.group)
    value = waiting / max(site.pilots, 1) / jobs_per_node(site)
    if case.cloud.weight > 0 and is_tier1(site, case.cloud) and has_large_input(bunch, case.thresholds):
        return value / case.cloud.weight
    return value
