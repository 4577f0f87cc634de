"""The error report: what went wrong, how often, at what cost, and where (domain.md 4)."""

from collections import Counter
from collections.abc import Sequence

from panda.domain import shift
from panda.services.monitor import errors
from panda_api.monitor.asked import Asked, Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Page, Row, Table, Tile, Tiles
from panda_api.monitor.charts import Line, Matrix, Plot, Square
from panda_api.monitor.pages.linked import jobs_page, site_page
from panda_api.monitor.routes import Look, PageSpec

ATTRIBUTES = tuple(errors.ATTRIBUTES)
VOCABULARY = Vocabulary(filters=(*ATTRIBUTES, "error"), hours=24)
BINS = 48
EVERY = ("codes", "components", "bins", "places", "matrix", "outliers")
OTHERS = "others"
LOOKS = ("failed", "transferring", "assigned", "holding", "activated", "plain")
PLACES = {"site": "sites", "task": "tasks", "user": "users", "node": "nodes"}
MOST_TASKS = 60


def CODE_COLUMNS(asked: Asked, **of: object) -> list[Column]:  # noqa: N802 - columns, made for an address
    """Columns of a table of errors; counts lead to the jobs that have the error, of the task or site in `of`."""

    def jobs(row: Row) -> str:
        return jobs_page(asked, ATTRIBUTES, **of, status="failed", error=f"{row['component']}:{row['code']}")

    return [
        Column("component", "component"),
        Column("code", "code", "id"),
        Column("print", "what it says", "long"),
        Column("jobs", "jobs", "count", jobs),
        Column("lost_s", "core time lost", "seconds"),
        Column("sites", "sites", "count"),
        Column("tasks", "tasks", "count"),
        Column("nodes", "nodes", "count"),
        Column("sample", "for example", "long"),
        Column("samples", "jobs with it", "list", lambda row: address("/jobs", id="|".join(map(str, row["samples"])))),
    ]


def page(look: Look) -> Page:
    """Make the page; all its numbers are of one snapshot."""
    asked = look.asked
    nodes = errors.tells_nodes(asked.span, asked.filters)
    questions = [one for one in EVERY if nodes or one != "outliers"]
    found = errors.found(look.connection, asked.span, asked.filters, *questions, bins=BINS)
    codes, squares = found["codes"], found["matrix"]
    blocks: list[Block] = [_tiles(asked, squares, codes), *_plots(asked, found["bins"])]
    blocks += [
        _components(asked, found["components"]),
        Table(
            "codes",
            "By error",
            CODE_COLUMNS(asked),
            codes,
            note="a job with errors of several components counts for each",
            empty="No job failed.",
        ),
    ]
    blocks += [_outliers(found["outliers"])] if nodes else []
    blocks += [*_places(asked, found["places"], nodes=nodes), _matrix(asked, squares)]
    about = "Jobs that failed in the span, by what and where"
    if not nodes:
        about += f"; nodes are compared within {errors.NODES_WITHIN.days} days, or for one site or task"
    return Page("Errors", blocks, place="/errors", main="codes", about=about)


def _plots(asked: Asked, found: Sequence[Row]) -> list[Block]:
    """Failed jobs by component (the commonest; the others are one curve), and what they cost, over the span."""
    start, width = asked.span.since.timestamp(), asked.hours * 3600 / BINS
    at = [start + width * (place + 1) for place in range(BINS)]
    total: Counter[str] = Counter()
    for row in found:
        total[row["component"]] += row["n"]
    shown = [name for name, _ in total.most_common(len(LOOKS) - 1)]
    values = {name: [0.0] * BINS for name in (*shown, OTHERS)}
    lost = [0.0] * BINS
    for row in found:
        place = row["bin"] - 1
        values[row["component"] if row["component"] in shown else OTHERS][place] += row["n"]
        lost[place] += float(row["lost_s"]) / 3600
    names = [name for name in values if any(values[name])]
    lines = [Line(name, name, values[name], look) for name, look in zip(names, LOOKS, strict=False)]
    return [
        Plot("failed", "Failed jobs by component", at, lines or [Line("failed", "failed", values[OTHERS], "failed")]),
        Plot("lost", "Core hours lost", at, [Line("lost", "core hours lost", lost, "failed", bars=True)], unit="h"),
    ]


def _components(asked: Asked, found: Sequence[Row]) -> Table:
    columns = [
        Column("component", "component", "text", lambda row: asked.here(error=f"{only(row['component'])}:*")),
        Column("jobs", "jobs", "count", lambda row: _with_error(asked, f"{only(row['component'])}:*")),
        Column("lost_s", "core time lost", "seconds"),
        Column("codes", "kinds of error", "count"),
        Column("sites", "sites", "count"),
        Column("tasks", "tasks", "count"),
    ]
    return Table("components", "By component", columns, found, empty="No job failed.")


