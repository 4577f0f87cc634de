"""The production dashboard: clouds, their sites and queues by state, pilots and failures, and how it came to this."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from panda.domain import shift
from panda.services.monitor import overview
from panda_api.monitor.asked import Asked, Vocabulary, address
from panda_api.monitor.blocks import Block, Column, Page, Row, Table, Tile, Tiles
from panda_api.monitor.charts import Line, Plot
from panda_api.monitor.pages.errors import VOCABULARY as ERRORS
from panda_api.monitor.pages.linked import FINAL, NO_SITE, STATES, jobs_page, nothing, site_page
from panda_api.monitor.routes import Look, PageSpec

BINS = 96
VOCABULARY = Vocabulary(filters=tuple(overview.ATTRIBUTES), hours=12, words=("dash",))
NOWHERE = "no site yet"
NO_CLOUD = "no cloud yet"
WATCHED = ("waiting", "assigned", "holding", "transferring")


def page(look: Look) -> Page:
    """Make the page; every number is that of the list it leads to."""
    wanted = overview.Narrowed(look.asked.span, look.asked.filters)
    counts = overview.counts(look.connection, wanted)
    sites = [one for one in overview.sites(look.connection) if _asked_for(look.asked, one)]
    queues = overview.queues(look.connection)
    tree = _tree(counts, sites, queues)
    curves = overview.curves(look.connection, wanted, BINS)
    blocks: list[Block] = [_tiles(look.asked, counts, tree), *_plots(look.asked, curves)]
    blocks += [_table(look.asked, tree), *_small(look.asked, curves)]
    return Page("Production dashboard", blocks, place="/", main="clouds", about="Clouds, sites and queues by job state")


def _asked_for(asked: Asked, site: Row) -> bool:
    return all(
        asked.filters[name].matches(site[key])
        for name, key in (("cloud", "cloud"), ("site", "name"))
        if name in asked.filters
    )


def _tiles(asked: Asked, counts: Sequence[Row], tree: Sequence[Row]) -> Tiles:
    total: Counter[str] = Counter()
    for row in counts:
        total[row["status"]] += row["n"]
    clouds = [row for row in tree if row["_level"] == 0]
    finished, failed = total["finished"], total["failed"]

    def jobs(state: str) -> str:
        return jobs_page(asked, VOCABULARY.filters, status=state)

    queued = sum(total[state] for state in ("defined", "waiting", "assigned"))
    kept = asked.kept(VOCABULARY.filters)
    waits = address("/jobs", **kept, status="defined|waiting|assigned")
    errors = address("/errors", **{name: text for name, text in kept.items() if name in ERRORS.names})
    pilots = sum(row["running_pilots"] for row in clouds)
    return Tiles(
        "now",
        [
            Tile("running", "running", total["running"], link=jobs("running"), tone="running"),
            Tile("activated", "ready for pilots", total["activated"], link=jobs("activated"), tone="activated"),
            Tile("queued", "before that", queued, link=waits, tone="assigned", note="defined, waiting, assigned"),
            Tile(
                "transferring",
                "on their way home",
                total["transferring"],
                link=jobs("transferring"),
                tone="transferring",
            ),
            Tile("finished", "finished", finished, link=jobs("finished"), tone="finished", note=_hours(asked)),
            Tile("failed", "failed", failed, link=jobs("failed"), tone="failed", note=_hours(asked)),
            Tile(
                "failure",
                "failure rate",
                shift.failure_rate(finished, failed),
                "percent",
                tone=shift.failing(finished, failed),
                link=errors,
                note=_hours(asked),
            ),
            Tile("pilots", "pilots at work", pilots, link="/workers?status=running|idle", note="as factories say"),
        ],
    )


def _hours(asked: Asked) -> str:
    return f"in {asked.hours:g} h" if asked.hours < 1000 else "in the span"  # noqa: PLR2004 - a number that still reads


def _times(asked: Asked) -> list[float]:
    start, width = asked.span.since.timestamp(), asked.hours * 3600 / BINS
    return [start + width * (number + 1) for number in range(BINS)]


def _summed(curves: Iterable[overview.Curves], name: str) -> list[float | None]:
    found = [getattr(one, name) for one in curves]
    return [sum(values) for values in zip(*found, strict=True)] if found else [0] * BINS


def _plots(asked: Asked, curves: Sequence[overview.Curves]) -> list[Block]:
    at = _times(asked)
    return [
        Plot(
            "flow",
            "Running and ready for pilots",
            at,
            [
                Line("running", "running", _summed(curves, "running"), "running"),
                Line("activated", "ready for pilots", _summed(curves, "activated"), "activated"),
            ],
        ),
        Plot(
            "ended",
            "Finished and failed",
            at,
            [
                Line("finished", "finished", _summed(curves, "finished"), "finished", bars=True),
                Line("failed", "failed", _summed(curves, "failed"), "failed", bars=True),
            ],
        ),
    ]


def _small(asked: Asked, curves: Sequence[overview.Curves]) -> list[Block]:
    """One small plot per cloud, all with the same axes of time."""
    at = _times(asked)
    return (
        [
            Plot(
                f"cloud_{one.cloud}",
                one.cloud or NO_CLOUD,
                at,
                [
                    Line("running", "running", list(one.running), "running"),
                    Line("finished", "finished", list(one.finished), "finished"),
                    Line("failed", "failed", list(one.failed), "failed"),
                ],
                small=True,
            )
            for one in curves
        ]
        if len(curves) > 1
        else []
    )


def _tree(counts: Sequence[Row], sites: Sequence[Row], queues: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of clouds, below each its sites, below each its queues; sums of a cloud are those of its sites."""
    jobs: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    cores: Counter[tuple[str, str]] = Counter()
    for row in counts:
        jobs[row["cloud"], row["site"]][row["status"]] += row["n"]
        if row["status"] == "running":
            cores[row["cloud"], row["site"]] += row["cores"]
    known = {(one["cloud"], one["name"]): one for one in sites}
    of_site: dict[str, list[Row]] = defaultdict(list)
    for one in queues:
        of_site[one["site"]].append(one)
    rows: list[dict[str, Any]] = []
    for cloud in sorted({key[0] for key in (*known, *jobs)}, key=lambda name: (not name, name)):
        keys = [key for key in known if key[0] == cloud]
        keys += sorted(key for key in jobs if key[0] == cloud and key not in known)
        below = [_site_row(key, known.get(key), jobs[key], cores[key], of_site[key[1]]) for key in keys]
        rows.append(_cloud_row(cloud, below))
        for row in below:
            rows += [row, *_queue_rows(cloud, of_site[row["_site"]])]
    return rows


