"""Owns `panda prepare`: tables and grid as this program and the settings want them, before the other parts start."""

import typer

from panda import wiring
from panda.cli.db import upgrade_all
from panda.services import grid
from panda.settings import load

app = typer.Typer(add_completion=False)


@app.command()
def prepare() -> None:
    """Bring all tables up to date and load the grid file; may be repeated at any time."""
    settings = load()
    upgrade_all(settings)
    ctx = wiring.connect(settings, application="panda-prepare")
    loaded = grid.load(ctx, grid.read_grid_file(settings.grid_file))
    ctx.close()
    typer.echo(f"{loaded.clouds} clouds, {loaded.sites} sites, {loaded.queues} queues, {loaded.storages} storages.")
