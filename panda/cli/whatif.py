"""Owns `panda what-if`: a task's last brokerage once more, with a site, threshold or the request changed."""

from datetime import UTC, datetime
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
    at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"],
            help="The last brokerage until then (UTC) instead of the last one.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide a task's last brokerage again over what it saw then, with changes; show what would be otherwise."""
    order: dict[str, object] = {"task_id": task_id, "changes": changes}
    if at is not None:
        order["at"] = at.replace(tzinfo=UTC).isoformat()
    with api() as panda:
        answer = panda.ask("/api/v1/task/what_if", WhatIf, order)
    if as_json:
        print_json(answer)
        return
    print(answer.title)
    for line in answer.lines:
        print(f"  {line}")
    print_facts(answer.candidates)


app = one_command(what_if)
