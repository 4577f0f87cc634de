"""The DDM dashboard: what is copied from where to where, how fast and how well, and the blocks of jobs' files."""

from collections.abc import Sequence

from panda.ddm.port import Health
from panda.ddm.traffic import Tally, Traffic, TrafficWanted
from panda.domain import shift
from panda.domain.words import size
from panda.services.monitor import data
from panda_api.monitor.asked import Asked, Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Page, Row, Table, Tile, Tiles
from panda_api.monitor.charts import Line, Matrix, Plot, Square, View
from panda_api.monitor.pages.linked import facets, site_link, task_link
from panda_api.monitor.routes import Look, PageSpec
from panda_api.monitor.words import number, percent

VIEWS = ("files", "bytes", "rate", "efficiency", "waiting", "failed")
VOCABULARY = Vocabulary(filters=tuple(data.BLOCK_ATTRIBUTES), hours=24, words=("show",), choices={"show": VIEWS})
UNKNOWN = "source not known"
NARROWS_COPIES = {"rse": "rse", "name": "dataset"}
"""Filters of blocks that copies of files know, too, and their names there."""

COLUMNS = (
    Column("name", "block", "name", lambda row: address("/ddm/tries", dataset=only(row["name"]))),
    Column("kind", "type", hint="dis: input files to a site; sub: outputs to the cloud's tier 1"),
    Column("state", "state", "state"),
    Column("task_id", "task", "id", task_link()),
    Column("site", "site", "text", site_link()),
    Column("rse", "to storage"),
    Column("n_files", "files", "int"),
    Column("bytes", "size", "size"),
    Column("transfer_id", "transfer"),
    Column("since", "in state", "for"),
    Column("error", "last error", "long"),
)


def page(look: Look) -> Page:
    """Make the page."""
    asked = look.asked
    total, rows, summary = data.blocks(look.connection, asked.span, asked.filters, asked.limit, asked.offset)
    health = look.ctx.ddm.health()
    narrowed = {NARROWS_COPIES[name]: one for name, one in asked.filters.items() if name in NARROWS_COPIES}
    told = look.ctx.ddm.traffic(TrafficWanted(asked.span.since, asked.span.until, narrowed, limit=0))
    blocks: list[Block] = [_tiles(health, summary), *plots(asked, told), _matrix(asked, told.links)]
    blocks += [links(asked, told.links), facets(asked, summary)]
    blocks.append(
        Table(
            "blocks",
            "Blocks",
            COLUMNS,
            rows,
            total,
            paged=True,
            note="datasets of jobs' files, under way or changed in the span" + _only_here(asked),
            empty="None.",
        )
    )
    about = "Files copied between storages, and the blocks that jobs wait for"
    return Page(
        "Data management", blocks, place="/ddm", main="blocks", about="; ".join(filter(None, (about, health.message)))
    )


def _only_here(asked: Asked) -> str:
    """Say which filters the copies do not know: they choose among the blocks alone."""
    blind = [name for name in asked.filters if name not in NARROWS_COPIES]
    return f"; {', '.join(blind)} chooses among these blocks only, not among the copies above" if blind else ""


def _tiles(health: Health, summary: Sequence[Row]) -> Tiles:
    sums = {row["value"]: row["n"] for row in summary if row["attribute"] == "status"}
    under_way, stuck = sums.get("planned", 0) + sums.get("requested", 0), sums.get("stuck", 0)
    return Tiles(
        "sums",
        [
            Tile("agents", "transfer agents", health.agents, tone=None if health.ok else "alert"),
            Tile("queued", "files queued", health.queued, link="/ddm/tries?status=queued", tone="assigned"),
            Tile("running", "being copied", health.running, link="/ddm/tries?status=running", tone="transferring"),
            Tile(
                "stuck_files",
                "files stuck",
                health.stuck,
                link="/ddm/tries?status=stuck",
                tone="alert" if health.stuck else None,
            ),
            Tile("requested", "blocks under way", under_way, link="/ddm?status=planned|requested"),
            Tile("complete", "blocks complete", sums.get("complete", 0), link="/ddm?status=complete", tone="finished"),
            Tile("stuck", "blocks stuck", stuck, link="/ddm?status=stuck", tone="alert" if stuck else None),
        ],
    )


def plots(asked: Asked, told: Traffic) -> list[Block]:
    """What arrived and what failed over the span."""
    bins = TrafficWanted(asked.span.since, asked.span.until).bins
    found = {one.number: one for one in told.bins}
    start, width = asked.span.since.timestamp(), asked.hours * 3600 / bins
    at = [start + width * (place + 1) for place in range(bins)]
    each = [found.get(place + 1) for place in range(bins)]
    arrived = [one.bytes / 1e6 if one else 0.0 for one in each]
    files = [float(one.files) if one else 0.0 for one in each]
    failed = [float(one.failed) if one else 0.0 for one in each]
    return [
        Plot("volume", "MB arrived", at, [Line("mb", "MB arrived", arrived, "transferring", bars=True)], unit="MB"),
        Plot(
            "ended",
            "Files arrived and tries failed",
            at,
            [
                Line("files", "files arrived", files, "finished", bars=True),
                Line("failed", "tries failed", failed, "failed", bars=True),
            ],
            unit="files",
        ),
    ]


