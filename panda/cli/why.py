"""Owns `panda why`: the reason for where a task, bunch, job, site, pilot or dataset stands."""

from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, one_command, print_facts, print_json
from panda.cli.remote import api
from panda.domain.views.answers import Explanation, Kind


def why(
    kind: Annotated[Kind, typer.Argument(help="What the name stands for.")],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A number, site, dataset, or FACTORY:NUMBER of a pilot.",
            autocompletion=complete.things,
        ),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Say why a task, bunch, job, site, pilot or dataset is as it is, and what would change it."""
    with api() as panda:
        answer = panda.look("why", Explanation, kind=kind.value, name=name)
    if as_json:
        print_json(answer)
        return
    print(answer.title)
    for line in answer.lines:
        print(f"  {line}")
    if answer.table is not None and answer.table.rows:
        print_facts(answer.table)


app = one_command(why)
