"""The dataset browser: datasets by attribute, and one dataset with its files, copies and lineage."""

from collections.abc import Mapping, Sequence
from typing import Any

from panda.ddm.port import Completeness, DdmError, Did
from panda.errors import NotFound
from panda.services.monitor import data, tasks
from panda_api.monitor.asked import Vocabulary, address
from panda_api.monitor.blocks import Block, Column, Fact, Facts, Page, Prose, Row, Table
from panda_api.monitor.pages.linked import dataset_link, facets, job_link, task_link
from panda_api.monitor.pages.task import drawn_lineage
from panda_api.monitor.routes import Look, PageSpec

LIST = Vocabulary(filters=tuple(data.ATTRIBUTES), sorts=tuple(data.SORTS), sort="-id")
ONE = Vocabulary()

COLUMNS = (
    Column("name", "dataset", "name", dataset_link("name"), sort="name"),
    Column("kind", "type"),
    Column("state", "state", "state"),
    Column("n_files", "files", "int", sort="files"),
    Column("bytes", "size", "size", sort="size"),
    Column("task_id", "made by task", "id", task_link()),
    Column("readers", "read by tasks", "count"),
    Column("copies", "complete at", "list", hint="every storage that has files of it: per cent of them"),
    Column("created_at", "made", "ago", sort="made"),
    Column("closed_at", "closed", "ago"),
)


def browse(look: Look) -> Page:
    """Make the list."""
    asked = look.asked
    total, rows, summary = data.datasets(
        look.connection, asked.filters, sort=asked.sort, limit=asked.limit, offset=asked.offset
    )
    shown, trouble = _with_copies(look, rows)
    nothing = "No dataset matches this filter."
    blocks: list[Block] = [facets(asked, summary)]
    blocks.append(Table("datasets", "Datasets", COLUMNS, shown, total, paged=True, note=trouble, empty=nothing))
    return Page("Datasets", blocks, place="/datasets", main="datasets", about=f"{total:,} datasets that PanDA knows")


