"""Alembic's environment for ProdDB: the connection comes from `panda.proddb.engine`, never from a file."""

from alembic import context

from panda.proddb.engine import VERSION_TABLE
from panda.proddb.schema import SCHEMA, metadata


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Look only at ProdDB's schema, which may share a database with PanDA's tables."""
    return name == SCHEMA if kind == "schema" else not (kind == "table" and name == VERSION_TABLE)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=ours,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