def judged(one: Tally, all_links: Sequence[Tally]) -> str | None:
    """How bad a link is: it fails, files are stuck on it, or it is far slower than the others; None: nothing to say."""
    here = _pace(one)
    others = [pace for other in all_links if other is not one and (pace := _pace(other)) is not None]
    slow = shift.slow(here, shift.usual_of(others)) if here is not None else None
    failing = shift.failing(one.files, one.failed)
    if one.stuck or (one.failed and not one.files) or shift.Tone.ALERT in {slow, failing}:
        return "alert"
    return "warn" if shift.Tone.WARN in {slow, failing} else "good" if one.files else None


def _pace(one: Tally) -> shift.Pace | None:
    return shift.Pace(one.rse, one.files, one.seconds / one.files, one.rate) if one.files and one.rate else None


def _matrix(asked: Asked, found: Sequence[Tally]) -> Matrix:
    view = asked.given.get("show", VIEWS[0])
    most = max((_measure(one, view) or 0.0 for one in found), default=0.0) or 1.0
    cells = {(one.of or UNKNOWN, one.rse): _square(asked, one, view, most, found) for one in found}
    return Matrix(
        "matrix",
        "From storage to storage",
        sorted({key[0] for key in cells}),
        sorted({key[1] for key in cells}),
        cells,
        "tries that ended in the span, and what waits now; red: fails, is stuck, or far slower than others",
        "from",
        "to",
        [View(one, asked.here(show=one), one == view) for one in VIEWS],
    )


def _measure(one: Tally, view: str) -> float | None:
    values = {
        "files": one.files,
        "bytes": one.bytes,
        "rate": one.rate,
        "efficiency": one.efficiency,
        "waiting": one.queued + one.running + one.stuck,
        "failed": one.failed,
    }
    return values[view]


def _written(value: float | None, view: str) -> str:
    if value is None:
        return "none"
    if view in {"bytes", "rate"}:
        return size(value) + ("/s" if view == "rate" else "")
    return percent(value) if view == "efficiency" else number(int(value))


def _square(asked: Asked, one: Tally, view: str, most: float, found: Sequence[Tally]) -> Square:
    said = [f"{name} {_written(_measure(one, name), name)}" for name in VIEWS]
    hint = f"{one.of or UNKNOWN} to {one.rse}: {', '.join(said)}" + (f"; {one.error}" if one.error else "")
    value = {name: _measure(one, name) for name in VIEWS} | {"queued": one.queued, "stuck": one.stuck}
    measured = _measure(one, view)
    tone = judged(one, found) or "plain"
    strength = 1.0 if tone in {"warn", "alert"} else (measured or 0.0) / most
    return Square(_written(measured, view), value, strength, tone, tries_page(asked, one), hint)


def tries_page(asked: Asked, one: Tally, **more: str) -> str:
    """The list of the tries that a link's number counts."""
    dataset = asked.given.get("name")
    return address("/ddm/tries", **asked.times, source=only(one.of), rse=only(one.rse), dataset=dataset, **more)


def tally_rows(found: Sequence[Tally], nothing: str = UNKNOWN) -> list[dict[str, object]]:
    """Sums of tries as rows of a table; `nothing` stands where no source (no dataset) is known."""
    return [
        {
            "of": one.of or nothing,
            "rse": one.rse,
            "files": one.files,
            "bytes": one.bytes,
            "rate": one.rate,
            "efficiency": one.efficiency,
            "failed": one.failed,
            "queued": one.queued,
            "running": one.running,
            "stuck": one.stuck,
            "error": one.error,
            "_tally": one,
        }
        for one in found
    ]


def links(asked: Asked, found: Sequence[Tally]) -> Table:
    """All numbers of every link; each leads to the tries that it counts."""

    def tries(status: str) -> Column:
        return Column(status, status, "count", lambda row: tries_page(asked, row["_tally"], status=status))

    columns = [
        Column("of", "from", "text", lambda row: tries_page(asked, row["_tally"])),
        Column("rse", "to", "text", lambda row: tries_page(asked, row["_tally"])),
        Column("files", "files", "count", lambda row: tries_page(asked, row["_tally"], status="done")),
        Column("bytes", "size", "size"),
        Column(
            "rate",
            "rate",
            "speed",
            tone=lambda row: judged(row["_tally"], found),
            hint="while a file was being copied; red: ten times slower than the middle one of the other links",
        ),
        Column("efficiency", "efficiency", "rate", hint="tries that ended well"),
        *(tries(one) for one in ("failed", "queued", "running", "stuck")),
        Column("error", "last error", "long"),
    ]
    return Table("links", "Links", columns, tally_rows(found), empty="Nothing was copied in the span, nothing waits.")


SPEC = PageSpec("/ddm", VOCABULARY, page)
