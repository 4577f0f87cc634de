"""The jobs of a site or of a user summed up: how many are in each state, and how it came to this."""

from collections import Counter

from panda.domain import shift
from panda.services.monitor import overview
from panda_api.monitor.asked import Asked
from panda_api.monitor.blocks import Tile, Tiles
from panda_api.monitor.charts import Line, Plot
from panda_api.monitor.pages.linked import STATES, jobs_page
from panda_api.monitor.routes import Look

BINS = 96
ALWAYS = {"running", "activated", "finished", "failed"}


def tiles(asked: Asked, jobs: Counter[str], **of: str) -> Tiles:
    """How many jobs of the site (or user) in `of` are in each state; each number leads to them."""
    shown = [
        Tile(state, state, jobs[state], link=jobs_page(asked, (), **of, status=state), tone=state)
        for state in STATES
        if jobs[state] or state in ALWAYS
    ]
    rate = shift.failure_rate(jobs["finished"], jobs["failed"])
    shown.append(Tile("failure", "failure rate", rate, "percent", tone=shift.failing(jobs["finished"], jobs["failed"])))
    return Tiles("jobs", shown)


def plot(look: Look, wanted: overview.Narrowed, title: str) -> Plot:
    """How many jobs waited for pilots, ran, and ended, over the span."""
    found = overview.curves(look.connection, wanted, BINS)
    start, width = look.asked.span.since.timestamp(), look.asked.hours * 3600 / BINS

    def summed(name: str) -> list[float | None]:
        return [sum(getattr(one, name)[place] for one in found) for place in range(BINS)]

    lines = [
        Line(one, one, summed(one), one, bars=one in {"finished", "failed"})
        for one in ("activated", "running", "finished", "failed")
    ]
    return Plot("plot", title, [start + width * (place + 1) for place in range(BINS)], lines)
