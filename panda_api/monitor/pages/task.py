"""The page of a production task: progress, jobs, why it stands, its chain, data, errors and history."""

from panda.domain import shift
from panda.domain.pattern import parse
from panda.errors import NotFound
from panda.services import explain
from panda.services.monitor import Span, data, errors, operations, overview, tasks
from panda_api.monitor.asked import Vocabulary, address
from panda_api.monitor.blocks import Block, Column, Fact, Facts, Page, Row, Table
from panda_api.monitor.charts import Drawing, Line, Node, Part, Plot, Progress
from panda_api.monitor.pages.errors import CODE_COLUMNS
from panda_api.monitor.pages.linked import dataset_link, dataset_page, job_parts, user_page
from panda_api.monitor.pages.tasks import said
from panda_api.monitor.pages.told import why
from panda_api.monitor.routes import Look, PageSpec, number_of

BINS = 80
RECENT = 15
VOCABULARY = Vocabulary()


def page(look: Look) -> Page:
    """Make the page; raises NotFound."""
    number = number_of(look, "task_id")
    found = tasks.described(look.connection, [number])
    if not found:
        raise NotFound(f"there is no task {number}", hint="the list of tasks has a filter: /tasks?taskname=*word*")
    task = found[0]
    own = {"task": parse(str(number))}
    span = Span(task["submitted_at"], look.now)
    made = errors.found(look.connection, span, own, "codes")["codes"]
    blocks: list[Block] = [*_progress(look, task), _facts(task), *why(explain.why_task(look.ctx, number))]
    blocks += [_plot(look, task), _chain(look, number), _data(look, number)]
    blocks.append(Table("errors", "Errors", CODE_COLUMNS(look.asked, task=number), made, empty="No job failed."))
    blocks += _log(look, span, number)
    jobs = address("/jobs", task=number)
    links = [("Jobs", jobs), ("Errors", address("/errors", task=number, days=30)), ("Flow runs", _runs(look, number))]
    return Page(f"Task {number}", blocks, about=task["name"], place="/tasks", status=task["status"], links=links)


def _runs(look: Look, number: int) -> str:
    return f"{look.ctx.settings.prefect_api_url.removesuffix('/api')}/runs?tag=task:{number}"


def _progress(look: Look, task: Row) -> list[Block]:
    number = task["id"]
    inputs = tasks.inputs(look.connection, number)
    left = max(inputs["total"] - inputs["done"] - inputs["lost"], 0)
    parts = [
        Part("done", inputs["done"], "finished"),
        Part("given up", inputs["lost"], "failed"),
        Part("left", left, "plain"),
    ]
    what = "input files" if inputs["by_files"] else "places (the task has no input files)"
    places = {row["status"]: row["n"] for row in tasks.first_attempts(look.connection, number)}

    def link(state: str) -> str:
        return address("/jobs", task=number, status=state)

    return [
        Progress("progress", "Progress", [one for one in parts if one.n], note=f"{inputs['total']:,} {what}"),
        Progress("jobs", "Jobs", job_parts(task["jobs"], link), note="every row, retries among them"),
        Progress("places", "Without retries", job_parts(places, lambda _state: None), note="the last attempt speaks"),
    ]


def _facts(task: Row) -> Facts:
    parent = task["parent_id"]
    finished, failed = task["jobs"].get("finished", 0), task["jobs"].get("failed", 0)
    return Facts(
        "facts",
        "What it is",
        [
            Fact("name", "name", task["name"]),
            Fact("waits", "waits for", said(task)),
            Fact("owner", "user", task["owner"], link=user_page(task["owner"]) if task["owner"] else None),
            Fact("vo", "VO", task["vo"]),
            Fact("cloud", "cloud", task["cloud"], link=address("/", cloud=task["cloud"]) if task["cloud"] else None),
            Fact("type", "type", task["task_type"]),
            Fact("processing", "processing", task["processing_type"]),
            Fact("campaign", "campaign", task["campaign"]),
            Fact("label", "label", task["label"]),
            Fact("transformation", "transformation", task["transformation"]),
            Fact("priority", "priority", task["priority"], "int"),
            Fact("share", "share", task["share"], link="/shares"),
            Fact("parent", "parent", parent, link=f"/task/{parent}" if parent else None),
            Fact(
                "failure",
                "failure rate",
                shift.failure_rate(finished, failed),
                "percent",
                tone=shift.failing(finished, failed),
            ),
            Fact("submitted", "submitted", task["submitted_at"], "time"),
            Fact("since", "in stage since", task["stage_since"], "time"),
            Fact("ended", "ended", task["ended_at"], "time"),
        ],
    )