def _with_copies(look: Look, rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Say of listed datasets how complete they are at which storage; and what is wrong if nobody knows."""
    dids = {row["id"]: Did(row["scope"], row["name"]) for row in rows}
    try:
        found, trouble = look.ctx.ddm.locations(list(dids.values())), ""
    except DdmError as error:
        found, trouble = {}, f"The data management does not answer: {error}"
    return [{**row, "copies": _complete_at(found.get(dids[row["id"]], {}))} for row in rows], trouble


def _complete_at(places: Mapping[str, Completeness]) -> list[str]:
    """Say how complete a dataset is at its storages, the most complete first."""
    shares = {
        rse: 100.0 * one.available_files / one.total_files if one.total_files else 100.0
        for rse, one in places.items()
        if one.available_files
    }
    return [f"{rse} {share:.3g} %" for rse, share in sorted(shares.items(), key=lambda one: (-one[1], one[0]))]


def page(look: Look) -> Page:
    """Make the page of one dataset; raises NotFound."""
    name = look.path["name"].rpartition(":")[2]
    found = data.dataset(look.connection, name)
    if found is None:
        raise NotFound(f"there is no dataset {name}", hint="the browser has a filter: /datasets?name=*word*")
    readers = data.readers(look.connection, name)
    family = {one for task in [found["task_id"], *readers] if task for one in tasks.family(look.connection, task)}
    blocks: list[Block] = [_facts(found), *_copies(look, found), drawn_lineage(look, sorted(family), here=f"d{name}")]
    blocks += [_readers(look, readers), _files(look, found)]
    return Page("Dataset", blocks, about=name, place="/datasets", main="files", status=found["state"])


def _facts(found: Row) -> Facts:
    task = found["task_id"]
    return Facts(
        "facts",
        "What it is",
        [
            Fact("scope", "scope", found["scope"], link=address("/datasets", scope=found["scope"])),
            Fact("kind", "type", found["kind"]),
            Fact("files", "files", found["n_files"], "int"),
            Fact("bytes", "size", found["bytes"], "size"),
            Fact("task", "made by task", task, "id", f"/task/{task}" if task else None),
            Fact("created", "made", found["created_at"], "time"),
            Fact("closed", "closed", found["closed_at"], "time"),
        ],
    )


def _copies(look: Look, found: Row) -> list[Block]:
    did = Did(found["scope"], found["name"])
    try:
        places = look.ctx.ddm.locations([did]).get(did, {})
        moving = look.ctx.ddm.transfers_of([did]).get(did, [])
    except DdmError as error:
        return [Prose("sites", "Where it is", [f"The data management does not answer: {error}"])]
    rows = [
        {
            "rse": rse,
            "files": one.available_files,
            "total": one.total_files,
            "bytes": one.available_bytes,
            "share": 100.0 * one.available_files / one.total_files if one.total_files else 100.0,
            "complete": one.complete,
        }
        for rse, one in sorted(places.items())
    ]
    transfers = [
        {
            "id": one.id,
            "rse": one.rse,
            "state": one.state.value,
            "ok": one.ok,
            "moving": one.moving,
            "stuck": one.stuck,
            "bytes": one.bytes,
            "updated": one.updated,
            "error": one.error,
        }
        for one in moving
    ]
    return [
        Table("sites", "Where it is", PLACES, rows, empty="No copy is known."),
        Table("transfers", "Transfers", TRANSFERS, transfers, empty="It was never asked for anywhere."),
    ]


PLACES = (
    Column("rse", "storage"),
    Column("files", "files there", "int"),
    Column("total", "of", "int"),
    Column("share", "complete", "rate", tone=lambda row: "good" if row["complete"] else "warn"),
    Column("bytes", "size", "size"),
)
TRANSFERS = (
    Column("rse", "to"),
    Column("state", "state", "state"),
    Column("ok", "arrived", "int"),
    Column("moving", "moving", "int"),
    Column("stuck", "stuck", "int"),
    Column("bytes", "size", "size"),
    Column("updated", "changed", "ago"),
    Column("error", "last error", "long"),
)


def _readers(look: Look, readers: Sequence[int]) -> Table:
    rows = tasks.described(look.connection, readers)
    return Table(
        "readers",
        "Tasks that read it",
        [
            Column("id", "task", "id", task_link("id")),
            Column("name", "name", "name"),
            Column("status", "state", "state"),
        ],
        rows,
        empty="None.",
    )


def _those_jobs(row: Row) -> str | None:
    return address("/jobs", id="|".join(map(str, row["read_by"]))) if row["read_by"] else None


def _files(look: Look, found: Row) -> Table:
    total, rows = data.files(look.connection, found["id"], look.asked.limit, look.asked.offset)
    copies: dict[tuple[str, str], list[str]] = {}
    try:
        for one in look.ctx.ddm.replicas([Did(row["scope"], row["lfn"]) for row in rows]):
            copies.setdefault((one.did.scope, one.did.name), []).append(one.rse)
    except DdmError:
        copies = {}
    numbers = [row["ordinal"] for row in rows if row["ordinal"] is not None]
    jobs: dict[int, list[int]] = {}
    for read in data.jobs_that_read(look.connection, found["id"], numbers):
        jobs.setdefault(read["ordinal"], []).append(read["id"])
    shown: list[dict[str, Any]] = [
        {
            **row,
            "copies": sorted(copies.get((row["scope"], row["lfn"]), [])),
            "read_by": jobs.get(row["ordinal"], []),
        }
        for row in rows
    ]
    return Table(
        "files",
        "Files",
        [
            Column("ordinal", "number", "int"),
            Column("lfn", "file", "name"),
            Column("bytes", "size", "size"),
            Column("events", "events", "int"),
            Column("guid", "GUID", "mono"),
            Column("adler32", "adler32", "mono"),
            Column("copies", "copies at", "list"),
            Column("job_id", "made by job", "id", job_link("job_id")),
            Column("read_by", "read by jobs", "list", _those_jobs, hint="whose main input it is, every attempt"),
            Column("state", "state"),
        ],
        shown,
        total,
        paged=True,
        empty="It has no file yet.",
    )


SPECS = (PageSpec("/datasets", LIST, browse), PageSpec("/dataset/{name:path}", ONE, page))
