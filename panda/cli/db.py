"""Owns `panda db`: the migrations of all tables of this system, PanDA's, the DDM's and ProdDB's."""

import tempfile
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from panda import wiring
from panda.embedded import EmbeddedCluster
from panda.errors import BadRequest
from panda.proddb import engine as proddb_engine
from panda.settings import Settings, load
from panda.store import engine as store_engine

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Apply or check the migrations of the tables.")


@app.command()
def upgrade() -> None:
    """Bring all tables up to this program; does nothing if they are. Safe to run twice and at the same time."""
    upgrade_all(load())
    typer.echo("The tables of PanDA, the DDM and ProdDB are up to date.")


def upgrade_all(settings: Settings) -> None:
    """Apply every migration that is missing, in all three schemas."""
    ctx = wiring.connect(settings, application="panda-db", check=False)
    wiring.upgrade_schema(ctx)
    ctx.close()
    production = proddb_engine.connect(settings)
    proddb_engine.upgrade(production)
    production.dispose()


@app.command()
def check() -> None:
    """End with 0 if all tables are those of this program; say which are not otherwise."""
    settings = load()
    wiring.connect(settings, application="panda-db").close()
    production = proddb_engine.connect(settings)
    proddb_engine.check(production)
    production.dispose()
    typer.echo("The tables of PanDA, the DDM and ProdDB are those of this program.")


@app.command()
def migration(
    name: Annotated[str, typer.Argument(help="What changes, in a few words.")],
    *,
    branch: Annotated[str, typer.Option(help="panda or ddm.")] = "panda",
) -> None:
    """Write a migration: what has to change in tables made by the present migrations to be those of the code."""
    if not name or branch not in get_args(store_engine.Branch):
        raise BadRequest(
            "A migration needs a NAME and a BRANCH.", "As in: make migration NAME='jobs have colours' BRANCH=panda"
        )
    known = cast("store_engine.Branch", branch)
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        cluster = EmbeddedCluster(Path(folder), durable=False, databases=("panda",))
        try:
            engine = store_engine.make_engine(cluster.start().url())
            store_engine.upgrade(engine, known, wiring.METADATA[known])
            store_engine.make_migration(engine, known, wiring.METADATA[known], name)
            engine.dispose()
        finally:
            cluster.stop()
