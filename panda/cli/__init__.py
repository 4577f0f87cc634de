"""Owns the `panda` command: which subcommands there are, their exit codes, and completion in a shell.

Each lives in a module of its own, which is imported only when it is called (or completed).
To add one: write a module in this package with `app = typer.Typer(...)` and name it in `COMMANDS`;
where a module has several apps, `module:attribute` says which one.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from panda.errors import PandaError, Unavailable

FAILED, AWAY, INTERRUPTED = 1, 3, 130
"""Exit codes; 0 is done, 2 wrong usage (typer's own)."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, not found or failed (one sentence on stderr says why and what would be right); "
    "2 wrong usage; 3 the API, database or Prefect does not answer, the same may work later; 130 interrupted."
)

PART = "panda.cli.part"

# name -> module, and the line that `panda --help` prints
COMMANDS = {
    "up": ("panda.cli.up", "Start everything in one process tree and show what is up; Ctrl-C stops it."),
    "demo": ("panda.cli.demo", "Run a physics campaign on a grid of this machine, from ProdDB to its picture."),
    "settings": ("panda.cli.show_settings", "Show every setting, its variable and its meaning."),
    "prepare": ("panda.cli.prepare", "Bring all tables up to date and load the grid file, as `up` does first."),
    "db": ("panda.cli.db", "Apply or check the migrations of the tables."),
    "grid": ("panda.cli.grid", "Check or load a grid file."),
    "overview": ("panda.cli.watch:overview_app", "Show everything at a glance."),
    "watch": ("panda.cli.watch:watch_app", "Watch everything, or tasks until they have ended, live."),
    "submit": ("panda.cli.submit", "Submit production tasks, from a YAML file or by options; or only look at them."),
    "tasks": ("panda.cli.tasks:tasks_app", "List production tasks."),
    "task": ("panda.cli.tasks:task_app", "Show one production task."),
    "jobs": ("panda.cli.jobs:jobs_app", "List the jobs of a task."),
    "job": ("panda.cli.jobs:job_app", "Show one job: files, report, history."),
    "why": ("panda.cli.why", "Say why a task, job, site, pilot or dataset is as it is, and what would change it."),
    "what-if": (
        "panda.cli.whatif",
        "Decide a task's last brokerage again with something changed; show the difference.",
    ),
    "datasets": ("panda.cli.tasks:datasets_app", "List the datasets that tasks read and write."),
    "files": ("panda.cli.data:files_app", "List the files of a dataset or task, and where copies are."),
    "transfers": ("panda.cli.data:transfers_app", "List the blocks of files on their way."),
    "errors": ("panda.cli.data:errors_app", "List what jobs fail with, and where."),
    "fetch": ("panda.cli.fetch", "Copy the outputs of a task into a folder."),
    "sites": ("panda.cli.sites:sites_app", "List sites with their jobs and pilots."),
    "site": ("panda.cli.sites:site_app", "Show a site, or set it online, brokeroff, test or offline."),
    "workers": ("panda.cli.workers:workers_app", "List pilots and their jobs, or what Harvester says."),
    "command": ("panda.cli.command", "Give Harvester a command: kill, set or count workers."),
    "kill": ("panda.cli.steer:kill_app", "Kill jobs or whole tasks."),
    "pause": ("panda.cli.steer:pause_app", "Hold a task: no further job is handed out."),
    "resume": ("panda.cli.steer:resume_app", "Let a task on hold go on."),
    "finish": ("panda.cli.steer:finish_app", "End a task with what it has."),
    "retry": ("panda.cli.steer:retry_app", "Try again what failed of a task."),
    "priority": ("panda.cli.steer:priority_app", "Change a task's priority."),
    "debug": ("panda.cli.steer:debug_app", "Have the pilot of a running job show its output or folder."),
    "api": ("panda.cli.part", "Run only the dispatch API."),
    "conductor": ("panda.cli.part", "Run only a conductor; any number may run."),
    "agent": ("panda.cli.part", "Run only the DDM's transfer agent."),
    "factory": ("panda.cli.part", "Run only a pilot factory; more options go to it."),
    "prefect": ("panda.cli.part", "Run only the Prefect server."),
    "worker": ("panda.cli.part", "Run only a Prefect worker."),
}


class _Panda(TyperGroup):
    """The commands as stubs; where a shell asks for completions, the one that is typed is the real one."""

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        module = COMMANDS[name][0] if name in COMMANDS else ""
        if ctx.resilient_parsing and module and module != PART:
            command = typer.main.get_command(_app_of(module))
        return name, command, rest


main_app = typer.Typer(
    name="panda",
    cls=_Panda,
    help="PanDA on Prefect: production and distributed analysis.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@main_app.callback()
def _everywhere(
    api_url: Annotated[
        str | None,
        typer.Option("--api-url", metavar="URL", help="The API to talk to, else PANDA_API_URL, else the one here."),
    ] = None,
) -> None:
    """PanDA on Prefect: production and distributed analysis."""
    if api_url is not None:
        os.environ["PANDA_API_URL"] = api_url


def _app_of(module: str) -> typer.Typer:
    path, _, attribute = module.partition(":")
    app: typer.Typer = getattr(importlib.import_module(path), attribute or "app")
    return app


def _later(name: str, module: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        _app_of(module)(args=list(context.args), prog_name=f"panda {name}")

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
    )((_part if _module == PART else _later)(_name, _module))


def main() -> None:
    """Run the command line; what a person can act on is one sentence and an exit code, not a stack of calls."""
    try:
        main_app(prog_name="panda")
    except PandaError as error:
        print(f"panda: {error}", file=sys.stderr)
        sys.exit(AWAY if isinstance(error, Unavailable) else FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
