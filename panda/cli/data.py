"""Owns `panda files`, `panda transfers` and `panda errors`: where data is, what moves, and what fails."""

from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, Limit, Offset, one_command, print_json, print_table
from panda.cli.remote import api
from panda.domain.views.data import BlockView, FileView
from panda.domain.views.failures import Failures
from panda.domain.words import clock, size, span
from panda.errors import BadRequest

TaskOption = Annotated[
    int | None, typer.Option("--task", help="Only of this production task.", autocompletion=complete.tasks)
]
SiteOption = Annotated[str | None, typer.Option(help="Only this site.", autocompletion=complete.sites)]


def files(
    dataset: Annotated[str | None, typer.Argument(help="The dataset.", autocompletion=complete.datasets)] = None,
    *,
    task_id: TaskOption = None,
    lfn: Annotated[str | None, typer.Option(help="Only names like this; * stands for any characters.")] = None,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the files of a dataset or task: size, checksum, the job that made each, where copies are."""
    if dataset is None and task_id is None:
        raise BadRequest("Whose files?", "Name a dataset, or --task ID.")
    with api() as panda:
        found = panda.look(
            "files", list[FileView], dataset=dataset, task_id=task_id, lfn=lfn, limit=limit, offset=offset
        )
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.lfn, one.dataset, one.state, size(one.bytes or 0), one.events, one.adler32, one.guid, one.job_id,
            ", ".join(one.replicas),
        )
        for one in found
    ]  # fmt: skip
    print_table(("file", "dataset", "state", "size", "events", "adler32", "GUID", "made by job", "copies at"), rows)


def transfers(
    *,
    task_id: TaskOption = None,
    site: SiteOption = None,
    every: Annotated[bool, typer.Option("--all", help="Those that ended, too.")] = False,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the blocks of files on their way, with what arrived and the last error of each."""
    with api() as panda:
        found = panda.look(
            "transfers", list[BlockView], task_id=task_id, site=site, ended=every, limit=limit, offset=offset
        )
    if as_json:
        print_json(found)
        return
    kinds = {"dis": "inputs", "sub": "outputs"}
    rows = [
        (
            one.name, kinds[one.kind], one.task_id, one.rse, one.transfer or one.state,
            f"{one.arrived} of {one.n_files}" if one.arrived is not None else one.n_files, one.stuck, size(one.bytes),
            clock(one.asked_at), one.error,
        )
        for one in found
    ]  # fmt: skip
    columns = ("block", "of", "task", "to", "state", "files", "stuck", "size", "asked for", "last error")
    print_table(columns, rows)


def errors(
    *,
    hours: Annotated[float, typer.Option(min=0.1, help="Only of the last hours.")] = 12.0,
    task_id: TaskOption = None,
    site: SiteOption = None,
    node: Annotated[str | None, typer.Option(help="Only this worker node.")] = None,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List what jobs fail with, equal errors together, and the worker nodes and sites where they fail."""
    with api() as panda:
        found = panda.look(
            "errors", Failures, hours=hours, task_id=task_id, site=site, node=node, limit=limit, offset=offset
        )
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.jobs, f"{one.component} {one.code}", one.words, ", ".join(one.sites), ", ".join(one.nodes),
            ", ".join(map(str, one.tasks)), span(one.wall_s), clock(one.last), one.sample,
        )
        for one in found.errors
    ]  # fmt: skip
    print_table(("jobs", "error", "text", "sites", "nodes", "tasks", "wall time lost", "last", "e.g. job"), rows)
    nodes = [
        (one.site, one.node, one.failed, one.finished, "black hole" if one.black_hole else "")
        for one in found.nodes
        if one.failed
    ]
    print_table(("site", "worker node", "failed", "finished", "verdict"), nodes)
    print_table(("site", "failed", "finished"), [(one.site, one.failed, one.finished) for one in found.sites])


files_app, transfers_app, errors_app = one_command(files), one_command(transfers), one_command(errors)
