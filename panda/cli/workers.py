"""Owns `panda workers`: pilots as their factories describe them, and what Harvester instances say of themselves."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, Limit, Offset, one_command, print_json, print_table, tally
from panda.cli.remote import api
from panda.domain.views import harvester
from panda.domain.views.grid import WorkerView
from panda.domain.views.harvester import Shown
from panda.domain.words import clock


class Show(StrEnum):
    """What to list: pilots, or what Harvester said (`panda.domain.views.harvester.Shown`)."""

    PILOTS = "pilots"
    HARVESTERS = Shown.HARVESTERS.value
    STATISTICS = Shown.STATISTICS.value
    COMMANDS = Shown.COMMANDS.value
    DIALOGS = Shown.DIALOGS.value
    METRICS = Shown.METRICS.value


def workers(
    queue: Annotated[
        str | None, typer.Argument(help="Only the pilots of this queue.", autocompletion=complete.queues)
    ] = None,
    *,
    show: Annotated[Show, typer.Option(help="Pilots, or what Harvester said.")] = Show.PILOTS,
    every: Annotated[bool, typer.Option("--all", help="Pilots that ended, too.")] = False,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the pilots and the jobs in their hands; with `--show` what Harvester instances said."""
    if show is not Show.PILOTS:
        _show(Shown(show), limit, offset, as_json=as_json)
        return
    with api() as panda:
        found = panda.look("workers", list[WorkerView], queue=queue, ended=every, limit=limit, offset=offset)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            f"{one.factory}:{one.worker_id}", one.queue, one.status, one.node, one.batch_id, one.n_jobs,
            ", ".join(map(str, one.jobs)), clock(one.seen_at), one.diag,
        )
        for one in found
    ]  # fmt: skip
    columns = ("pilot", "queue", "status", "node", "batch id", "jobs done", "in hand", "last heard of", "says")
    print_table(columns, rows)


def _show(show: Shown, limit: int | None, offset: int, *, as_json: bool) -> None:
    with api() as panda:
        found = panda.look("harvester", KIND[show], show=show.value, limit=limit, offset=offset)
    if as_json:
        print_json(found)
        return
    print_table(COLUMNS[show], [ROW[show](one) for one in found])


def _instance(one: harvester.Instance) -> tuple[object, ...]:
    last = f"{one.last_level}: {one.last_text}" if one.last_text is not None else None
    return one.name, one.host, one.version, clock(one.heard_at), tally(one.workers), one.commands_waiting, last


def _command(one: harvester.Command) -> tuple[object, ...]:
    stages = (("acknowledged", one.acknowledged_at), ("fetched", one.fetched_at), ("waiting", one.created_at))
    state, at = next((name, when) for name, when in stages if when is not None)
    return one.id, one.harvester, one.command, one.arguments, one.who, state, clock(at)


KIND: dict[Shown, Any] = {
    Shown.HARVESTERS: list[harvester.Instance],
    Shown.STATISTICS: list[harvester.Statistic],
    Shown.COMMANDS: list[harvester.Command],
    Shown.DIALOGS: list[harvester.Said],
    Shown.METRICS: list[harvester.Measured],
}
COLUMNS: dict[Shown, tuple[str, ...]] = {
    Shown.HARVESTERS: ("harvester", "host", "version", "last heartbeat", "workers", "commands waiting", "last said"),
    Shown.STATISTICS: ("queue", "harvester", "job type", "resource type", "status", "workers", "reported"),
    Shown.COMMANDS: ("id", "harvester", "command", "arguments", "who", "state", "since"),
    Shown.DIALOGS: ("when", "harvester", "module", "about", "level", "says"),
    Shown.METRICS: ("harvester", "host", "when", "metrics"),
}
ROW: dict[Shown, Callable[..., tuple[object, ...]]] = {
    Shown.HARVESTERS: _instance,
    Shown.STATISTICS: lambda one: (
        one.queue, one.harvester, one.job_type, one.resource_type, one.status, one.n, clock(one.at),
    ),
    Shown.COMMANDS: _command,
    Shown.DIALOGS: lambda one: (clock(one.said_at), one.harvester, one.module, one.about, one.level, one.text),
    Shown.METRICS: lambda one: (one.harvester, one.host, clock(one.at), one.metrics),
}  # fmt: skip

workers_app = one_command(workers)
