"""Owns `panda what-if`: a task's last brokerage once more, with a site, threshold or the request changed."""

from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, one_command, print_facts, print_json
from panda.cli.remote import api
from panda.domain.views.answers import WhatIf


def what_if(
    task_id: Annotated[int, typer.Argument(metavar="TASK", help="The production task.", autocompletion=complete.tasks)],
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT.FIELD=VALUE...",
            help="BNL.memory_mb=8000, AGLT2.status=online, threshold.window_minimum_jobs=50, request.memory_mb=2000.",
        ),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Decide a task's last brokerage again over what it saw then, with changes; show what would be otherwise."""
    with api() as panda:
        answer = panda.ask("/api/v1/task/what_if", WhatIf, {"task_id": task_id, "changes": changes})
    if as_json:
        print_json(answer)
        return
    print(answer.title)
    for line in answer.lines:
        print(f"  {line}")
    print_facts(answer.candidates)


app = one_command(what_if)
