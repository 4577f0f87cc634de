"""A production task told for people: how far it is, a table of its jobs, and in words where it stands and why."""

from dataclasses import dataclass

from panda.domain.states import FINAL_TASK
from panda.domain.views.work import TaskView
from panda.services import explain, read, reasons
from panda.services.context import Context
from panda.services.read import TaskFilter
from panda.store import explain as store

MOST_PARENTS, MOST_CHILDREN = 10, 10

OUTDATED = ("It waits for:", "A story works on it")
"""What `why` says of a task between its stories; a story that runs knows better what its task waits for."""


@dataclass(frozen=True, slots=True)
class Narration:
    """What the artifacts of a task show; `percent` counts ordinals that need no more work."""

    task_id: int
    task_name: str
    percent: float
    words: str
    table: list[dict[str, object]]
    brokerage: list[dict[str, object]]
    lines: tuple[str, ...]
    chain: str
    links: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Number and name of the task."""
        return f"{self.task_id} {self.task_name}"

    def markdown(self, waits_for: str | None) -> str:
        """Write the page of the task: what it waits for, the chain of tasks, why, and where to look further."""
        waits = f"\n**Waits for** {waits_for}\n" if waits_for else ""
        bullets = "\n".join(_bullet(line) for line in self.lines)
        links = " · ".join(f"[{words}]({address})" for words, address in self.links)
        return (
            f"## Task {self.task_id}\n\n`{self.task_name}`\n\n{self.words}\n{waits}\n{links}\n\n"
            f"### Where it stands, and why\n\n{bullets}\n\n### The chain of tasks\n\n{self.chain}\n"
        )


def _bullet(line: str) -> str:
    """Make a list item of a line; lines that belong to the one before are indented by two, and stay below it."""
    text = line.lstrip()
    return f"{line[: len(line) - len(text)]}- {text}"


def narrate(ctx: Context, task_id: int) -> Narration:
    """Tell how a task stands; raises NotFound."""
    task = read.task(ctx, task_id)
    finished = task.jobs.get("finished", 0)
    done = 100.0 if task.stage in FINAL_TASK else 100.0 * finished / task.jobs_made if task.jobs_made else 0.0
    tally = ", ".join(f"{n} {status}" for status, n in sorted(task.jobs.items())) or "no jobs yet"
    why = explain.why_task(ctx, task_id)
    table: list[dict[str, object]] = [{"state": status, "jobs": n} for status, n in sorted(task.jobs.items())]
    return Narration(
        task_id=task.id,
        task_name=task.name,
        percent=min(100.0, done),
        words=f"{task.stage.value} in cloud {task.cloud or '(none yet)'}: {tally}",
        table=table,
        brokerage=_brokerage(ctx, task_id),
        lines=tuple(line for line in why.lines if not line.startswith(OUTDATED)),
        chain=_chain(ctx, task),
        links=_links(ctx, task),
    )


def _links(ctx: Context, task: TaskView) -> tuple[tuple[str, str], ...]:
    """Say where the same is shown with more."""
    home = ctx.settings.api_url
    return (
        ("the task in the monitor", f"{home}/task/{task.id}"),
        ("its jobs", f"{home}/jobs?jeditaskid={task.id}"),
        ("its errors", f"{home}/errors?jeditaskid={task.id}"),
    )


def _brokerage(ctx: Context, task_id: int) -> list[dict[str, object]]:
    """Give the candidates of the last brokerage: sites if bunches were placed, else clouds; refusals with numbers."""
    now = ctx.clock()
    with ctx.engine.connect() as connection:
        sites = store.last_site_decision(connection, task_id)
        clouds = store.cloud_decision(connection, task_id)
    if sites is not None:
        facts = reasons.site_choice(now, sites).table
    elif clouds is not None:
        facts = reasons.cloud_choice(now, clouds).table
    else:
        return []
    return [dict(zip(facts.columns, row, strict=True)) for row in facts.rows]


def _chain(ctx: Context, task: TaskView) -> str:
    """List the task between its parents and children as a Markdown table: Prefect draws no Mermaid."""
    parents = _parents(ctx, task)
    children = read.tasks(ctx, TaskFilter(parent_id=task.id), limit=MOST_CHILDREN + 1)
    rows = [(one, "before it" if one.id != task.parent_id else "its input is made here") for one in parents]
    rows.append((task, "**this task**"))
    rows += [(one, "reads what it makes") for one in reversed(children[:MOST_CHILDREN])]
    lines = ["| task | stage | jobs | in the chain |", "|---|---|---|---|"]
    lines += [_link_of_chain(ctx, one, place) for one, place in rows]
    if len(children) > MOST_CHILDREN:
        lines.append(f"| [more children]({ctx.settings.api_url}/task/{task.id}) | | | |")
    return "\n".join(lines)


def _link_of_chain(ctx: Context, one: TaskView, place: str) -> str:
    done, made = one.jobs.get("finished", 0), sum(one.jobs.values())
    jobs = f"{done} of {made} finished" if made else "no jobs yet"
    waits = f", waits for {one.waits_for}" if one.waits_for and one.stage not in FINAL_TASK else ""
    name = one.name.replace("|", "\\|").replace("[", "\\[").replace("]", "\\]")
    stage = f"{one.stage.value}{waits}".replace("|", "\\|")
    return f"| [{one.id} {name}]({ctx.settings.api_url}/task/{one.id}) | {stage} | {jobs} | {place} |"


def _parents(ctx: Context, task: TaskView) -> list[TaskView]:
    """Give the task's parent, its parent's parent and so on, the first one first."""
    found: list[TaskView] = []
    current = task
    while current.parent_id is not None and len(found) < MOST_PARENTS:
        current = read.task(ctx, current.parent_id)
        found.insert(0, current)
    return found
