"""What operators look at beside jobs and data: pilots, shares, incidents with the brokerage log, health."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from panda.brokerage.shares import VO, deficits
from panda.ddm.port import DdmError
from panda.services.monitor import operations
from panda_api.monitor.asked import Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Page, Row, Table, Tile, Tiles
from panda_api.monitor.pages.linked import NOT_ENDED, facets, nothing, site_link, site_page, task_link
from panda_api.monitor.routes import Look, PageSpec

WORKERS = Vocabulary(filters=tuple(operations.WORKER_ATTRIBUTES), hours=12)
INCIDENTS = Vocabulary(filters=tuple(operations.INCIDENT_ATTRIBUTES), hours=24 * 7)
PLAIN = Vocabulary()
RECENT = 50
SILENT_S = 60.0


def workers(look: Look) -> Page:
    """Make the page of pilots and factories."""
    asked = look.asked
    total, rows, summary = operations.workers(look.connection, asked.span, asked.filters, asked.limit, asked.offset)
    rows = [{**row, "job": row["jobs"][0] if row["jobs"] else None} for row in rows]
    factories = Table(
        "factories", "Factories", FACTORIES, operations.factories(look.connection), empty="None was heard of."
    )
    table = Table(
        "pilots",
        "Pilots",
        PILOTS,
        rows,
        total,
        paged=True,
        note="live ones, and those that ended in the span",
        empty=nothing(asked, "pilot", "No pilot lives, and none ended in the span."),
    )
    blocks: list[Block] = [factories, facets(asked, summary), table]
    return Page("Pilots and factories", blocks, place="/workers", main="pilots", about=f"{total:,} pilots")


FACTORIES = (
    Column("factory", "factory", "text", lambda row: address("/workers", factory=only(row["factory"]))),
    Column("submitted", "on their way", "count"),
    Column("running", "at work", "count"),
    Column("finished", "ended well", "count"),
    Column("failed", "ended badly", "count"),
    Column("queues", "queues", "count"),
    Column("last_seen", "heard of", "ago"),
)
PILOTS = (
    Column("worker_id", "pilot", "id"),
    Column("factory", "factory"),
    Column("status", "state", "state"),
    Column("queue", "queue"),
    Column("site", "site", "text", site_link()),
    Column("node", "node", "name"),
    Column("batch_id", "batch id", "mono"),
    Column("cores", "cores", "int"),
    Column("n_jobs", "jobs", "count"),
    Column("job", "in hand", "id", lambda row: f"/job/{row['jobs'][0]}" if row["jobs"] else None),
    Column("submitted_at", "submitted", "ago"),
    Column("started_at", "started", "ago"),
    Column("ended_at", "ended", "ago"),
    Column("seen_at", "heard of", "ago"),
    Column("diag", "says", "long"),
)


def shares(look: Look) -> Page:
    """Make the page of shares: what each has of the cores and should have, and what waits for it."""
    rows = operations.shares(look.connection)
    targets = look.ctx.settings.dispatch.shares
    cores = sum(row["cores"] for row in rows)
    kinds = (("shares", "share", ""), ("organisations", "vo", VO))
    standing = [_standing(name, key, prefix, rows, targets) for name, key, prefix in kinds]
    table = Table("uses", "By share and organisation", USES, rows, empty="No job lives.")
    order = "who lacks most of its target goes first" if targets else "no targets are set: priority decides"
    return Page(
        "Shares",
        [*standing, table],
        place="/shares",
        main="shares",
        about=f"{cores:,} cores are in pilots' hands; {order} (PANDA_DISPATCH__SHARES)",
    )


def _standing(name: str, key: str, prefix: str, rows: Sequence[Row], targets: Mapping[str, float]) -> Table:
    """Target, use and what is lacking of each share (or organisation), by the rule of the dispatcher."""
    sums: dict[str, Counter[str]] = {one: Counter() for one in _named(targets, prefix)}
    for row in rows:
        sums.setdefault(row[key], Counter()).update({one: row[one] for one in USED})
    used = {prefix + one: float(found["cores"]) for one, found in sums.items()}
    lacking, cores, wanted = deficits(targets, used), sum(used.values()), _named(targets, prefix)
    whole = sum(wanted.values())
    shown: list[dict[str, Any]] = [
        {
            key: one,
            "target": 100.0 * wanted.get(one, 0.0) / whole if whole else None,
            "part": 100.0 * found["cores"] / cores if cores else None,
            "deficit": 100.0 * lacking[prefix + one] if prefix + one in lacking else None,
            **{name: found[name] for name in USED},
        }
        for one, found in sums.items()
    ]
    shown.sort(key=lambda row: (-(row["deficit"] or 0.0), str(row[key])))
    return Table(name, f"{name.capitalize()}: target and use", _standing_columns(key), shown, empty="No job lives.")


def _named(targets: Mapping[str, float], prefix: str) -> dict[str, float]:
    kind = {name: part for name, part in targets.items() if name.startswith(VO) is bool(prefix)}
    return {name.removeprefix(prefix): part for name, part in kind.items()}


def _standing_columns(key: str) -> list[Column]:
    def jobs(status: str) -> Callable[[Row], str]:
        return lambda row: address("/jobs", **{key: only(row[key])}, status=status)

    return [
        Column(key, "share" if key == "share" else "VO"),
        Column("target", "target", "rate", hint="of all cores that pilots hold"),
        Column("part", "has", "rate"),
        Column("deficit", "lacks", "rate", hint="target less use: the largest goes first; below 0 it has too much"),
        Column("cores", "cores in use", "count"),
        Column("running", "jobs in hand", "count", jobs("sent|starting|running")),
        Column("activated", "ready for pilots", "count", jobs("activated")),
        Column("queued", "before that", "count", jobs("defined|waiting|assigned")),
    ]


def _tasks_of_share(row: Row) -> str:
    return address("/tasks", share=only(row["share"]), vo=only(row["vo"]), status=NOT_ENDED)


USED = ("cores", "running", "activated", "queued")
USES = (
    Column("share", "share"),
    Column("vo", "VO"),
    Column("cores", "cores in use", "count"),
    Column("running", "jobs in hand", "count", lambda row: _jobs_of_share(row, "sent|starting|running")),
    Column("activated", "ready for pilots", "count", lambda row: _jobs_of_share(row, "activated")),
    Column("queued", "before that", "count", lambda row: _jobs_of_share(row, "defined|waiting|assigned")),
    Column("tasks", "live tasks", "count", _tasks_of_share),
)


def _jobs_of_share(row: Row, status: str) -> str:
    return address("/jobs", share=only(row["share"]), vo=only(row["vo"]), status=status)


def incidents(look: Look) -> Page:
    """Make the page of incidents and the log of brokerage."""
    asked = look.asked
    total, rows, summary = operations.incidents(look.connection, asked.span, asked.filters, asked.limit, asked.offset)
    shown = [{**row, "_link": _about(row["about"])} for row in rows]
    n_decisions, decided = operations.decisions(look.connection, asked.span, None, RECENT)
    table = Table(
        "incidents", "Incidents", INCIDENT_COLUMNS, shown, total, paged=True, empty="Nothing noted in the span."
    )
    log = Table(
        "brokerage",
        "Brokerage log",
        DECISIONS,
        decided,
        n_decisions,
        empty="Nothing was brokered in the span.",
        note="every decision of the span; the filters choose among the incidents" if asked.filters else "",
    )
    return Page(
        "Incidents",
        [facets(asked, summary), table, log],
        place="/incidents",
        main="incidents",
        about="What operators must know, and what brokerage decided",
    )


def _about(subject: str) -> str | None:
    kind, _, name = subject.partition(":")
    if kind in {"task", "job"} and name.isdecimal():
        return f"/{kind}/{name}"
    return site_page(name) if kind == "site" and name else None


INCIDENT_COLUMNS = (
    Column("at", "when", "time"),
    Column("level", "level", "state"),
    Column("kind", "kind"),
    Column("about", "about", "text", lambda row: row["_link"]),
    Column("text", "what", "long"),
)
DECISIONS = (
    Column("at", "when", "time"),
    Column("what", "what"),
    Column("task_id", "task", "id", task_link()),
    Column("bunch_id", "bunch", "id"),
    Column("chosen", "chosen"),
    Column("reason", "reason", "long"),
)


def health(look: Look) -> Page:
    """Make the page of the system's own health: its loops, services, data management, orders."""
    rows = [{**row, "_tone": _late(look, row)} for row in operations.backlogs(look.connection)]
    backlogs = Table(
        "backlogs", "What waits for the system's own loops", BACKLOGS, rows, note="red: older than its limit"
    )
    services = [
        {**row, "state": "good" if (look.now - row["seen_at"]).total_seconds() < SILENT_S else "alert"}
        for row in operations.services(look.connection)
    ]
    blocks: list[Block] = [
        _ddm(look),
        backlogs,
        Table("services", "Services", SERVICES, services, empty="None gave a sign."),
    ]
    blocks.append(
        Table("orders", "Orders of people", ORDERS, operations.orders(look.connection, RECENT), empty="None.")
    )
    return Page("Health", blocks, place="/health", main="backlogs", about="How the system itself does")


