"""Owns `panda demo`: a physics campaign on a grid of this machine, run as a production manager would run it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine

from panda import wiring
from panda.cli.orders import order_run
from panda.cli.parts import ROOT
from panda.cli.processes import Event, State, Supervisor
from panda.cli.submit import read_campaign
from panda.cli.up import supervisor_for
from panda.domain.campaign import Campaign, with_tag
from panda.domain.slots import Waiting
from panda.domain.states import FINAL_TASK, TaskStage
from panda.domain.templates import JobNumbers, fill
from panda.domain.views.work import TaskView
from panda.domain.words import awaited
from panda.errors import PandaError, Unavailable
from panda.proddb import engine as proddb
from panda.proddb.submit import add_task, task_states
from panda.services import read, review, survey
from panda.services.context import Context
from panda.settings import Settings, load

CAMPAIGN = ROOT / "examples" / "zboson" / "campaign.yaml"
LIMIT_S = 900.0
LOOK_S = 0.5
WAITING_LIMIT = 0.30
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Peak:
    """What the fit of the final picture found, and whether it is where it should be."""

    mass_gev: float
    error_gev: float
    good: bool
    picture: Path


def demo(
    *,
    file: Annotated[Path, typer.Option(help="The campaign to run.")] = CAMPAIGN,
    ports: Annotated[str, typer.Option(help="'auto' takes free ports instead of those of the settings.")] = "settings",
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end, until Ctrl-C.")] = False,
) -> None:
    """Run a physics campaign from ProdDB to its picture; ends with 0 only if everything is as it should be."""
    console = Console()
    campaign = read_campaign(file, [])
    settings = demo_settings()
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # as Ctrl-C: nothing stays behind
    running = supervisor_for(settings, automatic_ports=ports == "auto", report=lambda event: _say(console, event))
    try:
        with running:
            console.print(f"PanDA starts in {settings.data_dir} ...", highlight=False)
            running.wait_until_up(120, ["prepare"])
            ctx = wiring.connect(running.settings, application="panda-demo")
            good = _Demo(console, running, ctx, campaign, began).run()
            if keep:
                console.print("Everything keeps running; Ctrl-C stops it.")
                _sleep_until_interrupt()
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None
    raise typer.Exit(0 if good else 1)


def demo_settings() -> Settings:
    """Settings for one laptop: a pilot that got nothing asks again in a second."""
    os.environ.setdefault("PANDA_PILOT__RETRY_AFTER_S", "1")
    return load()


def _say(console: Console, event: Event) -> None:
    if event.state in {State.RESTARTING, State.FAILED}:
        console.print(f"{event.part}: {event.state} {event.text}", highlight=False)


def _sleep_until_interrupt() -> None:
    while True:
        time.sleep(3600)


class _Demo:
    """One run of the demo on a started system."""

    def __init__(self, console: Console, running: Supervisor, ctx: Context, campaign: Campaign, began: float) -> None:
        self.console, self.running, self.ctx, self.began = console, running, ctx, began
        self.tag = f"r{int(time.time())}"
        self.campaign = with_tag(campaign, self.tag)
        self.first_job_s: float | None = None

    def run(self) -> bool:
        production = proddb.connect(self.ctx.settings)
        taskids = self._into_proddb(production)
        self.running.wait_until_up(180, ["prefect", *self._step("deployments")])
        self._trigger_bamboo()
        ids = self._wait_for_tasks(taskids)
        self._trigger_bamboo()
        states = self._wait_for_mirror(production, list(taskids.values()))
        production.dispose()
        return self._report(ids, states)

    def _step(self, name: str) -> list[str]:
        return [name] if name in self.running.members else []

    def _into_proddb(self, production: Engine) -> dict[str, int]:
        made: dict[str, int] = {}
        for one in self.campaign.tasks:
            made[one.key] = add_task(production, one.request, parent=made[one.parent] if one.parent else None)
        self.console.print(f"{len(made)} tasks are in ProdDB; Bamboo is called.", highlight=False)
        return made

    def _trigger_bamboo(self) -> None:
        """Have Bamboo run now instead of at the next ten minutes."""
        order_run(self.ctx.settings.prefect_api_url, "bamboo/bamboo")

    # --- while it runs ----------------------------------------------------------------------------------------------
    def _wait_for_tasks(self, taskids: dict[str, int]) -> list[int]:
        bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}"),
            console=self.console,
        )
        rows = {key: bars.add_task(key, total=None, words="in ProdDB") for key in taskids}
        end = time.monotonic() + LIMIT_S
        with Live(console=self.console, refresh_per_second=4, transient=False) as live:
            while time.monotonic() < end:
                views = self._views(taskids)
                for key, view in views.items():
                    done = view.jobs.get("finished", 0)
                    jobs = ", ".join(f"{n} {s}" for s, n in sorted(view.jobs.items()))
                    words = jobs or awaited(view.waits_for) or ""
                    label = f"[green]{view.stage}" if view.stage in FINAL_TASK else words[:70]
                    bars.update(rows[key], total=view.jobs_made or None, completed=done, words=label)
                self._note_first_job(list(views.values()))
                live.update(Group(bars, self._transfers()))
                if len(views) == len(taskids) and all(one.stage in FINAL_TASK for one in views.values()):
                    return [one.id for one in views.values()]
                time.sleep(LOOK_S)
        raise Unavailable(f"The campaign did not end within {LIMIT_S:g} s.", "Ask 'panda why task ID'.")

    def _views(self, taskids: dict[str, int]) -> dict[str, TaskView]:
        by_taskid = {view.proddb_task: view for view in read.tasks(self.ctx, limit=100) if view.proddb_task}
        return {key: by_taskid[number] for key, number in taskids.items() if number in by_taskid}

    def _note_first_job(self, views: Sequence[TaskView]) -> None:
        begun = {"running", "holding", "transferring", "finished"}
        if self.first_job_s is None and any(begun & view.jobs.keys() for view in views):
            self.first_job_s = time.monotonic() - self.began

    def _transfers(self) -> Table:
        table = Table("transfers", "state", "blocks", "files", "MB", box=None, header_style="dim")
        for one in survey.transfers(self.ctx):
            table.add_row(one.kind, one.state, str(one.n), str(one.n_files), f"{one.bytes / MEGABYTE:.1f}")
        return table

    def _wait_for_mirror(self, production: Engine, taskids: list[int]) -> dict[int, str]:
        """Wait until Bamboo has written the ends of the tasks back into ProdDB."""
        end = time.monotonic() + 120
        while True:
            states = {one.taskid: str(one.status) for one in task_states(production, taskids)}
            if all(state in {"finished", "failed", "aborted"} for state in states.values()):
                return states
            if time.monotonic() > end:
                return states
            time.sleep(LOOK_S)

    # --- at the end -------------------------------------------------------------------------------------------------
    def _report(self, ids: list[int], states: dict[int, str]) -> bool:
        costs = review.costs(self.ctx, ids)
        checked = review.verify(self.ctx, ids)
        slots = len(os.sched_getaffinity(0))
        waited = review.slot_waiting(self.ctx, ids, slots)
        peak = self._picture(ids[-1])
        self.console.print(_cost_table(costs))
        self._print_facts(checked, waited, slots, peak, states)
        for problem in checked.problems[:10]:
            self.console.print(f"[red]{problem}", highlight=False)
        done = all(one.stage is TaskStage.DONE and one.closed for one in costs)
        right = peak is None or peak.good
        return done and not checked.problems and right and set(states.values()) == {"finished"}

    def _print_facts(
        self, checked: review.Verified, waited: Waiting, slots: int, peak: Peak | None, states: dict[int, str]
    ) -> None:
        say = self.console.print
        say(f"{checked.files} files, {len(checked.problems)} problems: adler32 of every replica was read from disk.")
        say(
            f"Free slots waited for us {100 * waited.share:.0f} % of the {waited.wanted_s:.0f} s of slot time"
            f" ({slots} slots; {100 * WAITING_LIMIT:.0f} % are too much)."
        )
        if waited.share >= WAITING_LIMIT:
            say("[yellow]That is too much, unless this machine had other work to do.")
        say(f"ProdDB says: {', '.join(f'{taskid} {state}' for taskid, state in states.items())}.")
        if self.first_job_s is not None:
            say(f"The first job ran {self.first_job_s:.0f} s after the start, all ended after {self._age():.0f} s.")
        if peak is not None:
            verdict = "[green]as it should be" if peak.good else "[red]not where it should be"
            say(f"Z boson: {peak.mass_gev:.2f} +- {peak.error_gev:.2f} GeV, {verdict}[/]. Picture: {peak.picture}")
        settings = self.ctx.settings
        prefect = settings.prefect_api_url.removesuffix("/api")
        say(f"API {settings.api_url}  Prefect UI {prefect}  data {settings.data_dir}", highlight=False)

    def _age(self) -> float:
        return time.monotonic() - self.began

    def _picture(self, task_id: int) -> Peak | None:
        """Draw the final picture from all files of the last task, with the release's own program."""
        wanted = self.campaign.picture
        if wanted is None:
            return None
        folder = self.ctx.settings.data_dir / "demo" / self.tag
        folder.mkdir(parents=True)
        files = review.files_of(self.ctx, task_id)
        numbers = JobNumbers(task_id, 0, 0, 1, 0, 0, 0, 0, {"IN": tuple(map(str, files))})
        program = self._program(self.campaign.tasks[-1].request.release, wanted.transformation)
        command = [sys.executable, str(program), *fill(wanted.parameters, numbers).split()]
        environment = {**os.environ, "MPLCONFIGDIR": str(self.ctx.settings.data_dir / "matplotlib")}
        subprocess.run(command, cwd=folder, check=True, env=environment, stdout=subprocess.DEVNULL)
        fit = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
        picture = self.ctx.settings.data_dir / "demo" / "z-mumu.png"
        shutil.copyfile(folder / "z-mumu.png", picture)
        expect = wanted.expect
        good = expect is None or abs(fit["mass_gev"] - expect.mass_gev) <= expect.within_gev
        return Peak(fit["mass_gev"], fit["mass_error_gev"], good, picture)

    def _program(self, release: str, transformation: str) -> Path:
        found = sorted((self.ctx.settings.data_dir / "sites").glob(f"*/software/{release}/{transformation}"))
        if not found:
            raise PandaError(f"No site has {transformation} of {release}.", "Look into the grid file.")
        return found[0]


def _cost_table(costs: Sequence[review.TaskCost]) -> Table:
    table = Table(title="The campaign", highlight=False)
    for name in ("task", "end", "cloud"):
        table.add_column(name)
    for name in ("jobs", "attempts", "files", "MB", "moved in", "moved out", "wall s"):
        table.add_column(name, justify="right")
    for one in costs:
        table.add_row(
            f"{one.id} {one.name}",
            one.stage,
            one.cloud or "",
            str(one.jobs),
            str(one.attempts),
            str(one.files),
            f"{one.bytes / MEGABYTE:.1f}",
            f"{one.moved_in_files} ({one.moved_in_bytes / MEGABYTE:.1f} MB)",
            f"{one.moved_out_files} ({one.moved_out_bytes / MEGABYTE:.1f} MB)",
            f"{one.wall_s:.0f}",
        )
    return table


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(demo)
