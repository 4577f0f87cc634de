"""Owns `panda fetch`: copies of a task's outputs in a folder."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from panda.cli.asking import connected, one_command
from panda.services import download


def fetch(
    task_id: Annotated[int, typer.Argument(metavar="TASK", help="The production task.")],
    *,
    to: Annotated[Path, typer.Option(help="Folder for the files; made if it is not there.")] = Path(),
    logs: Annotated[bool, typer.Option("--logs", help="The log files too.")] = False,
) -> None:
    """Copy the outputs of a production task into a folder."""
    to.mkdir(parents=True, exist_ok=True)
    with connected() as ctx:
        found = download.outputs(ctx, task_id, logs=logs)
        for one in found:
            shutil.copyfile(download.output_path(ctx, task_id, one.lfn), to / one.lfn)
            typer.echo(f"{one.dataset}  {one.lfn}")
    typer.echo(f"{len(found)} files in {to}")


app = one_command(fetch)
