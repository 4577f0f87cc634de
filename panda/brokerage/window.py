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


def wants_refill(site: SiteFacts, priority: int, thresholds: Thresholds) -> bool:
    """Tell whether the queue is below half of its window: a reason to start a round before the next one is due."""
    return site.queued(priority) < thresholds.window_refill_fraction * window_jobs(site, thresholds)
