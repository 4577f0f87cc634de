"""The error report: what went wrong, how often, at what cost, and where (domain.md 4)."""

from collections.abc import Sequence

from panda.domain import shift
from panda.services.monitor import errors
from panda_api.monitor.asked import Asked, Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Page, Row, Table, Tile, Tiles
from panda_api.monitor.charts import Matrix, Square
from panda_api.monitor.pages.linked import jobs_page, site_page
from panda_api.monitor.routes import Look, PageSpec

VOCABULARY = Vocabulary(filters=tuple(errors.ATTRIBUTES), hours=24, words=("overview",))
PLACES = {"site": "sites", "task": "tasks", "user": "users", "node": "nodes"}
MOST_TASKS = 60


def CODE_COLUMNS(asked: Asked, task: int | None = None) -> list[Column]:  # noqa: N802 - columns, made for an address
    """Columns of a table of errors; counts lead to the jobs that have the error."""

    def jobs(row: Row) -> str:
        error = only(f"{row['component']}:{row['code']}")
        if row["component"] == "none":
            return jobs_page(asked, VOCABULARY.filters, status="failed", **({"task": task} if task else {}))
        return address("/jobs", **{**asked.kept(VOCABULARY.filters), "status": "failed", "error": error, "task": task})

    return [
        Column("component", "component"),
        Column("code", "code", "int"),
        Column("print", "what it says", "long"),
        Column("jobs", "jobs", "count", jobs),
        Column("lost_s", "core time lost", "seconds"),
        Column("sites", "sites", "count"),
        Column("tasks", "tasks", "count"),
        Column("nodes", "nodes", "count"),
        Column("sample", "for example", "long"),
        Column("samples", "sample", "id", lambda row: f"/job/{row['samples'][0]}"),
    ]


def page(look: Look) -> Page:
    """Make the page; all its numbers are of one snapshot."""
    asked = look.asked
    arguments = (look.connection, asked.span, asked.filters)
    codes, places, squares = errors.by_code(*arguments), errors.by_place(*arguments), errors.matrix(*arguments)
    shown = [{**row, "samples": row["samples"]} for row in codes]
    blocks: list[Block] = [
        _tiles(asked, squares, codes),
        Table(
            "codes",
            "By error",
            CODE_COLUMNS(asked),
            shown,
            note="a job with errors of several components counts for each",
            empty="No job failed.",
        ),
    ]
    blocks += [_outliers(errors.outliers(*arguments)), *_places(asked, places), _matrix(asked, squares)]
    return Page(
        "Errors", blocks, place="/errors", main="codes", about="Jobs that failed in the span, by what and where"
    )


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
            Tile("codes", "kinds of error", len(codes)),
            Tile("lost_s", "core time lost", float(sum(row["lost_s"] for row in codes)), "seconds"),
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


def _places(asked: Asked, places: Sequence[Row]) -> list[Block]:
    return [_place(asked, name, title, places) for name, title in PLACES.items()]


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
        cells[str(row["task_id"]), row["site"]] = Square(
            f"{rate:.0f} %",
            {"failed": row["failed"], "finished": row["finished"]},
            strength=min(1.0, rate / 50),
            tone=shift.failing(row["finished"], row["failed"]) or "plain",
            link=jobs_page(asked, VOCABULARY.filters, task=row["task_id"], site=row["site"]),
            hint=f"{row['task_name']} at {row['site']}: {row['failed']} failed, {row['finished']} finished",
        )
    note = (
        f"the newest {MOST_TASKS} of {len(tasks)} tasks"
        if len(tasks) > MOST_TASKS
        else "per cent of ended jobs that failed"
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
