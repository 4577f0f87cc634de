"""Blocks of a page that are drawn: curves, bars, matrices and lineages, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a plot; `look` names its colour."""

    key: str
    title: str
    values: Sequence[float | None]
    look: str
    bars: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves over time (`at`: seconds since 1970, UTC)."""

    KIND: ClassVar[str] = "plot"
    name: str
    title: str
    at: Sequence[float]
    lines: Sequence[Line]
    unit: str = "jobs"
    small: bool = False

    def data(self) -> dict[str, object]:
        """Times and values by key of the curve."""
        return {"at": list(self.at), **{one.key: list(one.values) for one in self.lines}}

    def drawn(self) -> dict[str, object]:
        """What the page's script draws."""
        lines = [{"title": one.title, "look": one.look, "bars": one.bars, "values": one.values} for one in self.lines]
        return {"at": list(self.at), "lines": lines, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a whole; `look` names its colour."""

    key: str
    n: int
    look: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A whole with its parts, as one bar."""

    KIND: ClassVar[str] = "progress"
    name: str
    title: str
    parts: Sequence[Part]
    note: str = ""

    def data(self) -> dict[str, object]:
        """Numbers by key."""
        return {one.key: one.n for one in self.parts}


@dataclass(frozen=True, slots=True)
class Square:
    """A cell of a matrix: what is written in it, how strong it is coloured (0 to 1) and how (good, warn, alert)."""

    text: str
    value: Any
    strength: float = 0.0
    tone: str = "plain"
    link: str | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """Another way to look at the same matrix, and its address."""

    title: str
    link: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows by columns; cells that are missing are empty. `views` are what may be written in the cells instead."""

    KIND: ClassVar[str] = "matrix"
    name: str
    title: str
    down: Sequence[str]
    across: Sequence[str]
    cells: Mapping[tuple[str, str], Square]
    note: str = ""
    down_title: str = ""
    across_title: str = ""
    views: Sequence[View] = ()

    def data(self) -> list[dict[str, object]]:
        """One entry per cell that is not empty."""
        return [{"row": row, "column": column, "value": one.value} for (row, column), one in self.cells.items()]


@dataclass(frozen=True, slots=True)
class Node:
    """A box of a drawing, in a column (from the left, 0)."""

    key: str
    title: str
    column: int
    note: str = ""
    look: str = ""
    link: str | None = None
    here: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes and arrows from left to right."""

    KIND: ClassVar[str] = "drawing"
    name: str
    title: str
    nodes: Sequence[Node]
    edges: Sequence[tuple[str, str]]
    note: str = ""

    def data(self) -> dict[str, object]:
        """Boxes and arrows."""
        nodes = [{"key": one.key, "title": one.title, "note": one.note} for one in self.nodes]
        return {"nodes": nodes, "edges": [list(one) for one in self.edges]}
