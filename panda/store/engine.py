"""Connections to PanDA's database: the engine, its session settings, and the migrations of a schema."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg2.extensions import get_wait_callback, set_wait_callback
from sqlalchemy import Connection, Engine, MetaData, create_engine, text

MIGRATIONS = Path(__file__).parent / "migrations"
Branch = Literal["panda", "ddm"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a statement may take, and how long of that it may wait for a lock (s)."""

    statement_s: float
    lock_s: float


def make_engine(url: str, *, pool_size: int = 10, application: str = "panda", bounds: Bounds | None = None) -> Engine:
    """Make the engine for a PostgreSQL address. Statements see UTC and no JIT (performance.md 12).

    A number of a JSON column that 64 bits do not hold comes as a float, as it came: the database gives 1e30 as digits.
    With `bounds` the database itself ends a statement that takes too long; what it did is undone.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        json_deserializer=orjson.loads,
        connect_args=session_settings(application, bounds),
    )


def session_settings(application: str, bounds: Bounds | None = None) -> dict[str, object]:
    """What every connection of PanDA is opened with."""
    options = "-c timezone=UTC -c jit=off -c idle_in_transaction_session_timeout=600000"
    if bounds is not None:
        options += f" -c statement_timeout={bounds.statement_s * 1000:.0f} -c lock_timeout={bounds.lock_s * 1000:.0f}"
    return {
        "application_name": application,
        "options": options,
        "connect_timeout": 10,
    }


_ONE_COPY = threading.Lock()


@contextmanager
def blocking() -> Iterator[None]:
    """Let the driver wait in its own way while the block runs: COPY works in no other (psycopg2, "green" support).

    What else runs in the process meanwhile waits so too: batches of hot calls hold up their loop, no more.
    """
    with _ONE_COPY:
        callback = get_wait_callback()
        set_wait_callback(None)
        try:
            yield
        finally:
            set_wait_callback(callback)


@contextmanager
def advisory_lock(engine: Engine, key: str) -> Iterator[bool]:
    """Hold a lock of this name as long as the block runs; yields False when somebody else holds it."""
    with engine.connect() as connection:
        number = text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
        held = bool(connection.scalar(number, {"key": key}))
        connection.commit()
        try:
            yield held
        finally:
            if held:
                connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), {"key": key})
                connection.commit()


def _config(connection: Connection | None, branch: Branch, metadata: MetaData) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(MIGRATIONS / "versions" / branch))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, metadata=metadata, branch=branch)
    return config


def upgrade(engine: Engine, branch: Branch, metadata: MetaData, revision: str = "head") -> None:
    """Bring one schema up to `revision` (default: the newest) in one transaction; two callers wait for each other."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('panda-migrations', 0))"))
        if branch == "ddm":
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS ddm"))
        command.upgrade(_config(connection, branch, metadata), revision)


def downgrade(engine: Engine, branch: Branch, metadata: MetaData, revision: str) -> None:
    """Take migrations of one schema back to `revision`."""
    with engine.begin() as connection:
        command.downgrade(_config(connection, branch, metadata), revision)


def revision_of(engine: Engine, branch: Branch, metadata: MetaData) -> tuple[str | None, str | None]:
    """Tell which revision the database has and which this program wants."""
    wanted = ScriptDirectory.from_config(_config(None, branch, metadata)).get_current_head()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": f"{branch}_version"})
        return context.get_current_revision(), wanted


def make_migration(engine: Engine, branch: Branch, metadata: MetaData, name: str) -> None:
    """Write a migration from the difference between the database and the tables of this program."""
    with engine.begin() as connection:
        command.revision(_config(connection, branch, metadata), message=name, autogenerate=True)


def differences(engine: Engine, branch: Branch, metadata: MetaData) -> None:
    """Raise when the tables of the database are not those of this program (`alembic check`)."""
    with engine.begin() as connection:
        command.check(_config(connection, branch, metadata))
