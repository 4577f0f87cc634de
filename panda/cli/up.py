"""Owns `panda up`: shows what is up, prints the addresses, and waits for Ctrl-C."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from panda.cli.parts import choose_ports, house_environment, panda_parts
from panda.cli.processes import Event, State, Supervisor
from panda.errors import BadSettings, PandaError
from panda.settings import Settings, load, unknown_variables, variable_name
from panda.signals import ENDING, on_signals

app = typer.Typer(add_completion=False)

PART_NAMES = ("database", "prepare", "api", "conductor", "agent", "factory", "prefect", "deployments", "worker")
STYLES = {
    State.UP: "green",
    State.DONE: "green",
    State.FAILED: "bold red",
    State.RESTARTING: "yellow",
    State.STARTING: "cyan",
}


def supervisor_for(
    settings: Settings,
    *,
    without: frozenset[str] = frozenset(),
    automatic_ports: bool = False,
    report: Callable[[Event], None] = lambda _: None,
) -> Supervisor:
    """A supervisor of a whole system, not yet started; its `settings` have the ports that were chosen.

    Raises BadSettings if `without` names a part that does not exist.
    """
    strange = without - set(PART_NAMES)
    if strange:
        raise BadSettings(f"There is no part {', '.join(sorted(strange))}.", f"The parts are {', '.join(PART_NAMES)}.")
    chosen = choose_ports(settings, automatic=automatic_ports)
    ports = {variable_name(name): str(getattr(chosen, name)) for name in ("api_port", "prefect_port")}
    parts = panda_parts(chosen, without=without)
    return Supervisor(chosen, parts, environment=house_environment(chosen), chosen=ports, report=report)


@app.command()
def up(
    *,
    without: Annotated[list[str] | None, typer.Option(help="Leave a part out; may be given several times.")] = None,
    ports: Annotated[str, typer.Option(help="'auto' takes free ports instead of those of the settings.")] = "settings",
) -> None:
    """Start everything in one process tree and show what is up; Ctrl-C or SIGTERM stops it."""
    if ports not in {"settings", "auto"}:
        raise BadSettings(f"--ports {ports} is unknown.", "It is 'settings' or 'auto'.")
    screen = Screen()
    ask_to_end = threading.Event()
    hopeless: list[Event] = []

    def report(event: Event) -> None:
        screen.event(event)
        if event.state is State.FAILED and event.part == "prepare":  # nothing works without tables
            hopeless.append(event)
            ask_to_end.set()

    for name, nearest in unknown_variables().items():
        screen.say(f"{name} is no setting" + (f"; did you mean {nearest}?" if nearest else "."))
    running = supervisor_for(load(), without=frozenset(without or ()), automatic_ports=ports == "auto", report=report)

    def end() -> None:
        if ask_to_end.is_set():
            running.hurry()
        ask_to_end.set()

    on_signals(end, (*ENDING, signal.SIGHUP))
    with screen.shown(running), running:
        screen.say(f"The monitor's pages are at {running.settings.api_url}/")
        ask_to_end.wait()
        screen.say("Stopping; Ctrl-C again to wait for nobody.")
    screen.say("Everything is stopped.")
    if hopeless:
        raise PandaError(f"The tables could not be prepared: {hopeless[0].text}.", f"See {running.settings.logs}.")


class Screen:
    """A table that changes in place on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=False)
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line for people."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def event(self, event: Event) -> None:
        """Print a change of state where no table shows it; what goes wrong is always printed."""
        loud = event.state in {State.RESTARTING, State.FAILED} or not event.part
        if loud or not self.console.is_terminal:
            self.say(
                f"{time.monotonic() - self.began:6.1f} s  {event.part:<12} {event.state:<10} {event.text}".rstrip()
            )

    def shown(self, running: Supervisor) -> Live:
        """The table, drawn anew twice a second for as long as the context lasts."""
        return Live(
            get_renderable=lambda: self._table(running),
            console=self.console,
            refresh_per_second=2,
            auto_refresh=self.console.is_terminal,
            transient=not self.console.is_terminal,
        )

    def _table(self, running: Supervisor) -> Table:
        table = Table(
            "part", "state", "process", "address", title=f"PanDA in {running.settings.data_dir}", highlight=False
        )
        if not self.console.is_terminal:
            return Table()
        pids = running.pids()
        for name, member in running.members.items():
            state = f"[{STYLES.get(member.state, 'dim')}]{member.state}"
            text = member.text if member.state in {State.FAILED, State.RESTARTING} else member.part.address
            table.add_row(name, state, str(pids.get(name, "")), text)
        return table
