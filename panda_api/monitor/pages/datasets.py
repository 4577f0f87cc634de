"""The dataset browser: datasets by attribute, and one dataset with its files, copies and lineage."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from panda.ddm.port import Completeness, DdmError, Did
from panda.domain.pattern import Pattern
from panda.errors import NotFound
from panda.services.monitor import data, tasks
from panda_api.monitor.asked import Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Fact, Facts, Page, Prose, Row, Table
from panda_api.monitor.pages.linked import dataset_link, facets, job_link, nothing, task_link
from panda_api.monitor.pages.task import drawn_lineage
from panda_api.monitor.routes import Look, PageSpec

COPIES = {"rse", "complete"}
"""Filters by where a dataset is: `rse` by storage, `complete` is whole, part or nowhere (at the storages named)."""
MOST_LOOKED_AT = 1_000
"""Datasets of which the data management is asked where they are, for one list."""
WHOLE = 100.0
COUNTED = (("type", "kind"), ("status", "state"), ("scope", "scope"))
LIST = Vocabulary(filters=(*data.ATTRIBUTES, "rse", "complete"), sorts=tuple(data.SORTS), sort="-id")
ONE = Vocabulary()

COLUMNS = (
    Column("name", "dataset", "name", dataset_link("name"), sort="name"),
    Column("kind", "type"),
    Column("state", "state", "state"),
    Column("n_files", "files", "int", sort="files"),
    Column("bytes", "size", "size", sort="size"),
    Column("task_id", "made by task", "id", task_link()),
    Column("readers", "read by tasks", "count"),
    Column(
        "copies",
        "complete at",
        "list",
        hint="every storage that has files of it: per cent of them; filters rse, complete",
    ),
    Column("created_at", "made", "ago", sort="made"),
    Column("closed_at", "closed", "ago"),
)


def browse(look: Look) -> Page:
    """Make the list."""
    found = _by_copies(look) if COPIES & look.asked.filters.keys() else _listed(look)
    empty = nothing(look.asked, "dataset", "No task has read or written one yet.")
    about = f"{found.total:,} datasets that PanDA knows"
    table = Table("datasets", "Datasets", COLUMNS, found.rows, found.total, paged=True, note=found.note, empty=empty)
    return Page("Datasets", [facets(look.asked, found.summary), table], place="/datasets", main="datasets", about=about)


@dataclass(frozen=True, slots=True)
class _Found:
    """Datasets of a list: how many, a page of them, how many by attribute, what must be said of them."""

    total: int
    rows: Sequence[Row]
    summary: Sequence[Row]
    note: str


def _listed(look: Look) -> _Found:
    asked = look.asked
    total, rows, summary = data.datasets(
        look.connection, asked.filters, sort=asked.sort, limit=asked.limit, offset=asked.offset
    )
    shown, trouble = _with_copies(look, rows)
    return _Found(total, shown, summary, trouble)


def _by_copies(look: Look) -> _Found:
    """Datasets by where they are: the data management is asked of the first ones that the other filters let through."""
    asked = look.asked
    total, rows, _ = data.datasets(look.connection, asked.filters, sort=asked.sort, limit=MOST_LOOKED_AT, offset=0)
    known, note = _with_copies(look, rows)
    kept = [row for row in known if _lets_through(asked.filters, row["_shares"])]
    if total > len(rows):
        note = f"{note} the first {len(rows):,} of {total:,} were looked at: narrow the others by name or type".strip()
    counts = [(name, Counter(row[column] for row in kept)) for name, column in COUNTED]
    summary = [
        {"attribute": name, "value": value, "n": n, "values": len(counted)}
        for name, counted in counts
        for value, n in counted.most_common()
    ]
    return _Found(len(kept), kept[asked.offset : asked.offset + asked.limit], summary, note)


def _lets_through(filters: Mapping[str, Pattern], shares: Mapping[str, float]) -> bool:
    """Whether a dataset with these copies (per cent by storage) passes: how complete is asked of the storages named."""
    named = filters.get("rse", Pattern())
    excluded = any(one.matches(rse) for one in named.unwanted for rse in shares or ("",))
    at = {rse: share for rse, share in shares.items() if named.matches(rse)}
    nowhere = not shares and named.matches("")
    most = max(at.values(), default=0.0)
    word = "whole" if most >= WHOLE else "part" if at else "nowhere"
    return not excluded and (bool(at) or nowhere) and filters.get("complete", Pattern()).matches(word)


def _with_copies(look: Look, rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Say of listed datasets how complete they are at which storage; and what is wrong if nobody knows."""
    dids = {row["id"]: Did(row["scope"], row["name"]) for row in rows}
    try:
        found, trouble = look.ctx.ddm.locations(list(dids.values())), ""
    except DdmError as error:
        found, trouble = {}, f"The data management does not answer: {error}"
    shares = {number: _shares(found.get(did, {})) for number, did in dids.items()}
    return [{**row, "copies": _written(shares[row["id"]]), "_shares": shares[row["id"]]} for row in rows], trouble


def _shares(places: Mapping[str, Completeness]) -> dict[str, float]:
    """How complete a dataset is at the storages that have files of it, in per cent."""
    return {
        rse: WHOLE if one.complete else 100.0 * one.available_files / one.total_files
        for rse, one in places.items()
        if one.available_files
    }


def _written(shares: Mapping[str, float]) -> list[str]:
    """Say how complete a dataset is at its storages, the most complete first."""
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
        Table(
            "transfers",
            "Transfers",
            TRANSFERS,
            transfers,
            empty="Nobody asked for the whole of it anywhere; files of single jobs travel in blocks (DDM).",
        ),
    ]


PLACES = (
    Column("rse", "storage", "text", lambda row: address("/datasets", rse=only(row["rse"]))),
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


READ_AS = {"primary": "main input", "secondary": "every job takes some of its files"}


def _readers(look: Look, readers: Mapping[int, str]) -> Table:
    found = tasks.described(look.connection, list(readers))
    rows = [{**row, "role": READ_AS[readers[row["id"]]]} for row in found]
    return Table(
        "readers",
        "Tasks that read it",
        [
            Column("id", "task", "id", task_link("id")),
            Column("name", "name", "name"),
            Column("status", "state", "state"),
            Column("role", "reads it as"),
        ],
        rows,
        empty="No task reads it.",
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
            Column(
                "read_by",
                "read by jobs",
                "list",
                _those_jobs,
                hint=f"every attempt; of a secondary input, of tasks with at most {data.MOST_JOBS:,} jobs",
            ),
            Column("state", "state"),
        ],
        shown,
        total,
        paged=True,
        empty="It has no file yet.",
    )


SPECS = (PageSpec("/datasets", LIST, browse), PageSpec("/dataset/{name:path}", ONE, page))
