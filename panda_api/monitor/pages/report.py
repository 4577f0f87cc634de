"""The shift report: what the shifters' rules find now, the worst first, each with where to look (domain.md 5a)."""

from collections import Counter
from collections.abc import Iterator

from panda.domain import shift
from panda.domain.pattern import parse
from panda.domain.words import span
from panda.services import verdicts
from panda.services.monitor import Span, data, errors, operations, overview
from panda_api.monitor.asked import Vocabulary, address, only
from panda_api.monitor.blocks import Column, Page, Row, Table, Tile, Tiles
from panda_api.monitor.routes import Look, PageSpec

VOCABULARY = Vocabulary(hours=24)
PILED_UP = {
    "waiting": "input not at the tier 1, or no site takes them: see why of a job",
    "assigned": "input files do not arrive at the site: see the transfers",
    "holding": "reports are not collected: see health",
    "transferring": "outputs do not reach the tier 1: see the transfers",
}
MOST_CODES = 10
MOST_BLOCKS = 1000


def page(look: Look) -> Page:
    """Make the page."""
    found = sorted(findings(look), key=lambda one: str(one["level"]))
    alerts = sum(one["level"] == "alert" for one in found)
    tiles = Tiles(
        "sums",
        [
            Tile("alerts", "alerts", alerts, tone="alert" if alerts else "good"),
            Tile("warnings", "warnings", len(found) - alerts, tone="warn" if len(found) > alerts else "good"),
        ],
    )
    table = Table(
        "findings", "What to look at", COLUMNS, found, empty="Nothing: every number is within the shifters' rules."
    )
    about = "Made from the shifters' rules, now; nodes by the last 3 days at most"
    return Page("Shift report", [tiles, table], place="/report", main="findings", about=about)


COLUMNS = (
    Column("level", "level", "state"),
    Column("about", "about"),
    Column("what", "what", "long"),
    Column("number", "number", "int"),
    Column("look", "look at", "text", lambda row: row["_link"]),
    Column("advice", "rule", "long"),
)


def findings(look: Look) -> Iterator[dict[str, object]]:
    """Whatever one of the rules finds."""
    yield from _sites(look)
    yield from _transfers(look)
    yield from _nodes_and_codes(look)
    yield from _system(look)


def _found(level: str, about: str, what: str, number: int, link: str, advice: str) -> dict[str, object]:
    return {
        "level": level,
        "about": about,
        "what": what,
        "number": number,
        "look": "list",
        "_link": link,
        "advice": advice,
    }


def _sites(look: Look) -> Iterator[dict[str, object]]:
    asked = look.asked
    jobs: dict[str, Counter[str]] = {}
    for row in overview.counts(look.connection, overview.Narrowed(asked.span)):
        jobs.setdefault(row["site"], Counter())[row["status"]] += row["n"]
    for site, counts in jobs.items():
        about = f"site {site}" if site else "jobs without a site"
        tone = shift.failing(counts["finished"], counts["failed"])
        if tone in {shift.Tone.WARN, shift.Tone.ALERT}:
            rate = shift.failure_rate(counts["finished"], counts["failed"])
            link = address("/errors", site=only(site), **asked.times)
            yield _found(
                str(tone),
                about,
                f"{rate:.0f} % of its jobs fail",
                counts["failed"],
                link,
                "fails for hours: set it offline and tell the site",
            )
        for state, advice in PILED_UP.items():
            piled = shift.piling_up(counts[state], counts["running"])
            if piled is not None:
                link = address("/jobs", site=only(site), status=state)
                yield _found(str(piled), about, f"jobs pile up in {state}", counts[state], link, advice)
    for one in overview.sites(look.connection):
        yield from _site(look, one, jobs.get(one["name"], Counter())["activated"])


def _site(look: Look, one: Row, waiting: int) -> Iterator[dict[str, object]]:
    """Say of a site that it looks dead, or that it is off."""
    about = f"site {one['name']}"
    silent = (look.now - one["last_seen"]).total_seconds() if one["last_seen"] is not None else None
    if one["status"] != "offline" and shift.dead(silent, look.ctx.settings.watcher.running_s, waiting):
        since = f"since {span(silent)}" if silent is not None else "ever"
        yield _found(
            "alert",
            about,
            f"looks dead: jobs are ready and no pilot was heard of {since}",
            waiting,
            f"/site/{one['name']}",
            "factory or batch system of the site: tell it, and set it brokeroff meanwhile",
        )
    if one["status"] != "online":
        yield _found(
            "warn",
            about,
            f"is {one['status']}: {one['comment'] or 'no comment'}",
            waiting,
            f"/site/{one['name']}",
            "keep its log until it is online again",
        )


def _transfers(look: Look) -> Iterator[dict[str, object]]:
    """Say which storages take no files, and which ways are slow."""
    _total, blocks, _summary = data.blocks(
        look.connection, look.asked.span, {"status": parse("stuck")}, limit=MOST_BLOCKS, offset=0
    )
    stuck = {row["rse"]: row for row in blocks}
    for rse, row in sorted(stuck.items()):
        n = sum(one["rse"] == rse for one in blocks)
        link = address("/ddm", rse=only(rse), status="stuck")
        yield _found(
            "alert", f"storage {rse}", f"files do not get there: {row['error'] or 'no error was told'}", n, link,
            "the storage of the site: tell it; the transfers are tried again by themselves",
        )  # fmt: skip
    for here, usual in verdicts.slow_ways(look.connection):
        yield _found(
            "warn", f"storage {here.rse}", f"the way there is slow: {verdicts.in_numbers(here, usual)}", here.n,
            address("/ddm", rse=only(here.rse)), "the link to the site: tell the network people",
        )  # fmt: skip


def _nodes_and_codes(look: Look) -> Iterator[dict[str, object]]:
    asked = look.asked
    lately = Span(max(asked.span.since, asked.span.until - errors.NODES_WITHIN), asked.span.until)
    if errors.tells_nodes(asked.span, {}):
        found = errors.found(look.connection, lately, {}, "codes", "outliers")
    else:  # what burns now is of the last days
        found = errors.found(look.connection, asked.span, {}, "codes")
        found |= errors.found(look.connection, lately, {}, "outliers")
    for row in found["outliers"]:
        link = address("/jobs", node=only(row["node"]), site=only(row["site"]), status="failed", **asked.times)
        yield _found(
            "alert" if row["grade"] == "very high" else "warn",
            f"node {row['node']} of {row['site']}",
            f"{row['rate']:.0f} % of its jobs fail",
            row["failed"],
            link,
            "a black hole: have the site take it out",
        )
    for row in found["codes"][:MOST_CODES]:
        if row["sites"] > 1 and row["tasks"] == 1 and row["jobs"] >= shift.LEAST_ENDED:
            error = f"{row['component']}:{row['code']}"
            link = address("/jobs", status="failed", error=only(error), **asked.times)
            yield _found(
                "warn",
                f"error {error}",
                f"one task fails with it at {row['sites']} sites: {row['sample']}".removesuffix(": "),
                row["jobs"],
                link,
                "the task's own fault: report it to its owner",
            )


def _system(look: Look) -> Iterator[dict[str, object]]:
    for row in operations.backlogs(look.connection):
        since = row["since"]
        if row["n"] and since is not None and (look.now - since).total_seconds() > row["limit_s"]:
            yield _found(
                "alert",
                "the system",
                f"{row['what']}: the oldest is late",
                row["n"],
                "/health",
                "is the conductor alive? see health",
            )


SPEC = PageSpec("/report", VOCABULARY, page)