def _plot(look: Look, task: Row) -> Plot:
    until = task["ended_at"] or look.now
    span = Span(task["submitted_at"], max(until, task["submitted_at"].replace(microsecond=0)))
    wanted = overview.Narrowed(span, {"task": parse(str(task["id"]))})
    width = max((span.until - span.since).total_seconds(), 1.0) / BINS
    found = overview.curves(look.connection, wanted, BINS) if span.until > span.since else []
    at = [span.since.timestamp() + width * (place + 1) for place in range(BINS)]

    def summed(name: str) -> list[float | None]:
        return [sum(getattr(one, name)[place] for one in found) for place in range(BINS)]

    return Plot(
        "plot",
        "Its jobs over time",
        at,
        [
            Line("activated", "ready for pilots", summed("activated"), "activated"),
            Line("running", "running", summed("running"), "running"),
            Line("finished", "finished", summed("finished"), "finished", bars=True),
            Line("failed", "failed", summed("failed"), "failed", bars=True),
        ],
    )


def _chain(look: Look, number: int) -> Drawing:
    return drawn_lineage(look, tasks.family(look.connection, number), here=f"t{number}")


def drawn_lineage(look: Look, task_ids: list[int], here: str) -> Drawing:
    """Draw tasks and the datasets between them, from what was first to what came of it."""
    rows = data.lineage(look.connection, task_ids)
    nodes: dict[str, tuple[str, str, str, str]] = {}
    edges: list[tuple[str, str]] = []
    for row in rows:
        task, dataset = f"t{row['task_id']}", f"d{row['dataset']}"
        nodes[task] = (
            row["task_name"],
            f"task {row['task_id']}, {row['stage']}",
            row["stage"],
            f"/task/{row['task_id']}",
        )
        files = "" if row["n_files"] is None else f", {row['n_files']:,} files"
        note = f"{row['kind'] or 'dataset'}, {row['state'] or 'not read yet'}{files}"
        nodes[dataset] = (row["dataset"], note, row["state"] or "", dataset_page(row["dataset"]))
        edges.append((dataset, task) if row["way"] == "in" else (task, dataset))
    column = _columns(list(nodes), edges)
    drawn = [Node(key, *_four(nodes[key], column[key]), here=key == here) for key in nodes]
    return Drawing("lineage", "Where it comes from and what comes of it", drawn, edges)


def _four(node: tuple[str, str, str, str], column: int) -> tuple[str, int, str, str, str]:
    title, note, look, link = node
    return title, column, note, look, link


def _columns(keys: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Put every box right of all it comes from; a ring, which tasks cannot make, ends after as many rounds as boxes."""
    column = dict.fromkeys(keys, 0)
    for _round in keys:
        for start, end in edges:
            column[end] = max(column[end], min(column[start] + 1, len(keys)))
    return column


def _data(look: Look, number: int) -> Table:
    rows = data.lineage(look.connection, [number])
    return Table(
        "datasets",
        "Datasets",
        [
            Column("way", "way"),
            Column("dataset", "dataset", "name", dataset_link()),
            Column("kind", "type"),
            Column("state", "state", "state"),
            Column("n_files", "files", "int"),
            Column("made_by", "made by task", "id", lambda row: f"/task/{row['made_by']}" if row["made_by"] else None),
        ],
        rows,
        empty="It has no dataset yet.",
    )


def _log(look: Look, span: Span, number: int) -> list[Block]:
    total, decided = operations.decisions(look.connection, span, number, RECENT)
    return [
        Table(
            "decisions",
            "Brokerage",
            [
                Column("at", "when", "time"),
                Column("what", "what"),
                Column("bunch_id", "bunch", "id"),
                Column("chosen", "chosen"),
                Column("reason", "reason", "long"),
            ],
            decided,
            total,
            empty="Nothing was brokered yet.",
        ),
        Table(
            "history",
            "History",
            [
                Column("at", "when", "time"),
                Column("level", "level", "state"),
                Column("kind", "kind"),
                Column("text", "what", "long"),
            ],
            tasks.history(look.connection, number, RECENT),
            empty="Nothing noted.",
        ),
    ]


SPEC = PageSpec("/task/{task_id}", VOCABULARY, page)
