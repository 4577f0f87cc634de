"""Owns `panda fetch`: copies of a task's outputs in a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, one_command, print_json
from panda.cli.remote import Api, api


def fetch(
    task_id: Annotated[int, typer.Argument(metavar="TASK", help="The production task.", autocompletion=complete.tasks)],
    *,
    to: Annotated[Path, typer.Option(help="Folder for the files; made if it is not there.")] = Path(),
    logs: Annotated[bool, typer.Option("--logs", help="The log files too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the outputs of a production task into a folder."""
    with api() as panda:
        found = list(_outputs(panda, task_id, ["output", "log"] if logs else ["output"]))
        to.mkdir(parents=True, exist_ok=True)
        for dataset, lfn in found:
            panda.download("/api/v1/task/get_output_file", to / lfn, task_id=task_id, lfn=lfn)
            if not as_json:
                typer.echo(f"{dataset}  {lfn}")
    if as_json:
        print_json({"folder": str(to), "files": [{"dataset": dataset, "lfn": lfn} for dataset, lfn in found]})
    else:
        typer.echo(f"{len(found)} files in {to}")


def _outputs(panda: Api, task_id: int, kinds: list[str]) -> Iterator[tuple[str, str]]:
    """Dataset and LFN of each file that is in a dataset of the task."""
    answer = panda.get("/api/v1/task/get_datasets_and_files", task_id=task_id, dataset_types=kinds)
    datasets: list[dict[str, Any]] = answer.data
    for one in datasets:
        for file in one["files"]:
            if file["status"] == "finished":
                yield one["dataset"]["name"], Path(file["lfn"]).name


app = one_command(fetch)
