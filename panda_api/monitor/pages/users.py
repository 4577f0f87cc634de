"""The list of users, and the page of one: how the tasks do, what fails in them, jobs by state (domain.md 5c)."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from panda.domain import shift
from panda.domain.pattern import exactly, parse
from panda.errors import NotFound
from panda.services.monitor import errors, overview, tasks
from panda_api.monitor.asked import Asked, Vocabulary, address, only
from panda_api.monitor.blocks import Block, Column, Link, Page, Row, Table
from panda_api.monitor.pages.errors import CODE_COLUMNS
from panda_api.monitor.pages.linked import NOT_ENDED, job_parts, jobs_page, nothing, user_link
from panda_api.monitor.pages.sums import plot, tiles
from panda_api.monitor.pages.tasks import COLUMNS as TASK_COLUMNS
from panda_api.monitor.pages.tasks import task_rows
from panda_api.monitor.routes import Look, PageSpec

LIST = Vocabulary(filters=("user", "vo", "label", "type", "processing", "campaign", "share"), hours=24 * 7)
ONE = Vocabulary(sorts=tuple(tasks.SORTS), sort="-modified", hours=24 * 3)
WAITING = ("defined", "waiting", "assigned", "activated")
IN_HAND = ("sent", "starting", "running")


def browse(look: Look) -> Page:
    """Make the list."""
    asked = look.asked
    of: dict[str, Counter[str]] = {}
    cores = Counter[str]()
    for row in overview.counts_of_users(look.connection, overview.Narrowed(asked.span, asked.filters)):
        of.setdefault(row["user"], Counter())[row["status"]] += row["n"]
        cores[row["user"]] += row["cores"] if row["status"] in IN_HAND else 0
    having = {row["user"]: row for row in tasks.of_users(look.connection, tasks.TasksWanted(asked.span, asked.filters))}
    names = sorted(of.keys() | having.keys(), key=lambda name: (-cores[name], -of.get(name, Counter()).total(), name))
    rows = [_row(asked, name, of.get(name, Counter()), cores[name], having.get(name)) for name in names]
    table = Table(
        "users",
        "Users",
        _columns(asked),
        rows,
        empty=nothing(asked, "user", "No task lives, and none changed in the span."),
    )
    about = "who has jobs or tasks that live or changed in the span; who uses most cores stands first"
    return Page("Users", [table], place="/users", main="users", about=about)


def _jobs(asked: Asked, name: str, *states: str) -> str:
    return address("/jobs", **asked.kept(LIST.filters) | {"user": only(name), "status": "|".join(states)})


def _row(asked: Asked, name: str, jobs: Counter[str], cores: int, has: Row | None) -> dict[str, Any]:
    return {
        "user": name,
        "vos": has["vos"] if has else [],
        "live": has["live"] if has else 0,
        "submitted_at": has["submitted_at"] if has else None,
        "bar": job_parts(jobs, lambda state: _jobs(asked, name, state)),
        "cores": cores,
        "queued": sum(jobs[state] for state in WAITING),
        "running": jobs["running"],
        "finished": jobs["finished"],
        "failed": jobs["failed"],
        "failure": shift.failure_rate(jobs["finished"], jobs["failed"]),
        "_failure": shift.failing(jobs["finished"], jobs["failed"]),
    }


def _columns(asked: Asked) -> Sequence[Column]:
    def jobs(*states: str) -> Link:
        return lambda row: _jobs(asked, row["user"], *states)

    return (
        Column("user", "user", "text", user_link("user")),
        Column("vos", "VOs", "list"),
        Column("live", "live tasks", "count", lambda row: address("/tasks", user=only(row["user"]), status=NOT_ENDED)),
        Column("bar", "jobs by state", "bar"),
        Column("cores", "cores in use", "count", hint="of jobs in pilots' hands"),
        Column("queued", "wait", "tally", jobs(*WAITING), hint=", ".join(WAITING)),
        Column("running", "running", "tally", jobs("running")),
        Column("finished", "finished", "tally", jobs("finished")),
        Column("failed", "failed", "tally", jobs("failed")),
        Column("failure", "fail %", "rate", tone=lambda row: row["_failure"]),
        Column("submitted_at", "newest task", "ago"),
    )


def page(look: Look) -> Page:
    """Make the page of one user; raises NotFound for who never had a task."""
    asked, name = look.asked, look.path["name"]
    if not tasks.is_user(look.connection, name):
        raise NotFound(f"no task is of a user {name}", hint="the list has every user: /users?days=366")
    own = {"user": parse(exactly(name))}
    narrowed = overview.Narrowed(asked.span, own)
    jobs: Counter[str] = Counter()
    for row in overview.counts_of_users(look.connection, narrowed):
        jobs[row["status"]] += row["n"]
    wanted = tasks.TasksWanted(asked.span, own)
    having = tasks.found(look.connection, wanted, sort=asked.sort, limit=asked.limit, offset=asked.offset)
    failures = errors.found(look.connection, asked.span, own, "codes", "worst")
    blocks: list[Block] = [
        tiles(asked, jobs, user=name),
        plot(look, narrowed, "Jobs over time"),
        _tasks(having, failures["worst"]),
        Table(
            "errors", "Errors", CODE_COLUMNS(asked, user=name), failures["codes"], empty="No job failed in the span."
        ),
    ]
    links = [
        ("Jobs", jobs_page(asked, (), user=name)),
        ("Errors", address("/errors", user=only(name), **asked.times)),
        ("Tasks of any time", address("/tasks", user=only(name), taskname="*")),
    ]
    about = "what lives, and what changed or ended in the span"
    return Page(f"User {name}", blocks, place="/users", main="tasks", about=about, links=links)


def _tasks(having: tasks.TasksFound, worst: Sequence[Row]) -> Table:
    """The user's tasks, each with the errors that most of its jobs failed with."""
    most: dict[int, list[str]] = {}
    for row in worst:
        most.setdefault(row["task_id"], []).append(f"{row['component']}:{row['code']} ({row['jobs']:,})")
    rows = [{**row, "mostly": most.get(row["id"], [])} for row in task_rows(having.tasks)]
    dropped = {"owner", "cloud"}
    columns = [one for one in TASK_COLUMNS if one.key not in dropped]
    place = next(place for place, one in enumerate(columns) if one.key == "failure") + 1
    columns.insert(place, Column("mostly", "mostly failed with", "list", hint="in the span; jobs in brackets"))
    return Table(
        "tasks", "Tasks", columns, rows, having.total, paged=True, note="live ones, and those that changed in the span",
        empty="No task lives or changed in the span.",
    )  # fmt: skip


SPECS = (PageSpec("/users", LIST, browse), PageSpec("/user/{name:path}", ONE, page))