def _late(look: Look, row: Row) -> str | None:
    if row["since"] is None or not row["n"]:
        return None
    return "alert" if look.now - row["since"] > timedelta(seconds=row["limit_s"]) else "good"


def _ddm(look: Look) -> Tiles:
    try:
        found = look.ctx.ddm.health()
    except DdmError as error:
        return Tiles("ddm", [Tile("error", "data management", str(error), "text", tone="alert")], "Data management")
    tone = "good" if found.ok else "alert"
    return Tiles(
        "ddm",
        [
            Tile(
                "ok", "data management", found.message or ("works" if found.ok else "does not work"), "text", tone=tone
            ),
            Tile("agents", "agents", found.agents),
            Tile("queued", "files queued", found.queued),
            Tile("running", "being copied", found.running),
            Tile("stuck", "stuck", found.stuck, tone="alert" if found.stuck else None),
            Tile("oldest", "oldest due file waits", found.oldest_queued_seconds, "seconds"),
        ],
        "Data management",
    )


BACKLOGS = (
    Column("what", "what"),
    Column("n", "how many", "int", tone=lambda row: row["_tone"]),
    Column("since", "the oldest", "for"),
    Column("limit_s", "limit", "seconds"),
)
SERVICES = (
    Column("name", "service"),
    Column("state", "state", "state"),
    Column("up_since", "up since", "time"),
    Column("seen_at", "last sign", "ago"),
)
ORDERS = (
    Column("id", "order", "id"),
    Column("kind", "what"),
    Column("task_id", "task", "id", task_link()),
    Column("site", "site", "text", site_link()),
    Column("who", "who"),
    Column("created_at", "given", "time"),
    Column("done_at", "done", "time"),
    Column("outcome", "outcome", "long"),
)

SPECS = (
    PageSpec("/workers", WORKERS, workers),
    PageSpec("/shares", PLAIN, shares),
    PageSpec("/incidents", INCIDENTS, incidents),
    PageSpec("/health", PLAIN, health),
)
