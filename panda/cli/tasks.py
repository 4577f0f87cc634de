"""Owns `panda tasks`, `panda task` and `panda datasets`: what production tasks and their data do."""

from collections.abc import Sequence
from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, Limit, Offset, one_command, print_json, print_pairs, print_table, tally
from panda.cli.remote import api
from panda.domain.states import FINAL_TASK, TaskStage
from panda.domain.views.work import DatasetView, TaskInputView, TaskView, TransferSummary, WholeTask
from panda.domain.words import awaited, clock, size


def tasks(
    name: Annotated[str | None, typer.Argument(help="Only names like this; * stands for any characters.")] = None,
    *,
    live: Annotated[bool, typer.Option(help="Only tasks that have not ended.")] = False,
    stage: Annotated[list[TaskStage] | None, typer.Option(help="Only this stage; may be given several times.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only this campaign.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner.")] = None,
    cloud: Annotated[str | None, typer.Option(help="Only this cloud.")] = None,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List production tasks, the newest first."""
    with api() as panda:
        found = panda.look(
            "tasks", list[TaskView], name=name, live=live, stage=stage, campaign=campaign, owner=owner, cloud=cloud,
            limit=limit, offset=offset,
        )  # fmt: skip
    if as_json:
        print_json(found)
        return
    rows = [
        (one.id, one.name, stage_of(one), one.cloud, one.priority, tally(one.jobs), awaited(one.waits_for) or one.error)
        for one in found
    ]
    print_table(("id", "name", "stage", "cloud", "priority", "jobs", "waits for"), rows)


def task(
    task_id: Annotated[
        int, typer.Argument(metavar="ID", help="The production task's number.", autocompletion=complete.tasks)
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one production task: its state, jobs, data and transfers."""
    with api() as panda:
        whole = panda.look("task", WholeTask, task_id=task_id)
    if as_json:
        print_json(whole)
        return
    print_pairs(f"Task {task_id} {whole.task.name}: {stage_of(whole.task)}", _properties(whole.task))
    _print_data(whole.inputs, whole.datasets, whole.transfers)


def datasets(
    pattern: Annotated[str | None, typer.Argument(help="Only names like this; * stands for any characters.")] = None,
    *,
    task_id: Annotated[
        int | None, typer.Option("--task", help="Only what this task reads and writes.", autocompletion=complete.tasks)
    ] = None,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the datasets that production tasks read and write."""
    with api() as panda:
        found = panda.look("datasets", list[DatasetView], name=pattern, task_id=task_id, limit=limit, offset=offset)
    if as_json:
        print_json(found)
        return
    _print_datasets(found)


def stage_of(one: TaskView) -> str:
    """Say a task's stage, and that it is on hold."""
    return f"{one.stage.value}, on hold" if one.hold and one.stage not in FINAL_TASK else one.stage.value


def _properties(one: TaskView) -> list[tuple[str, object]]:
    limits = f"{one.cores} cores, {one.memory_mb} MB memory, {one.disk_mb} MB disk"
    return [
        ("jobs", tally(one.jobs)), ("waits for", awaited(one.waits_for)), ("hold", one.hold), ("error", one.error),
        ("cloud", one.cloud), ("site asked for", one.preset_site or ", ".join(one.sites)),
        ("sites excluded", ", ".join(one.excluded_sites)), ("owner", f"{one.owner} ({one.vo})"),
        ("campaign", one.campaign), ("type", f"{one.task_type}, {one.processing_type}, {one.label}"),
        ("priority", one.priority), ("program", f"{one.transformation} of {one.release or 'no release'}"),
        ("parameters", one.parameters), ("each job", limits), ("attempts", one.max_attempts),
        ("parent", one.parent_id), ("in ProdDB", one.proddb_task), ("data management", one.ddm_mode),
        ("submitted", clock(one.submitted_at)), ("ended", clock(one.ended_at) if one.ended_at else None),
    ]  # fmt: skip


def _print_data(reads: Sequence[TaskInputView], data: Sequence[DatasetView], moves: Sequence[TransferSummary]) -> None:
    if reads:
        print_table(
            ("reads", "as", "files", "state", "made by task"),
            [(one.dataset, one.stream, one.n_files, one.state or "not read yet", one.made_by) for one in reads],
        )
    if data:
        _print_datasets(data)
    if moves:
        kinds = {"dis": "inputs to", "sub": "outputs from"}
        print_table(
            ("transfers", "site", "state", "blocks", "files", "size"),
            [(kinds[one.kind], one.site, one.state, one.n, one.n_files, size(one.bytes)) for one in moves],
        )


def _print_datasets(found: Sequence[DatasetView]) -> None:
    rows = [(one.name, one.kind, one.state, one.n_files, size(one.bytes), one.task_id) for one in found]
    print_table(("dataset", "kind", "state", "files", "size", "made by task"), rows)


tasks_app, task_app, datasets_app = one_command(tasks), one_command(task), one_command(datasets)
