"""Tries to copy files, one by one: of a link, a dataset or a file, with what went wrong (domain.md 5b)."""

from panda.ddm.traffic import FILTERS, TRY_STATES, TrafficWanted
from panda.domain.pattern import Pattern
from panda.services.monitor import data
from panda_api.monitor.asked import Asked, Vocabulary, only
from panda_api.monitor.blocks import Block, Column, Page, Table, Tile, Tiles
from panda_api.monitor.pages.linked import dataset_page
from panda_api.monitor.pages.transfers import UNKNOWN, plots, tally_rows
from panda_api.monitor.routes import Look, PageSpec

VOCABULARY = Vocabulary(filters=FILTERS, hours=24)
TONES = {"done": "finished", "failed": "failed", "running": "transferring", "queued": "assigned", "stuck": "alert"}


def page(look: Look) -> Page:
    """Make the page; its numbers and lists are of one moment of the data management."""
    asked = look.asked
    told = look.ctx.ddm.traffic(
        TrafficWanted(asked.span.since, asked.span.until, asked.filters, asked.limit, asked.offset)
    )
    sums = {
        "done": sum(one.files for one in told.links),
        **{name: sum(getattr(one, name) for one in told.links) for name in TRY_STATES[1:]},
    }
    tiles = [
        Tile(name, name, n, link=asked.here(status=name), tone=TONES[name] if n else None) for name, n in sums.items()
    ]
    rows = [
        {**{name: getattr(one, name) for name in one.__dataclass_fields__}, "source": one.source or UNKNOWN}
        for one in told.tries
    ]
    for row, one in zip(rows, told.tries, strict=True):
        row["rate"] = one.bytes / one.seconds if one.status == "done" and one.seconds else None
    blocks: list[Block] = [
        Tiles("sums", tiles),
        *plots(asked, told),
        Table("datasets", "By dataset", _datasets(asked), tally_rows(told.datasets, "no dataset"), told.n_datasets),
        Table("tries", "Tries", _columns(asked), rows, told.total, paged=True, note="not ended ones first"),
    ]
    about = "Every try to copy a file that ended in the span, and files that are not there yet"
    return Page("Copies of files", blocks, about=about, place="/ddm", main="tries", links=_known(look))


def _known(look: Look) -> list[tuple[str, str]]:
    """The page of the dataset that is asked for, where PanDA keeps it (it does not keep blocks)."""
    wanted = look.asked.filters.get("dataset", Pattern()).wanted
    names = [one.literal for one in wanted if one.literal]
    known = [one for one in names if data.dataset(look.connection, one) is not None]
    return [(one, dataset_page(one)) for one in known]


def _datasets(asked: Asked) -> list[Column]:
    return [
        Column("of", "dataset", "name", lambda row: asked.here(dataset=only(row["_tally"].of), rse=only(row["rse"]))),
        Column("rse", "to"),
        Column("files", "files", "count"),
        Column("bytes", "size", "size"),
        Column("rate", "rate", "speed"),
        Column("efficiency", "efficiency", "rate"),
        *(Column(one, one, "count") for one in ("failed", "queued", "running", "stuck")),
        Column("error", "last error", "long"),
    ]


def _columns(asked: Asked) -> list[Column]:
    return [
        Column("ended_at", "ended", "time"),
        Column("status", "how", "state"),
        Column("source", "from"),
        Column("rse", "to"),
        Column("file", "file", "name", lambda row: asked.here(file=only(row["file"].rpartition(":")[2]))),
        Column("dataset", "for dataset", "name", lambda row: asked.here(dataset=only(row["dataset"]))),
        Column("transfer_id", "transfer", "id"),
        Column("number", "try", "int"),
        Column("bytes", "size", "size"),
        Column("seconds", "copied for", "seconds"),
        Column("rate", "rate", "speed"),
        Column("queued_at", "asked for", "ago"),
        Column("error", "error", "long"),
    ]


SPEC = PageSpec("/ddm/tries", VOCABULARY, page)
