"""Owns `panda why`: the reason for where a task, bunch or job stands."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from panda.cli.asking import AsJson, connected, one_command, print_facts, print_json
from panda.services import explain
from panda.services.context import Context
from panda.services.explain import Explanation


class Kind(StrEnum):
    """What can be asked about."""

    TASK = "task"
    BUNCH = "bunch"
    JOB = "job"


_ASK: dict[Kind, Callable[[Context, int], Explanation]] = {
    Kind.TASK: explain.why_task,
    Kind.BUNCH: explain.why_bunch,
    Kind.JOB: explain.why_job,
}


def why(
    kind: Annotated[Kind, typer.Argument(help="What the number stands for.")],
    number: Annotated[int, typer.Argument(metavar="ID", help="Its number.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say why a task, bunch or job is where it is, and what would change it."""
    with connected() as ctx:
        answer = _ASK[kind](ctx, number)
    if as_json:
        print_json(answer)
        return
    print(answer.title)
    for line in answer.lines:
        print(f"  {line}")
    if answer.table is not None and answer.table.rows:
        print_facts(answer.table)


app = one_command(why)
