"""What a page is made of: blocks of plain values, which are shown as HTML, JSON or CSV alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from panda_api.monitor.charts import Drawing, Matrix, Plot, Progress

Row: TypeAlias = Mapping[str, Any]
Link: TypeAlias = Callable[[Row], str | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in the rows, title, how a value is shown (see cells.html), where a value leads.

    `tone` says whether a value is `good`, `warn` or `alert`; `hint` explains the column; `sort` is its name in orders.
    """

    key: str
    title: str
    kind: str = "text"
    link: Link | None = None
    tone: Callable[[Row], str | None] | None = None
    hint: str = ""
    sort: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with columns; `total` says how many there are where only a part is shown."""

    KIND: ClassVar[str] = "table"
    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    total: int | None = None
    paged: bool = False
    note: str = ""
    empty: str = "Nothing."
    group: str = ""

    def data(self) -> dict[str, object]:
        """The rows as programs read them."""
        rows = [{column.key: row.get(column.key) for column in self.columns} for row in self.rows]
        if self.group:
            rows = [
                {"level": row["_level"], "of": row["_of"], **shown} for row, shown in zip(self.rows, rows, strict=True)
            ]
        return {"total": len(rows) if self.total is None else self.total, "rows": rows}


@dataclass(frozen=True, slots=True)
class Tile:
    """One number that stands out."""

    key: str
    title: str
    value: Any
    kind: str = "int"
    link: str | None = None
    tone: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Numbers that stand out, in a row."""

    KIND: ClassVar[str] = "tiles"
    name: str
    tiles: Sequence[Tile]
    title: str = ""

    def data(self) -> dict[str, object]:
        """Numbers by key."""
        return {one.key: one.value for one in self.tiles}


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of an attribute, how many have it, and the address of the list of those."""

    value: str
    n: int
    link: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Facet:
    """An attribute with its commonest values; `values` says how many there are."""

    name: str
    choices: Sequence[Choice]
    values: int


@dataclass(frozen=True, slots=True)
class Facets:
    """The attribute summary of a list: every value is a filter."""

    KIND: ClassVar[str] = "facets"
    name: str
    facets: Sequence[Facet]
    title: str = "By attribute"

    def data(self) -> dict[str, object]:
        """How many per value, by attribute."""
        return {one.name: {choice.value: choice.n for choice in one.choices} for one in self.facets}


@dataclass(frozen=True, slots=True)
class Fact:
    """One property of a thing."""

    key: str
    title: str
    value: Any
    kind: str = "text"
    link: str | None = None
    tone: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of a thing."""

    KIND: ClassVar[str] = "facts"
    name: str
    title: str
    facts: Sequence[Fact]

    def data(self) -> dict[str, object]:
        """Values by key."""
        return {one.key: one.value for one in self.facts}


@dataclass(frozen=True, slots=True)
class Prose:
    """Sentences, or text as it stands (`verbatim`)."""

    KIND: ClassVar[str] = "prose"
    name: str
    title: str
    lines: Sequence[str]
    verbatim: bool = False
    note: str = ""

    def data(self) -> list[str]:
        """The lines."""
        return list(self.lines)


Block: TypeAlias = Table | Tiles | Plot | Facets | Facts | Prose | Progress | Matrix | Drawing


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title, what it is about, blocks in the order of reading; `main` names the table that CSV gives."""

    title: str
    blocks: Sequence[Block]
    about: str = ""
    place: str = ""
    main: str = ""
    status: str | None = None
    links: Sequence[tuple[str, str]] = field(default=())

    def block(self, name: str) -> Block:
        """The block of this name."""
        return next(one for one in self.blocks if one.name == name)