def _with_error(asked: Asked, pattern: str) -> str:
    return address("/jobs", **{**asked.kept(VOCABULARY.filters), "status": "failed", "error": pattern})


def _tiles(asked: Asked, squares: Sequence[Row], codes: Sequence[Row]) -> Tiles:
    failed, finished = (sum(row[name] for row in squares) for name in ("failed", "finished"))
    jobs = jobs_page(asked, VOCABULARY.filters, status="failed")
    return Tiles(
        "sums",
        [
            Tile("failed", "failed jobs", failed, link=jobs, tone="failed"),
            Tile(
                "finished",
                "finished jobs",
                finished,
                link=jobs_page(asked, VOCABULARY.filters, status="finished"),
                tone="finished",
            ),
            Tile(
                "failure",
                "failure rate",
                shift.failure_rate(finished, failed),
                "percent",
                tone=shift.failing(finished, failed),
            ),
            Tile("codes", "kinds of error", len({(row["component"], row["code"]) for row in codes})),
            Tile("lost_s", "core time lost", float(sum(row["lost_s"] for row in squares)), "seconds"),
        ],
    )


def _outliers(rows: Sequence[Row]) -> Table:
    return Table(
        "outliers",
        "Nodes that fail far oftener than others",
        [
            Column("site", "site", "text", lambda row: site_page(row["site"]) if row["site"] else None),
            Column("node", "node", "name", lambda row: address("/jobs", node=only(row["node"]), status="failed")),
            Column("failed", "failed", "int"),
            Column("ended", "ended", "int"),
            Column("rate", "fail %", "rate", tone=lambda _row: "alert"),
            Column("others", "other nodes", "rate"),
            Column("grade", "grade"),
        ],
        rows,
        note="black holes: over 10 % and 5 jobs, and 5 times the site's others or over 20 %",
        empty="None.",
    )


def _places(asked: Asked, places: Sequence[Row], *, nodes: bool) -> list[Block]:
    shown = {name: title for name, title in PLACES.items() if nodes or name != "node"}
    return [_place(asked, name, title, places) for name, title in shown.items()]


def _place(asked: Asked, name: str, title: str, places: Sequence[Row]) -> Table:
    def narrowed(row: Row) -> str:
        return asked.here(**{name: only(row["value"])})

    def jobs(row: Row) -> str:
        return jobs_page(asked, VOCABULARY.filters, **{"status": "failed", name: row["value"]})

    columns = [
        Column("value", name, "name", narrowed),
        Column("failed", "failed", "count", jobs),
        Column("finished", "finished", "count"),
        Column("failure", "fail %", "rate", tone=lambda row: shift.failing(row["finished"], row["failed"])),
        Column("lost_s", "core time lost", "seconds"),
        Column("mostly", "mostly"),
    ]
    own = [row for row in places if row["attribute"] == name]
    rows = [{**row, "failure": shift.failure_rate(row["finished"], row["failed"])} for row in own]
    return Table(title, f"By {name}", columns, rows, empty="None.")


def _matrix(asked: Asked, rows: Sequence[Row]) -> Matrix:
    tasks = list(dict.fromkeys(str(row["task_id"]) for row in rows))
    cells = {}
    for row in rows:
        rate = shift.failure_rate(row["finished"], row["failed"]) or 0.0
        tone = shift.failing(row["finished"], row["failed"])
        cells[str(row["task_id"]), row["site"]] = Square(
            f"{rate:.0f} %",
            {"failed": row["failed"], "finished": row["finished"]},
            strength=min(1.0, rate / 50) if tone else 0.0,
            tone=tone or "plain",
            link=jobs_page(asked, VOCABULARY.filters, task=row["task_id"], site=row["site"]),
            hint=f"{row['task_name']} at {row['site']}: {row['failed']} failed, {row['finished']} finished",
        )
    note = (
        f"the newest {MOST_TASKS} of {len(tasks)} tasks"
        if len(tasks) > MOST_TASKS
        else "per cent of ended jobs that failed; pale: too few to judge, or none too many"
    )
    kept = set(tasks[:MOST_TASKS])
    return Matrix(
        "matrix",
        "Failure rate by task and site",
        tasks[:MOST_TASKS],
        sorted({row["site"] for row in rows}),
        {key: one for key, one in cells.items() if key[0] in kept},
        note,
        "task",
        "site",
    )


SPEC = PageSpec("/errors", VOCABULARY, page)
