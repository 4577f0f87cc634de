"""Owns `panda settings`: the effective tree, so that nobody has to guess what a process sees."""

from collections.abc import Iterator
from typing import Annotated

import typer
from pydantic import BaseModel, SecretStr
from rich.console import Console
from rich.table import Table

from panda.settings import load, unknown_variables, variable_name

app = typer.Typer(add_completion=False)


@app.command()
def settings(
    *, changed: Annotated[bool, typer.Option(help="Show only what differs from its default.")] = False
) -> None:
    """Show every setting: its variable, its value and its meaning."""
    table = Table("variable", "value", "meaning", highlight=False)
    for variable, value, default, meaning in _rows(load()):
        if value != default or not changed:
            table.add_row(variable, str(value), meaning, style="" if value == default else "bold")
    console = Console()
    console.print(table)
    for name, nearest in unknown_variables().items():
        console.print(f"{name} is no setting" + (f"; did you mean {nearest}?" if nearest else "."), style="yellow")


def _rows(group: BaseModel, *path: str) -> Iterator[tuple[str, object, object, str]]:
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, *path, name)
        else:
            secret = isinstance(value, SecretStr) or ("://" in str(value) and "@" in str(value))
            shown = "***" if secret else value
            yield variable_name(*path, name), shown, field.default, field.description or ""
