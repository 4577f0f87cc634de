"""Owns `panda submit`: a task or campaign file, or options, become production tasks, here or in ProdDB."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from panda.cli.asking import AsJson, one_command, print_facts, print_json, print_pairs, print_table
from panda.cli.remote import Api, api
from panda.domain.campaign import Campaign, parse_campaign, with_tag
from panda.domain.views.answers import Preview
from panda.domain.words import size
from panda.domain.work import TaskRequest, nearest_template
from panda.errors import BadRequest, NotFound, PandaError

PLACE = "the options"
OURS = ("proddb_task", "wire_parameters", "build")
"""Fields of a request that the API fills in itself, or that only users' clients send."""


FileArgument = Annotated[
    Path | None, typer.Argument(help="A YAML file of one task, or of a campaign of tasks; without it: options.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any value, as in evgen.split.n_events=500.")
]
ProdDb = Annotated[bool, typer.Option(help="Put it into this machine's ProdDB; Bamboo takes it from there.")]
DryRun = Annotated[bool, typer.Option(help="Show jobs, cloud and first site as they would be; store nothing.")]
Outputs = Annotated[list[str] | None, typer.Option(metavar="DATASET=LFN", help="An output; LFN with ${SN}.")]


def submit(
    file: FileArgument = None,
    *,
    changes: Changes = None,
    name: Annotated[str | None, typer.Option(help="The task's name (of one task).")] = None,
    transformation: Annotated[str | None, typer.Option(help="The program of the release that jobs run.")] = None,
    parameters: Annotated[
        str | None, typer.Option(help="Its arguments; ${SEED}, ${IN}, ${OUT0} are filled in.")
    ] = None,
    release: Annotated[str | None, typer.Option(help="Software release, as installed at the sites.")] = None,
    output: Outputs = None,
    log: Annotated[str | None, typer.Option(metavar="DATASET=LFN", help="The log; LFN with ${SN}.")] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", metavar="DATASET", help="An input dataset.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Number of jobs.")] = None,
    files_per_job: Annotated[int | None, typer.Option(min=1, help="Input files of each job.")] = None,
    events_per_job: Annotated[int | None, typer.Option(min=1, help="Events of each job.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, help="The higher, the sooner.")] = None,
    tag: Annotated[str | None, typer.Option(help="Put into every name, so that the file can be run again.")] = None,
    proddb: ProdDb = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Submit the production tasks of a file, or one given by options; nothing is stored unless all of them can run."""
    told = _options(
        {
            "name": name, "transformation": transformation, "parameters": parameters, "release": release,
            "priority": priority, "split.n_jobs": jobs, "split.files_per_job": files_per_job,
            "split.events_per_job": events_per_job,
        },
        output, log, inputs,
    )  # fmt: skip
    campaign = read_campaign(file, changes or [], told)
    if tag is not None:
        campaign = with_tag(campaign, tag)
    with api() as panda:
        looks = previews(panda, campaign)
        made = {} if dry_run else (_into_proddb(campaign) if proddb else _into_panda(panda, campaign))
    if as_json:
        where, shown = "proddb" if proddb else "panda", looks if dry_run else {}
        print_json({"dry_run": dry_run, "where": where, "tasks": made, "previews": shown})
    elif dry_run:
        _print_previews(str(file or PLACE), looks)
    else:
        _print_made(campaign, made, "TASKID in ProdDB" if proddb else "id")


def _print_made(campaign: Campaign, made: Mapping[str, int], where: str) -> None:
    names = {one.key: one.request.name for one in campaign.tasks}
    print_table(("task", where, "name"), [(key, number, names[key]) for key, number in made.items()])


# --- what is asked for ----------------------------------------------------------------------------------------------
def _options(
    plain: Mapping[str, object], outputs: list[str] | None, log: str | None, inputs: list[str] | None
) -> dict[str, object]:
    """Turn options into changes of the document, as --set gives them."""
    told = {key: value for key, value in plain.items() if value is not None}
    if outputs or log:
        made = [_output(f"OUT{number}", text, "output") for number, text in enumerate(outputs or ())]
        told["outputs"] = made + ([_output("LOG", log, "log")] if log else [])
    if inputs:
        told["inputs"] = [{"stream": "IN", "datasets": inputs}]
    return told


def _output(name: str, text: str, kind: str) -> dict[str, str]:
    dataset, equals, lfn = text.partition("=")
    if not equals:
        lfn = nearest_template(f"{dataset}.{'tgz' if kind == 'log' else 'root'}")
    return {"name": name, "dataset": dataset, "lfn": lfn, "kind": kind}


def read_campaign(file: Path | None, changes: list[str], options: Mapping[str, object] | None = None) -> Campaign:
    """Read and check a campaign file, or none but options; raises errors that name the file and the place in it."""
    if file is None and not options:
        raise BadRequest(
            "There is nothing to submit.", "Name a file, or give --name, --transformation, --output, --jobs."
        )
    document = {"tasks": {"task": {}}} if file is None else _document(file)
    try:
        return parse_campaign(document, {**dict(_change(one) for one in changes), **(options or {})})
    except PandaError as error:
        raise type(error)(f"{file or PLACE}: {error.message}", error.hint) from error


def _document(file: Path) -> object:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.", "Name a YAML file of a task or of a campaign of tasks.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadRequest(f"{file} cannot be read as YAML: {error}") from error


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


# --- the calls ------------------------------------------------------------------------------------------------------
def previews(panda: Api, campaign: Campaign) -> dict[str, Preview]:
    """Ask what every task of a campaign would become; a child's input is what its parent's preview makes.

    Raises Refused that names the task, if one of them could never run.
    """
    found: dict[str, Preview] = {}
    for one in campaign.tasks:
        body: dict[str, object] = {"request": _form(one.request)}
        if one.parent is not None:
            body["expected"] = _expected(found[one.parent])
        try:
            found[one.key] = panda.ask("/api/v1/task/preview", Preview, body)
        except PandaError as error:
            raise type(error)(f"Task {one.key}: {error.message}", error.hint) from error
    return found


def _expected(parent: Preview) -> dict[str, int]:
    """Say how many files, and with how many events each, a parent would make: one of each output per job."""
    first = parent.first[0].n_events if parent.first else None
    return {"files": parent.jobs} | ({"events_per_file": first} if first else {})


def _form(request: TaskRequest) -> dict[str, object]:
    return {key: value for key, value in asdict(request).items() if key not in OURS}


def _into_panda(panda: Api, campaign: Campaign) -> dict[str, int]:
    made: dict[str, int] = {}
    for one in campaign.tasks:
        request = replace(one.request, parent_task=made[one.parent] if one.parent else None)
        made[one.key] = int(panda.post("/api/v1/task/submit", {"request": _form(request)}).data)
    return made


def _into_proddb(campaign: Campaign) -> dict[str, int]:
    from panda.proddb import engine as proddb
    from panda.proddb.submit import add_task
    from panda.settings import load

    engine = proddb.connect(load())
    try:
        proddb.check(engine)
        made: dict[str, int] = {}
        for one in campaign.tasks:
            made[one.key] = add_task(engine, one.request, parent=made[one.parent] if one.parent else None)
    finally:
        engine.dispose()
    return made


# --- for people -----------------------------------------------------------------------------------------------------
def _print_previews(source: str, looks: Mapping[str, Preview]) -> None:
    for key, one in looks.items():
        _print_preview(key, one)
    print(f"{source} is good: {len(looks)} tasks, {', '.join(one.name for one in looks.values())}. Nothing was stored.")


def _print_preview(key: str, one: Preview) -> None:
    files = f"{one.input_files} ({size(one.input_bytes)})" if one.input_bytes else one.input_files or None
    print_pairs(
        f"Task {key} {one.name}",
        [
            ("jobs", f"{one.jobs} in {one.bunches} bunches: {one.rule}"), ("input files", files),
            ("cloud now", one.cloud.chosen or "none"), ("because", one.cloud.words),
            ("first site now", (one.site.chosen or "none") if one.site is not None else None),
            ("since", one.site.words if one.site is not None else None),
        ],
    )  # fmt: skip
    rows = [(job.number, job.parameters, ", ".join(job.inputs), ", ".join(job.outputs)) for job in one.first]
    print_table(("job", "parameters", "reads", "writes"), rows)
    print_facts(one.cloud.candidates)
    if one.site is not None:
        print_facts(one.site.candidates)


app = one_command(submit)
