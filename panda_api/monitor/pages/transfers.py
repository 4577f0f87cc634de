"""The DDM dashboard: what is moved from where to where for jobs, and what is stuck."""

from collections import defaultdict
from collections.abc import Sequence

from panda.ddm.port import Health
from panda.services.monitor import data
from panda.services.reasons import size
from panda_api.monitor.asked import Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Page, Row, Table, Tile, Tiles
from panda_api.monitor.charts import Matrix, Square
from panda_api.monitor.pages.linked import facets, site_link, task_link
from panda_api.monitor.routes import Look, PageSpec

VOCABULARY = Vocabulary(filters=tuple(data.BLOCK_ATTRIBUTES), hours=24)

COLUMNS = (
    Column("name", "block", "name", lambda row: f"/ddm?name={only(row['name'])}"),
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
    links = data.links(look.connection, asked.span, asked.filters)
    blocks: list[Block] = [_tiles(health, links), _matrix(links), facets(asked, summary)]
    blocks.append(
        Table(
            "blocks",
            "Blocks",
            COLUMNS,
            rows,
            total,
            paged=True,
            note="under way, or changed in the span",
            empty="None.",
        )
    )
    return Page(
        "Data management", blocks, place="/ddm", main="blocks", about=f"Blocks of files under way: {health.message}"
    )


def _tiles(health: Health, links: Sequence[Row]) -> Tiles:
    def sums(state: str) -> int:
        return sum(row["blocks"] for row in links if row["state"] == state)

    return Tiles(
        "sums",
        [
            Tile("agents", "transfer agents", health.agents, tone=None if health.ok else "alert"),
            Tile("queued", "files queued", health.queued, tone="assigned"),
            Tile("running", "files being copied", health.running, tone="transferring"),
            Tile("stuck_files", "files stuck", health.stuck, tone="alert" if health.stuck else None),
            Tile(
                "requested",
                "blocks under way",
                sums("planned") + sums("requested"),
                link="/ddm?status=planned|requested",
            ),
            Tile("complete", "blocks complete", sums("complete"), link="/ddm?status=complete", tone="finished"),
            Tile(
                "stuck",
                "blocks stuck",
                sums("stuck"),
                link="/ddm?status=stuck",
                tone="alert" if sums("stuck") else None,
            ),
        ],
    )


def _matrix(links: Sequence[Row]) -> Matrix:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in links:
        found[row["source"], row["rse"]].append(row)
    most = max((sum(row["files"] for row in rows) for rows in found.values()), default=1) or 1
    cells = {key: _square(key, rows, most) for key, rows in found.items()}
    return Matrix(
        "matrix",
        "Files by source and destination",
        sorted({key[0] for key in cells}),
        sorted({key[1] for key in cells}),
        cells,
        "files of blocks; red: some are stuck",
        "from",
        "to",
    )


def _square(key: tuple[str, str], rows: Sequence[Row], most: int) -> Square:
    files, moved = sum(row["files"] for row in rows), sum(row["bytes"] for row in rows)
    stuck = sum(row["blocks"] for row in rows if row["state"] == "stuck")
    done = sum(row["blocks"] for row in rows if row["state"] == "complete")
    blocks = sum(row["blocks"] for row in rows)
    tone = "alert" if stuck else "good" if done == blocks else "plain"
    hint = f"{key[0]} to {key[1]}: {done} of {blocks} blocks complete, {stuck} stuck, {files} files, {size(moved)}"
    value = {"files": files, "bytes": moved, "blocks": blocks, "complete": done, "stuck": stuck}
    link = address("/ddm", rse=only(key[1]), site=only(rows[0]["site"]) if rows[0]["site"] else None)
    return Square(f"{files:,}", value, files / most, tone, link, hint)


SPEC = PageSpec("/ddm", VOCABULARY, page)
