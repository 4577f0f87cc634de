"""Owns `panda db`: the migrations of all tables of this system, PanDA's, the DDM's and ProdDB's."""

import typer

from panda import wiring
from panda.proddb import engine as proddb_engine
from panda.settings import load

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Apply or check the migrations of the tables.")


@app.command()
def upgrade() -> None:
    """Bring all tables up to this program; does nothing if they are. Safe to run twice and at the same time."""
    settings = load()
    ctx = wiring.connect(settings, application="panda-db", check=False)
    wiring.upgrade_schema(ctx)
    ctx.close()
    production = proddb_engine.connect(settings)
    proddb_engine.upgrade(production)
    production.dispose()
    typer.echo("The tables of PanDA, the DDM and ProdDB are up to date.")


@app.command()
def check() -> None:
    """End with 0 if all tables are those of this program; say which are not otherwise."""
    settings = load()
    wiring.connect(settings, application="panda-db").close()
    production = proddb_engine.connect(settings)
    proddb_engine.check(production)
    production.dispose()
    typer.echo("The tables of PanDA, the DDM and ProdDB are those of this program.")
