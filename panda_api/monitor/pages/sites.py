"""The list of sites, and the page of one: queues, pilots, jobs over time, errors, nodes, what happened to it."""

from collections import Counter

from panda.domain import shift
from panda.domain.pattern import exactly, parse
from panda.errors import NotFound
from panda.services import why_site
from panda.services.monitor import errors, operations, overview
from panda_api.monitor.asked import Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Fact, Facts, Page, Row, Table
from panda_api.monitor.pages.errors import CODE_COLUMNS
from panda_api.monitor.pages.linked import NO_SITE, job_parts, jobs_page, nothing, site_link
from panda_api.monitor.pages.sums import plot, tiles
from panda_api.monitor.pages.told import why
from panda_api.monitor.routes import Look, PageSpec

LIST = Vocabulary(filters=("cloud", "site", "status"), hours=12)
ONE = Vocabulary(hours=12)
GIGABYTE = 1e9
RECENT = 20


def browse(look: Look) -> Page:
    """Make the list."""
    asked = look.asked
    filters = {name: pattern for name, pattern in asked.filters.items() if name != "status"}
    jobs: dict[str, Counter[str]] = {}
    for row in overview.counts(look.connection, overview.Narrowed(asked.span, filters)):
        jobs.setdefault(row["site"], Counter())[row["status"]] += row["n"]
    rows = []
    for site in overview.sites(look.connection):
        key = {"cloud": site["cloud"], "site": site["name"], "status": site["status"]}
        if all(pattern.matches(key[name]) for name, pattern in asked.filters.items()):
            rows.append(_row(site, jobs.get(site["name"], Counter())))
    table = Table("sites", "Sites", COLUMNS, rows, empty=nothing(asked, "site", NO_SITE))
    return Page("Sites", [table], place="/sites", main="sites", about=f"{len(rows)} sites; ended jobs: in the span")


def _row(site: Row, jobs: Counter[str]) -> dict[str, object]:
    def link(state: str) -> str:
        return address("/jobs", site=only(site["name"]), status=state)

    return {
        **site,
        "bar": job_parts({state: n for state, n in jobs.items() if state not in {"cancelled", "closed"}}, link),
        "running": jobs["running"],
        "failure": shift.failure_rate(jobs["finished"], jobs["failed"]),
        "_failure": shift.failing(jobs["finished"], jobs["failed"]),
        "space": site["space_gb"] * GIGABYTE if site["space_gb"] is not None else None,
        "used": site["used_gb"] * GIGABYTE if site["used_gb"] is not None else None,
        "kind": f"T{site['tier']}",
    }


COLUMNS = (
    Column("name", "site", "text", site_link("name")),
    Column("cloud", "cloud", "text", lambda row: address("/", cloud=only(row["cloud"]))),
    Column("kind", "tier"),
    Column("status", "status", "state"),
    Column("status_since", "since", "ago"),
    Column("bar", "jobs by state", "bar"),
    Column("running", "running", "count", lambda row: address("/jobs", site=only(row["name"]), status="running")),
    Column("failure", "fail %", "rate", tone=lambda row: row["_failure"]),
    Column("nodes", "nodes", "count", hint="worker nodes seen in 3 hours"),
    Column("last_seen", "pilot seen", "ago"),
    Column("space", "space", "size"),
    Column("used", "used", "size"),
    Column("comment", "comment", "long"),
)


def page(look: Look) -> Page:
    """Make the page of one site; raises NotFound."""
    name = look.path["name"]
    site = next((one for one in overview.sites(look.connection) if one["name"] == name), None)
    if site is None:
        raise NotFound(f"there is no site {name}", hint="the list has every site: /sites")
    own = {"site": parse(exactly(name))}
    wanted = overview.Narrowed(look.asked.span, own)
    jobs: Counter[str] = Counter()
    for row in overview.counts(look.connection, wanted):
        jobs[row["status"]] += row["n"]
    told = why(why_site.why_site(look.ctx, name))
    blocks: list[Block] = [tiles(look.asked, jobs, site=name), *told, plot(look, wanted, "Its jobs over time")]
    blocks += [_facts(site), _queues(look, name)]
    failures = errors.found(look.connection, look.asked.span, own, "codes", "outliers")
    blocks.append(
        Table(
            "errors",
            "Errors",
            CODE_COLUMNS(look.asked, site=name),
            failures["codes"],
            empty="No job failed in the span.",
        )
    )
    blocks += _noted(look, name, failures["outliers"])
    links = [
        ("Jobs", jobs_page(look.asked, (), site=name)),
        ("Errors", address("/errors", site=only(name), **look.asked.times)),
        ("Pilots", address("/workers", site=only(name))),
    ]
    return Page(f"Site {name}", blocks, place="/sites", status=site["status"], about=site["comment"], links=links)


def _facts(site: Row) -> Facts:
    space, used = site["space_gb"], site["used_gb"]
    return Facts(
        "facts",
        "What it is",
        [
            Fact("cloud", "cloud", site["cloud"], link=address("/", cloud=only(site["cloud"]))),
            Fact("tier", "tier", f"T{site['tier']}"),
            Fact("rse", "storage", site["rse"]),
            Fact("since", "in this status since", site["status_since"], "time"),
            Fact("nodes", "nodes seen in 3 h", site["nodes"], "int"),
            Fact("seen", "pilot seen", site["last_seen"], "ago"),
            Fact("cores", "cores a slot", site["cores"], "int"),
            Fact("power", "HS23 a core", site["corepower"], "number"),
            Fact("space", "space", space * GIGABYTE if space is not None else None, "size"),
            Fact("used", "used", used * GIGABYTE if used is not None else None, "size"),
        ],
    )


def _queues(look: Look, name: str) -> Table:
    rows = [one for one in overview.queues(look.connection) if one["site"] == name]
    return Table(
        "queues",
        "Queues",
        [
            Column("name", "queue", "text", lambda row: address("/workers", queue=only(row["name"]))),
            Column("status", "status", "state"),
            Column("labels", "kinds of work", "list"),
            Column("vos", "VOs", "list"),
            Column("memory_mb", "memory (MB)", "int"),
            Column("cores", "cores", "int"),
            Column("max_pilots", "most pilots", "int"),
            Column("submitted", "pilots sent", "count"),
            Column("running", "pilots at work", "count"),
            Column("jobs", "jobs in hand", "count", lambda row: address("/jobs", queue=only(row["name"]))),
        ],
        rows,
        empty="It has no queue.",
    )


def _noted(look: Look, name: str, bad: list[Row]) -> list[Block]:
    about = {"about": parse(exactly(f"site:{name}"))}
    total, noted, _summary = operations.incidents(look.connection, look.asked.span, about, RECENT, 0)
    return [
        Table(
            "outliers",
            "Nodes that fail far oftener than others",
            [
                Column("node", "node", "name", lambda row: address("/jobs", node=only(row["node"]), status="failed")),
                Column("failed", "failed", "int"),
                Column("ended", "ended", "int"),
                Column("rate", "fail %", "rate"),
            ],
            bad,
            empty="None.",
        ),
        Table(
            "incidents",
            "What happened",
            [
                Column("at", "when", "time"),
                Column("level", "level", "state"),
                Column("text", "what", "long"),
            ],
            noted,
            total,
            empty="Nothing noted in the span.",
        ),
    ]


SPECS = (PageSpec("/sites", LIST, browse), PageSpec("/site/{name}", ONE, page))
