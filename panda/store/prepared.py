"""Prepared statements for the hot calls: written once as text, planned once per connection, run with arrays.

psycopg2 binds on the client's side, so that the server would plan every execution anew: for a statement of eight parts
that costs more than running it for one pilot. `EXECUTE` skips it. Values of a batch travel as array literals.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from panda.store.joined import JoinedConnection

Given = TypeVar("Given")

_NAME = re.compile(r"(?<!:):([a-z_]+)")
_PREPARED = "panda_prepared"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement with parameters `:name`, each of whose types the statement itself says (by a cast)."""

    name: str
    text: str
    parameters: tuple[str, ...] = field(init=False)
    prepare: str = field(init=False)
    execute: str = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(dict.fromkeys(_NAME.findall(self.text)))
        numbered = _NAME.sub(lambda match: f"${names.index(match.group(1)) + 1}", self.text)
        object.__setattr__(self, "parameters", names)
        object.__setattr__(self, "prepare", f"PREPARE {self.name} AS {numbered}")
        places = ", ".join(["%s"] * len(names))
        object.__setattr__(self, "execute", f"EXECUTE {self.name} ({places})" if names else f"EXECUTE {self.name}")

    def run(self, connection: Connection, **values: object) -> Sequence[Any]:
        """All rows that the statement gives with these values.

        It goes to the driver directly, in the connection's transaction: what SQLAlchemy does around a statement costs
        as much as the statement itself. Errors are SQLAlchemy's all the same.
        """
        return self._run(connection, values)

    def run_last(self, connection: Connection, work: Callable[[], Given], **values: object) -> Given:
        """Run it as the transaction's last statement, and this work meanwhile; returns what the work gives.

        A connection of `panda.store.joined` commits with it; any other one does so when its transaction is left. The
        work must not use the connection. It is done once whatever happens, and if it fails, that is raised after the
        statement's end: what was written is kept all the same.
        """
        beside = Beside(work)
        self._run(connection, values, beside)
        return beside.result()

    def _run(
        self, connection: Connection, values: Mapping[str, object], beside: "Beside[Any] | None" = None
    ) -> Sequence[Any]:
        known = connection.info.setdefault(_PREPARED, set())
        given = tuple([values[name] for name in self.parameters])
        try:
            with closing(connection.connection.cursor()) as cursor:
                if self.name not in known:
                    cursor.execute(self.prepare)
                    known.add(self.name)
                if beside is not None:
                    beside.attach(connection)
                cursor.execute(self.execute, given)
                return cursor.fetchall() if cursor.description else ()
        except psycopg2.Error as error:
            raise DBAPIError.instance(self.execute, given, error, psycopg2.Error, dialect=connection.dialect) from error
        finally:
            if beside is not None:
                beside.detach()


class Beside(Generic[Given]):
    """Work that is done once: while the database is waited for if the connection can do that, else when asked for."""

    def __init__(self, work: Callable[[], Given]) -> None:
        self._work: Callable[[], Given] | None = work
        self._found: Given | None = None
        self._error: Exception | None = None
        self._attached: JoinedConnection | None = None

    def attach(self, connection: Connection) -> None:
        """Have it done while the next statement of this connection runs, its last one."""
        raw: object = connection.connection.dbapi_connection
        if isinstance(raw, JoinedConnection):
            self._attached = raw
            raw.meanwhile, raw.next_is_last = self._do, True

    def detach(self) -> None:
        """Have no later statement do it."""
        if self._attached is not None:
            self._attached.meanwhile, self._attached.next_is_last = None, False

    def result(self) -> Given:
        """What the work gives, or the error that it ended with."""
        self._do()
        if self._error is not None:
            raise self._error
        return cast("Given", self._found)

    def _do(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            try:
                self._found = work()
            except Exception as error:  # noqa: BLE001 - raised where the result is asked for: the driver is at work now
                self._error = error


def numbers(values: Iterable[int | float | None]) -> str:
    """Numbers as the text of an array; None is null."""
    return "{" + str(list(values))[1:-1].replace("None", "NULL") + "}"


def texts(values: Iterable[str | None]) -> str:
    """Texts as the text of an array; None is null."""
    every = list(values)
    if every and None not in every:
        plain = '","'.join(cast("list[str]", every))
        if "\\" not in plain and plain.count('"') == 2 * (len(every) - 1):
            return '{"' + plain + '"}'
    return "{" + ",".join(["NULL" if one is None else _quoted(one) for one in every]) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
