"""Owns the `panda` command: which subcommands there are.

Each lives in a module of its own, which is imported only when it is called.
To add one: write a module in this package with `app = typer.Typer(...)` and name it in `COMMANDS`;
where a module has several apps, `module:attribute` says which one.
"""

import importlib
import sys
from collections.abc import Callable

import typer

from panda.errors import PandaError

# name -> module, and the line that `panda --help` prints
COMMANDS = {
    "up": ("panda.cli.up", "Start everything in one process tree and show what is up; Ctrl-C stops it."),
    "demo": ("panda.cli.demo", "Run a physics campaign on a grid of this machine, from ProdDB to its picture."),
    "settings": ("panda.cli.show_settings", "Show every setting, its variable and its meaning."),
    "prepare": ("panda.cli.prepare", "Bring all tables up to date and load the grid file, as `up` does first."),
    "db": ("panda.cli.db", "Apply or check the migrations of the tables."),
    "grid": ("panda.cli.grid", "Check or load a grid file."),
    "submit": ("panda.cli.submit", "Submit the production tasks of a YAML file."),
    "tasks": ("panda.cli.tasks:tasks_app", "List production tasks."),
    "task": ("panda.cli.tasks:task_app", "Show one production task."),
    "jobs": ("panda.cli.jobs:jobs_app", "List the jobs of a task."),
    "job": ("panda.cli.jobs:job_app", "Show one job: files, report, history."),
    "why": ("panda.cli.why", "Say why a task, bunch or job is where it is, and what would change it."),
    "datasets": ("panda.cli.tasks:datasets_app", "List the datasets that tasks read and write."),
    "sites": ("panda.cli.sites:sites_app", "List sites with their jobs and pilots."),
    "site": ("panda.cli.sites:site_app", "Show a site, or set it online, brokeroff, test or offline."),
    "workers": ("panda.cli.sites:workers_app", "List pilots and the jobs in their hands."),
    "kill": ("panda.cli.steer:kill_app", "Kill jobs or whole tasks."),
    "pause": ("panda.cli.steer:pause_app", "Hold a task: no further job is handed out."),
    "resume": ("panda.cli.steer:resume_app", "Let a task on hold go on."),
    "finish": ("panda.cli.steer:finish_app", "End a task with what it has."),
    "retry": ("panda.cli.steer:retry_app", "Try again what failed of a task."),
    "priority": ("panda.cli.steer:priority_app", "Change a task's priority."),
    "api": ("panda.cli.part", "Run only the dispatch API."),
    "conductor": ("panda.cli.part", "Run only a conductor; any number may run."),
    "agent": ("panda.cli.part", "Run only the DDM's transfer agent."),
    "factory": ("panda.cli.part", "Run only a pilot factory; more options go to it."),
    "prefect": ("panda.cli.part", "Run only the Prefect server."),
    "worker": ("panda.cli.part", "Run only a Prefect worker."),
}

main_app = typer.Typer(
    name="panda",
    help="PanDA on Prefect: production and distributed analysis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _later(name: str, module: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        path, _, attribute = module.partition(":")
        app = getattr(importlib.import_module(path), attribute or "app")
        app(args=list(context.args), prog_name=f"panda {name}")

    return run


def _part(name: str, module: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        importlib.import_module(module).run(name, list(context.args))

    return run


for _name, (_module, _help) in COMMANDS.items():
    main_app.command(
        _name,
        help=_help,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    )((_part if _module == "panda.cli.part" else _later)(_name, _module))


def main() -> None:
    """Run the command line; an error that a person can act on is one sentence and exit code 1, not a stack of calls."""
    try:
        main_app()
    except PandaError as error:
        print(f"panda: {error}", file=sys.stderr)
        sys.exit(1)
