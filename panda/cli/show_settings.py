"""Owns `panda settings`: the effective tree, so that nobody has to guess what a process sees, and its page."""

from collections.abc import Iterator, Mapping
from typing import Annotated, cast

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from panda.cli.asking import AsJson, print_json
from panda.settings import Settings, load, unknown_variables, variable_name

app = typer.Typer(add_completion=False)


@app.command()
def settings(
    *,
    changed: Annotated[bool, typer.Option(help="Show only what differs from its default.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print the page of the documentation: defaults and ranges.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every setting: its variable, its value and its meaning."""
    if markdown:
        print(settings_page(), end="")
        return
    shown = [one for one in _rows(load()) if one[1] != one[2] or not changed]
    if as_json:
        print_json([{"variable": variable, "value": value, "meaning": text} for variable, value, _, text in shown])
        return
    table = Table("variable", "value", "meaning", highlight=False)
    for variable, value, default, meaning in shown:
        table.add_row(variable, str(value), meaning, style="" if value == default else "bold")
    console = Console()
    console.print(table)
    for name, nearest in unknown_variables().items():
        console.print(f"{name} is no setting" + (f"; did you mean {nearest}?" if nearest else "."), style="yellow")


def settings_page() -> str:
    """The reference page of all settings in Markdown, made from the code alone."""
    lines = [
        "# Settings",
        "",
        "Made by `make docs` from `panda/settings.py`; `panda settings` shows the effective values.",
        "",
    ]
    top = {name: field for name, field in Settings.model_fields.items() if not _is_group(field)}
    lines += ["## General", "", *_section(top), ""]
    for name, field in Settings.model_fields.items():
        if _is_group(field) and isinstance(field.annotation, type):
            group = cast("type[BaseModel]", field.annotation)
            lines += [f"## {name.capitalize()}", "", group.__doc__ or "", "", *_section(group.model_fields, name), ""]
    return "\n".join(lines)


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _section(fields: Mapping[str, FieldInfo], *path: str) -> Iterator[str]:
    yield "| variable | default | range | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        limits = (
            f"{_SIGNS[key]} {getattr(rule, key)}" for rule in field.metadata for key in _SIGNS if hasattr(rule, key)
        )
        default = "" if field.default is None else f"`{field.default}`"
        yield f"| `{variable_name(*path, name)}` | {default} | {', '.join(limits)} | {field.description} |"


_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def _rows(group: BaseModel, *path: str) -> Iterator[tuple[str, object, object, str]]:
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, *path, name)
        else:
            secret = isinstance(value, SecretStr) or ("://" in str(value) and "@" in str(value))
            shown = "***" if secret else value
            yield variable_name(*path, name), shown, field.default, field.description or ""
