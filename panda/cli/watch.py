"""Owns `panda overview` and `panda watch`: everything at a glance, once or live."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from panda.cli import complete
from panda.cli.asking import WIDE, AsJson, one_command, print_json, print_json_line, tally
from panda.cli.remote import Api, api
from panda.cli.tasks import stage_of
from panda.domain.states import FINAL_TASK, TaskStage
from panda.domain.views.grid import Overview
from panda.domain.views.work import TaskView, WholeTask
from panda.domain.words import awaited, clock, lasting

BAR = 30
FEW = 12
COLOURS = {"online": "green", "offline": "red", "brokeroff": "yellow", "test": "cyan"}


def overview(*, as_json: AsJson = False) -> None:
    """Show everything at a glance: tasks, jobs, sites, pilots, transfers, the latest warnings."""
    with api() as panda:
        found, tasks = _look(panda)
    if as_json:
        print_json({"overview": found, "tasks": tasks})
        return
    _console().print(_everything(found, tasks))


def watch(
    task_ids: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="[TASK]...",
            help="Watch these until they have ended; else everything.",
            autocompletion=complete.tasks,
        ),
    ] = None,
    *,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Watch live: the whole system until Ctrl-C, or tasks until they have ended (exit code 1: one of them failed).

    Where the output is no terminal, and with --json (one document a line), a line says what has changed.
    """
    with api() as panda:
        if task_ids:
            _watch_tasks(panda, task_ids, every, as_json)
        else:
            _repeat(lambda: _one_look(panda, as_json), every, as_json)


def _look(panda: Api) -> tuple[Overview, list[TaskView]]:
    return panda.look("overview", Overview), panda.look("tasks", list[TaskView], live=True, limit=FEW)


def _one_look(panda: Api, as_json: bool) -> tuple[object, RenderableType, str, bool]:
    found, tasks = _look(panda)
    line = f"tasks: {tally(found.tasks)}; jobs: {tally(found.jobs)}; pilots: {tally(found.pilots)}"
    screen = "" if as_json else _everything(found, tasks)
    return {"tasks": found.tasks, "jobs": found.jobs, "pilots": found.pilots}, screen, line, False


def _watch_tasks(panda: Api, task_ids: Sequence[int], every: float, as_json: bool) -> None:
    last: list[TaskView] = []

    def look() -> tuple[object, RenderableType, str, bool]:
        last[:] = [panda.look("task", WholeTask, task_id=one).task for one in task_ids]
        facts = [{"id": one.id, "stage": one.stage.value, "jobs": one.jobs, "waits_for": one.waits_for} for one in last]
        line = "; ".join(f"{one.id} {stage_of(one)}: {tally(one.jobs)}" for one in last)
        return facts, _tasks(last), line, all(one.stage in FINAL_TASK for one in last)

    _repeat(look, every, as_json)
    if any(one.stage in {TaskStage.FAILED, TaskStage.ABORTED} for one in last):
        raise typer.Exit(1)


def _repeat(look: Callable[[], tuple[object, RenderableType, str, bool]], every: float, as_json: bool) -> None:
    """Look again and again until there is nothing more to see; draw on a terminal, else print what is new."""
    console = _console()
    said = ""
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            facts, screen, line, over = look()
            if console.is_terminal and not as_json:
                live.update(screen, refresh=True)
            elif line != said:
                said = line
                print_json_line(facts) if as_json else print(line, flush=True)
            if over:
                return
            time.sleep(every)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def _everything(found: Overview, tasks: Sequence[TaskView]) -> Group:
    head = f"PanDA at {clock(found.at)}   tasks: {tally(found.tasks)}   pilots: {tally(found.pilots)}"
    parts: list[RenderableType] = [head, f"jobs: {tally(found.jobs)}", _tasks(tasks), _sites(found)]
    if found.transfers:
        parts.append(_transfers(found))
    if found.incidents:
        parts.append(_incidents(found))
    return Group(*parts)


def _tasks(tasks: Sequence[TaskView]) -> Table:
    table = Table("id", "task", "stage", "progress", "jobs", "waits for", highlight=False)
    for one in tasks:
        done = one.jobs.get("finished", 0)
        bar = ProgressBar(total=max(one.jobs_made, 1), completed=done, width=BAR)
        waits = one.error or one.hold or awaited(one.waits_for) or ""
        table.add_row(str(one.id), one.name, stage_of(one), bar, tally(one.jobs), waits)
    return table


def _sites(found: Overview) -> Table:
    table = Table("cloud", "site", "status", "nodes (3 h)", "live jobs", "free GB", highlight=False)
    for one in found.sites:
        colour = COLOURS.get(one.status, "white")
        free = "" if one.space_gb is None or one.used_gb is None else f"{one.space_gb - one.used_gb:,.0f}"
        table.add_row(one.cloud, one.name, f"[{colour}]{one.status}", str(one.pilots), tally(one.jobs), free)
    return table


def _transfers(found: Overview) -> Table:
    table = Table("transfers", "to", "state", "blocks", "oldest", "last error", highlight=False)
    kinds = {"dis": "inputs", "sub": "outputs"}
    for one in found.transfers:
        row = (kinds[one.kind], one.rse, one.state, str(one.n), lasting(found.at, one.oldest), one.error or "")
        table.add_row(*row)
    return table


def _incidents(found: Overview) -> Table:
    table = Table("when", "level", "about", "what", highlight=False)
    for one in found.incidents:
        table.add_row(clock(one.at), one.level, one.about, one.text)
    return table


overview_app, watch_app = one_command(overview), one_command(watch)
