"""One snapshot for one page: read only, repeatable, and stopped when it would take the database too long."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, text

from panda.domain.pattern import Pattern

TIMEOUT_MS = 10_000
IDLE_MS = 30_000
"""A page that is stopped between two statements gives its snapshot back: an old one keeps dead rows alive."""
Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time; what ended counts when it ended in it, what lives counts always."""

    since: datetime
    until: datetime


@dataclass(slots=True)
class Clauses:
    """Conditions that grow with their values; names of values never meet."""

    sql: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def like(self, expression: str, pattern: Pattern) -> None:
        """Add that an expression (never null) is let through by a filter."""
        if pattern.wanted:
            literal = [one.literal for one in pattern.wanted]
            if None in literal:
                self._add(f"{expression} LIKE ANY (:{{}})", [one.like for one in pattern.wanted])
            else:
                self._add(f"{expression} = ANY (:{{}})", literal)
        if pattern.unwanted:
            self._add(f"NOT {expression} LIKE ANY (:{{}})", [one.like for one in pattern.unwanted])

    def those_of(self, expressions: Mapping[str, str], filters: Mapping[str, Pattern]) -> None:
        """Add all filters whose names have an expression here."""
        for name, pattern in filters.items():
            if name in expressions:
                self.like(expressions[name], pattern)

    def among(self, expression: str, numbers: tuple[int, ...]) -> None:
        """Add that a number is one of these."""
        self._add(f"{expression} = ANY (CAST(:{{}} AS bigint[]))", list(numbers))

    def _add(self, form: str, value: object) -> None:
        name = f"clause_{len(self.values)}"
        self.sql.append(form.format(name))
        self.values[name] = value

    @property
    def both(self) -> str:
        """All conditions, joined; true if there is none."""
        return " AND ".join(self.sql) or "true"


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one moment of the database and cannot change it."""
    with engine.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.execute(
            text(
                f"SET LOCAL statement_timeout = {TIMEOUT_MS}; SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"
            )
        )
        yield connection


def now(connection: Connection) -> datetime:
    """Tell the moment of the snapshot, by the database's clock."""
    moment: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return moment


def rows(connection: Connection, statement: str, values: Mapping[str, Any] | None = None) -> list[Row]:
    """Execute a statement of the monitor."""
    return [dict(row) for row in connection.execute(text(statement), dict(values or {})).mappings()]
