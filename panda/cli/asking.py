"""Owns what the commands that ask or steer have in common: options, tables and JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from panda.domain.views.answers import Facts

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many; without it all.")]
Offset = Annotated[int, typer.Option(min=0, help="Leave out so many at the beginning.")]

WIDE = 10_000
"""Columns of an output that is read by programs or kept in files."""


def one_command(function: Callable[..., None]) -> typer.Typer:
    """An app that is one command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return app


def print_json(found: object) -> None:
    """Print values as one JSON document; times are ISO 8601."""
    print(json.dumps(_plain(found), indent=2, default=str))


def print_json_line(found: object) -> None:
    """Print values as JSON in one line, at once: where document follows document, a line is one (JSON Lines)."""
    print(json.dumps(_plain(found), default=str), flush=True)


def _plain(found: object) -> Any:
    if is_dataclass(found) and not isinstance(found, type):
        return {one.name: _plain(getattr(found, one.name)) for one in fields(found)}
    if isinstance(found, dict):
        return {str(key): _plain(inner) for key, inner in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(one) for one in found]
    return found


def print_facts(facts: Facts) -> None:
    """Print a table that was made by a service."""
    print_table(facts.columns, facts.rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; nothing is cut off where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    table = Table(*columns, highlight=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table, markup=False)


def print_pairs(title: str, pairs: Sequence[tuple[str, object]]) -> None:
    """Print a thing's properties under its name, those that are empty left out."""
    print(title)
    shown = [(name, value) for name, value in pairs if value not in {None, ""}]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"  {name:<{width}}  {value}")


def tally(by_status: dict[str, int]) -> str:
    """Say how many are in which state."""
    return ", ".join(f"{n} {status}" for status, n in by_status.items()) or "none"
