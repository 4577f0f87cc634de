"""Why a site does what it does, or nothing: its status, pilots, what brokerage said of it, failures, transfers."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from panda.brokerage.decision import Candidate
from panda.brokerage.journal import from_json
from panda.domain.views.answers import Explanation, Facts
from panda.domain.views.failures import NodeView
from panda.domain.views.grid import SiteView
from panda.domain.words import ago, clock, counted, lasting
from panda.services import reasons, survey
from panda.services.context import Context
from panda.services.failures import failures
from panda.services.remedies import remedies
from panda.services.trouble import failing
from panda.services.verdicts import dead_site, slow_way, stuck_storage
from panda.store import causes

HOURS = 12.0
MOST_NODES = 20


def why_site(ctx: Context, name: str) -> Explanation:
    """Why a site is as it is; raises NotFound that names the sites there are."""
    site, now = survey.site(ctx, name), ctx.clock()
    lines = [_status(now, site)]
    with ctx.engine.connect() as connection:
        lines += _who(connection, now, site)
        moving = causes.blocks_at(connection, site.id, reasons.MOST_BLOCKS)
        lines += [*dead_site(ctx, connection, now, site), *stuck_storage(site.rse, moving)]
        lines += slow_way(connection, site.rse, ())
        lines += [reasons.pilots(connection, now, site.id, name), *reasons.queues(connection, site.id)]
        lines += _work(connection, now, site)
        lines += _brokerage(connection, now, name)
    found = failures(ctx, hours=HOURS, site=name)
    lines += failing(now, found, HOURS)
    lines += _transfers(ctx, now, moving)
    lines += _space(site)
    table = _nodes(found.nodes)
    return Explanation(f"Site {name} (T{site.tier} of cloud {site.cloud}): {site.status}", tuple(lines), table)


def _status(now: datetime, site: SiteView) -> str:
    meaning = {
        "online": "it takes all work",
        "brokeroff": "brokerage sends it nothing new",
        "test": "only test jobs are brokered there and handed out",
        "offline": "nothing is brokered there or handed out",
    }
    means = meaning.get(site.status, "")
    line = f"It is {site.status} since {clock(site.status_since)} ({ago(now, site.status_since)}): {means}."
    return line if site.status == "online" else f"{line} What would change it: `panda site {site.name} online`."


def _who(connection: Connection, now: datetime, site: SiteView) -> list[str]:
    told = causes.last_word(connection, "queuecontrol", f"site:{site.name}")
    said = [f"Last order: {told['text'].rstrip(': ')} ({ago(now, told['at'])})."] if told is not None else []
    return [*said, *([f"Comment: {site.comment}."] if site.comment and site.comment not in "".join(said) else [])]


def _work(connection: Connection, now: datetime, site: SiteView) -> list[str]:
    tally = ", ".join(f"{n} {status}" for status, n in site.jobs.items()) or "none"
    lines = [f"Live jobs: {tally}."]
    for row in causes.waiting_at(connection, site.id):
        what = "for a pilot" if row["state"] == "activated" else "for their input files"
        lines.append(
            f"{counted(row['jobs'], 'job')} ({counted(row['bunches'], 'bunch', 'bunches')}) wait {what}, the oldest "
            f"for {lasting(now, row['oldest'])}."
        )
    return lines


def _brokerage(connection: Connection, now: datetime, name: str) -> list[str]:
    """Say how often brokerage chose and refused the site lately, and with which numbers it refused it last."""
    rows = causes.decisions_about(connection, name, reasons.WINDOW_H)
    if not rows:
        return [f"Brokerage did not look at it in {reasons.WINDOW_H} h: no task of its cloud had jobs to place."]
    chosen = sum(row["chosen"] == name for row in rows)
    found = [(row, from_json(Candidate, row["candidate"])) for row in rows]
    refused = Counter(one.rejection.name for _, one in found if one.rejection is not None)
    lines = [
        f"Brokerage looked at it {counted(len(rows), 'time')} in {reasons.WINDOW_H} h and chose it {chosen} times."
    ]
    for rule, n in refused.most_common():
        row, one = next((row, one) for row, one in found if one.rejection is not None and one.rejection.name == rule)
        assert one.rejection is not None  # noqa: S101 - as selected in the line above
        lines.append(
            f"Refused {counted(n, 'time')} by {rule} ({one.rejection.rule}), last {ago(now, row['at'])}: "
            f"{one.rejection.text}. What would change it: {remedies([one])}."
        )
    return lines


def _nodes(nodes: Sequence[NodeView]) -> Facts | None:
    """List the worker nodes, the worst first."""
    rows = tuple(
        (one.node, str(one.failed), str(one.finished), "black hole" if one.black_hole else "") for one in nodes
    )
    return Facts(("worker node", "failed", "finished", "verdict"), rows[:MOST_NODES]) if rows else None


def _transfers(ctx: Context, now: datetime, moving: Sequence[RowMapping]) -> list[str]:
    if not moving:
        return ["No transfer to or from it is under way."]
    head = f"{counted(moving[0]['all_of_them'], 'block')} of files on the way to or from it:"
    return [head, *(f"  {line}" for line in reasons.blocks(ctx, now, moving))]


def _space(site: SiteView) -> list[str]:
    if site.space_gb is None or site.used_gb is None:
        return []
    free = site.space_gb - site.used_gb
    return [f"Storage {site.rse}: {free:,.0f} GB free of {site.space_gb:,.0f} GB."]
