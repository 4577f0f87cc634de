"""Connections to ProdDB and the migrations of its schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text

from panda import embedded
from panda.errors import SchemaMismatch
from panda.proddb.schema import SCHEMA
from panda.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "version"


def connect(settings: Settings, *, application: str = "panda-proddb", pool_size: int = 2) -> Engine:
    """Make the engine for ProdDB; raises Unavailable if it is to lie in the embedded database and that does not run."""
    return make_engine(embedded.proddb_url(settings), application=application, pool_size=pool_size)


def make_engine(url: str, *, application: str = "panda-proddb", pool_size: int = 2) -> Engine:
    """Make the engine for an address. Statements see UTC."""
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={
            "application_name": application,
            "options": "-c timezone=UTC -c jit=off -c idle_in_transaction_session_timeout=600000",
            "connect_timeout": 10,
        },
    )


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring ProdDB's tables up to `revision` in one transaction; two callers wait for each other."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('proddb-migrations', 0))"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take migrations back to `revision` ("base": all of them)."""
    with engine.begin() as connection:
        command.downgrade(_config(connection), revision)


def revision_of(engine: Engine) -> tuple[str | None, str | None]:
    """Tell which revision ProdDB has and which this program wants."""
    wanted = ScriptDirectory.from_config(_config(None)).get_current_head()
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "version_table_schema": SCHEMA}
        return MigrationContext.configure(connection, opts=options).get_current_revision(), wanted


def check(engine: Engine) -> None:
    """Raise SchemaMismatch unless ProdDB has exactly the tables this program was written for."""
    found, wanted = revision_of(engine)
    if found != wanted:
        raise SchemaMismatch(
            f"the tables of ProdDB are at revision {found or 'none'}, this program wants {wanted}",
            hint="run 'panda db upgrade' with this version, or start the version that made them",
        )


def differences(engine: Engine) -> None:
    """Raise Alembic's error when ProdDB's tables are not those of `panda.proddb.schema`."""
    with engine.begin() as connection:
        command.check(_config(connection))


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
