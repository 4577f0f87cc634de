"""A production task told for people: how far it is, a table of its jobs, and in words where it stands and why."""

from dataclasses import dataclass

from panda.domain.states import FINAL_TASK
from panda.services import explain, read, reasons
from panda.services.context import Context
from panda.store import explain as store

OUTDATED = ("It waits for:", "A story works on it")
"""What `why` says of a task between its stories; a story that runs knows better what its task waits for."""


@dataclass(frozen=True, slots=True)
class Narration:
    """What the artifacts of a task show; `percent` counts ordinals that need no more work."""

    name: str
    percent: float
    words: str
    table: list[dict[str, object]]
    brokerage: list[dict[str, object]]
    lines: tuple[str, ...]
    chain: str

    def markdown(self, waits_for: str | None) -> str:
        """Write the page of the task: chain, what it waits for, and why."""
        waits = f"\n**Waits for** {waits_for}\n" if waits_for else ""
        bullets = "\n".join(f"- {line}" for line in self.lines)
        return f"**{self.name}**\n\n{self.words}\n{waits}\n```mermaid\n{self.chain}\n```\n\n{bullets}\n"


def narrate(ctx: Context, task_id: int) -> Narration:
    """Tell how a task stands; raises NotFound."""
    task = read.task(ctx, task_id)
    finished = task.jobs.get("finished", 0)
    done = 100.0 if task.stage in FINAL_TASK else 100.0 * finished / task.jobs_made if task.jobs_made else 0.0
    tally = ", ".join(f"{n} {status}" for status, n in sorted(task.jobs.items())) or "no jobs yet"
    why = explain.why_task(ctx, task_id)
    table: list[dict[str, object]] = [{"state": status, "jobs": n} for status, n in sorted(task.jobs.items())]
    return Narration(
        name=f"{task.id} {task.name}",
        percent=min(100.0, done),
        words=f"{task.stage.value} in cloud {task.cloud or '(none yet)'}: {tally}",
        table=table,
        brokerage=_brokerage(ctx, task_id),
        lines=tuple(line for line in why.lines if not line.startswith(OUTDATED)),
        chain=_chain(ctx, task),
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


def _chain(ctx: Context, task: read.TaskView) -> str:
    """Draw the task, its parents and what they made as a Mermaid graph."""
    lines = ["graph TD"]
    current: read.TaskView | None = task
    while current is not None and len(lines) < 20:  # noqa: PLR2004 - a longer chain is not drawn
        lines.append(f'  t{current.id}["{current.name}<br/>{current.stage.value}"]')
        if current.parent_id is None:
            break
        lines.append(f"  t{current.parent_id} --> t{current.id}")
        current = read.task(ctx, current.parent_id)
    return "\n".join(lines)
