"""How deep a site's queue is filled: a window per site, so that late work can still go elsewhere (design.md 4)."""

from panda.brokerage.snapshot import SiteFacts
from panda.brokerage.thresholds import Thresholds


def window_jobs(site: SiteFacts, thresholds: Thresholds) -> int:
    """Give how many jobs may wait at the site: a few times what runs there or what it started lately, never too few."""
    by_running = int(thresholds.window_running_factor * site.running)
    return max(thresholds.window_minimum_jobs, by_running, site.started_recently)


def room(site: SiteFacts, priority: int, thresholds: Thresholds) -> int:
    """Give how many jobs of `priority` still fit; jobs of lower priority that wait there do not count."""
    return max(0, window_jobs(site, thresholds) - site.queued(priority))
