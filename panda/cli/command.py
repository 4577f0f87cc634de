"""Owns `panda command`: an operator's commands to Harvester instances, which fetch them within a minute or so."""

from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, print_json
from panda.cli.remote import api

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Instance = Annotated[str | None, typer.Option("--harvester", help="The instance; without it all that serve the queue.")]
Queue = Annotated[str, typer.Argument(help="The queue.", autocompletion=complete.queues)]


def _give(command: str, instance: str | None, as_json: bool, **values: object) -> None:
    order = {"command": command, "harvester": instance, **values}
    with api() as panda:
        given = panda.ask("/api/v1/harvester/give_command", list[tuple[int, str]], {"order": order})
    if as_json:
        print_json([{"id": number, "harvester": name, "command": command.upper()} for number, name in given])
        return
    for number, name in given:
        print(f"Command {number} waits for {name}: {command.upper()}")


@app.command("kill-workers")
def kill(
    queue: Queue,
    *,
    status: Annotated[list[str] | None, typer.Option(help="Of this status; may be repeated (submitted).")] = None,
    element: Annotated[list[str] | None, typer.Option("--ce", help="At this computing element only.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="Of this submission host only.")] = None,
    instance: Instance = None,
    as_json: AsJson = False,
) -> None:
    """Kill the workers of a queue (KILL_WORKERS); without options those that were submitted and wait."""
    conditions = {"statuses": status or [], "computing_elements": element or [], "submission_hosts": host or []}
    _give("kill_workers", instance, as_json, queue=queue, **conditions)


@app.command("kill-ids")
def kill_ids(
    instance: Annotated[str, typer.Argument(metavar="HARVESTER", help="The instance.")],
    workers: Annotated[list[int], typer.Argument(metavar="WORKER...", help="Its numbers of the workers.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Kill single workers (SYNC_WORKERS_KILL)."""
    _give("kill_ids", instance, as_json, workers=workers)


@app.command("set-workers")
def set_n(
    queue: Queue,
    number: Annotated[int, typer.Argument(metavar="N", min=0, max=100_000, help="New workers to submit.")],
    *,
    resource_type: Annotated[str, typer.Option(help="SCORE, MCORE, SCORE_HIMEM or MCORE_HIMEM.")] = "SCORE",
    job_type: Annotated[str, typer.Option(help="The kind of work, as the instance names it.")] = "managed",
    instance: Instance = None,
    as_json: AsJson = False,
) -> None:
    """Have new workers submitted at a queue that is steered from here (SET_N_WORKERS_JOBTYPE)."""
    kind = {"job_type": job_type, "resource_type": resource_type}
    _give("set_workers", instance, as_json, queue=queue, number=number, **kind)


@app.command("report-statistics")
def report(queue: Queue, *, instance: Instance = None, as_json: AsJson = False) -> None:
    """Have the numbers of a queue's workers told at once (REPORT_WORKER_STATS)."""
    _give("report_statistics", instance, as_json, queue=queue)
