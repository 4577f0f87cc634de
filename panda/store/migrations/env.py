"""Alembic's environment: connection, tables and branch come from `panda.store.engine`, never from a file."""

from alembic import context

attributes = context.config.attributes
branch: str = attributes["branch"]


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Look only at the schema of this branch: PanDA's tables are in the default one, the DDM's in its own.

    The months of the archive are made as they come, not by migrations.
    """
    if kind == "schema":
        return name == ("ddm" if branch == "ddm" else None)
    return not (kind == "table" and (str(name).endswith("_version") or str(name).startswith("job_archive_")))


context.configure(
    connection=attributes["connection"],
    target_metadata=attributes["metadata"],
    version_table=f"{branch}_version",
    include_schemas=branch == "ddm",
    include_name=ours,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