def _site_row(
    key: tuple[str, str], site: Row | None, jobs: Mapping[str, int], cores: int, queues: Sequence[Row]
) -> dict[str, Any]:
    cloud, name = key
    finished, failed = jobs.get("finished", 0), jobs.get("failed", 0)
    running = sum(one["running"] for one in queues)
    busy = sum(one["jobs"] for one in queues)
    return {
        "_level": 1,
        "_of": cloud,
        "_site": name,
        "name": name or NOWHERE,
        "_name_link": site_page(name) if name else None,
        "status": site["status"] if site else None,
        "kind": f"T{site['tier']}" if site else None,
        "nodes": site["nodes"] if site else None,
        "submitted": sum(one["submitted"] for one in queues),
        "running_pilots": running,
        "_busy": busy,
        "cores": cores,
        "failure": shift.failure_rate(finished, failed),
        "_failure_tone": shift.failing(finished, failed),
        "_pilots_tone": shift.idling(running, busy, jobs.get("activated", 0)),
        "total": sum(n for state, n in jobs.items() if state not in FINAL),
        "_jobs": {"cloud": cloud, "site": name},
        **{state: jobs.get(state, 0) for state in STATES},
    }


def _cloud_row(cloud: str, below: Sequence[Row]) -> dict[str, Any]:
    n_sites = sum(1 for row in below if row["status"])
    summed = {
        key: sum(row[key] or 0 for row in below)
        for key in ("nodes", "submitted", "running_pilots", "_busy", "cores", "total", *STATES)
    }
    return {
        "_level": 0,
        "_of": cloud,
        "name": cloud or NO_CLOUD,
        "_name_link": None,
        "status": None,
        "kind": f"{n_sites} site{'' if n_sites == 1 else 's'}",
        "failure": shift.failure_rate(summed["finished"], summed["failed"]),
        "_failure_tone": shift.failing(summed["finished"], summed["failed"]),
        "_pilots_tone": shift.idling(summed["running_pilots"], summed["_busy"], summed["activated"]),
        "_jobs": {"cloud": cloud},
        **summed,
    }


def _queue_rows(cloud: str, queues: Sequence[Row]) -> list[dict[str, Any]]:
    """Queues below a site: their pilots, and what those hold."""
    return [
        {
            "_level": 2,
            "_of": cloud,
            "name": one["name"],
            "_name_link": f"/workers?queue={one['name']}",
            "status": one["status"],
            "kind": "queue",
            "nodes": None,
            "submitted": one["submitted"],
            "running_pilots": one["running"],
            "_pilots_tone": None,
            "cores": one["running_cores"],
            "failure": None,
            "_failure_tone": None,
            "total": one["jobs"],
            "_jobs": None,
            "_queue": one["name"],
            **dict.fromkeys(STATES),
        }
        for one in queues
    ]


def _table(asked: Asked, tree: Sequence[Row]) -> Table:
    def jobs(state: str | None) -> Any:
        def link(row: Row) -> str | None:
            if row["_jobs"] is None:
                return None
            more = {"status": state} if state else {}
            return jobs_page(asked, VOCABULARY.filters, **row["_jobs"], **more)

        return link

    def tone(state: str) -> Any:
        if state not in WATCHED:
            return None
        return lambda row: shift.piling_up(row[state] or 0, row["running"] or 0)

    columns = [
        Column("name", "cloud, site, queue", "branch", lambda row: row["_name_link"]),
        Column("status", "status", "state"),
        Column("kind", "type", "dim"),
        Column("nodes", "nodes", "count", hint="worker nodes whose pilots asked or reported in the last 3 hours"),
        Column("submitted", "pilots sent", "count", hint="pilots on their way, as factories say"),
        Column(
            "running_pilots",
            "pilots at work",
            "count",
            tone=lambda row: row["_pilots_tone"],
            hint="orange: jobs wait, and more than 10 % of the running pilots hold none; red: more than 20 %",
        ),
        Column("cores", "cores", "count", hint="cores of running jobs"),
        Column(
            "failure",
            "fail %",
            "rate",
            tone=lambda row: row["_failure_tone"],
            hint="failed / (failed + finished) in the span",
        ),
        Column("total", "live", "count", hint="jobs that have not ended"),
        *(Column(state, state, "tally", jobs(state), tone=tone(state)) for state in STATES),
    ]
    note = f"Live states are of now; {', '.join(FINAL)}: what ended {_hours(asked)}."
    return Table(
        "clouds",
        "Clouds, sites and queues",
        columns,
        tree,
        note=note,
        group="_of",
        empty=nothing(asked, "site", NO_SITE),
    )


SPEC = PageSpec("/", VOCABULARY, page)
