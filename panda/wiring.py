"""The composition root: settings become a Context; which implementation stands behind which port."""

from datetime import UTC, datetime

from sqlalchemy import Engine, MetaData

from panda import embedded
from panda.ddm.embedded import EmbeddedDdm
from panda.ddm.embedded import schema as ddm_schema
from panda.errors import SchemaMismatch
from panda.proddb import engine as proddb_engine
from panda.services.context import Context
from panda.settings import Settings
from panda.store import engine as store_engine
from panda.store import schema as panda_schema
from panda.store.engine import Bounds

__all__ = [
    "METADATA",
    "Bounds",
    "check_schema",
    "connect",
    "production_database",
    "upgrade_schema",
]

METADATA: dict[store_engine.Branch, MetaData] = {"panda": panda_schema.metadata, "ddm": ddm_schema.metadata}


def connect(
    settings: Settings,
    *,
    application: str = "panda",
    pool_size: int = 10,
    check: bool = True,
    bounds: Bounds | None = None,
) -> Context:
    """Connect to everything; raises Unavailable when the database does not run, SchemaMismatch when it is too old."""
    engine = store_engine.make_engine(
        embedded.database_url(settings), application=application, pool_size=pool_size, bounds=bounds
    )
    ctx = Context(engine=engine, ddm=EmbeddedDdm(engine), settings=settings, clock=lambda: datetime.now(UTC))
    if check:
        check_schema(ctx)
    return ctx


def upgrade_schema(ctx: Context) -> None:
    """Bring PanDA's, the DDM's and ProdDB's tables up to this program."""
    for branch, metadata in METADATA.items():
        store_engine.upgrade(ctx.engine, branch, metadata)


def check_schema(ctx: Context) -> None:
    """Raise SchemaMismatch unless the database has exactly the tables this program was written for."""
    for branch, metadata in METADATA.items():
        found, wanted = store_engine.revision_of(ctx.engine, branch, metadata)
        if found != wanted:
            raise SchemaMismatch(
                f"the {branch} tables of the database are at revision {found or 'none'}, this program wants {wanted}",
                hint="run 'panda db upgrade' with this version, or start the version that made them",
            )


def production_database(settings: Settings) -> Engine:
    """Connect to ProdDB; the caller disposes of the engine."""
    return proddb_engine.connect(settings)
