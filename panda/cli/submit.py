"""Owns `panda submit`: a task or campaign file becomes production tasks, here or in ProdDB."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from panda.cli.asking import AsJson, connected, one_command, person, print_json, print_table
from panda.domain.campaign import Campaign, CampaignTask, parse_campaign, with_tag
from panda.domain.work import Split
from panda.errors import BadRequest, NotFound, PandaError
from panda.services import submit as service
from panda.services.context import Context


def submit(
    file: Annotated[Path, typer.Argument(help="A YAML file of one task, or of a campaign of tasks.")],
    *,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the file, as in evgen.split.n_events=500."),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Put into every name, so that the file can be run again.")] = None,
    proddb: Annotated[bool, typer.Option(help="Put it into ProdDB; Bamboo takes it from there.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what is wrong with it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit the production tasks of a file; nothing is stored unless all of them can run."""
    campaign = read_campaign(file, changes or [])
    if tag is not None:
        campaign = with_tag(campaign, tag)
    with connected() as ctx:
        for one in campaign.tasks:
            check(ctx, one)
        made = {} if dry_run else (_into_proddb(ctx, campaign) if proddb else _into_panda(ctx, campaign))
    if as_json:
        print_json({"dry_run": dry_run, "where": "proddb" if proddb else "panda", "tasks": made})
    elif dry_run:
        print(f"{file} is good: {len(campaign.tasks)} tasks, {', '.join(one.request.name for one in campaign.tasks)}.")
    else:
        names = {one.key: one.request.name for one in campaign.tasks}
        where = "TASKID in ProdDB" if proddb else "id"
        print_table(("task", where, "name"), [(key, number, names[key]) for key, number in made.items()])


def read_campaign(file: Path, changes: list[str]) -> Campaign:
    """Read and check a campaign file; raises NotFound, BadRequest or Refused that name the file and the place."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadRequest(f"{file} cannot be read as YAML: {error}") from error
    try:
        return parse_campaign(document, dict(_change(one) for one in changes))
    except PandaError as error:
        raise type(error)(f"{file}: {error.message}", error.hint) from error


def _change(text: str) -> tuple[str, Any]:
    key, equals, new = text.partition("=")
    if not key or not equals:
        raise BadRequest(f"--set {text!r} changes nothing.", "Write --set key=value, as in --set split.n_jobs=10.")
    try:
        return key, yaml.safe_load(new)
    except yaml.YAMLError as error:
        raise BadRequest(
            f"--set {key}: {new!r} is no YAML value.", "Put texts with special characters in quotes."
        ) from error


def check(ctx: Context, one: CampaignTask) -> None:
    """Ask whether the grid can ever run it; what its parent has not written yet is not asked for. Raises Refused."""
    request = one.request
    if one.parent is not None:
        request = replace(request, inputs=(), split=Split(n_jobs=1))
    try:
        service.check(ctx, request)
    except PandaError as error:
        raise type(error)(f"Task {one.key}: {error.message}", error.hint) from error


def _into_panda(ctx: Context, campaign: Campaign) -> dict[str, int]:
    made: dict[str, int] = {}
    for one in campaign.tasks:
        request = replace(one.request, parent_task=made[one.parent] if one.parent else None)
        made[one.key] = service.submit_task(ctx, request, person())
    return made


def _into_proddb(ctx: Context, campaign: Campaign) -> dict[str, int]:
    from panda.proddb import engine as proddb
    from panda.proddb.submit import add_task

    engine = proddb.connect(ctx.settings)
    try:
        proddb.check(engine)
        made: dict[str, int] = {}
        for one in campaign.tasks:
            made[one.key] = add_task(engine, one.request, parent=made[one.parent] if one.parent else None)
    finally:
        engine.dispose()
    return made


app = one_command(submit)
