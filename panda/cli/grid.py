"""Owns `panda grid`: grid files, checked and loaded."""

from pathlib import Path
from typing import Annotated

import typer

from panda import wiring
from panda.services import grid as service
from panda.settings import load as load_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Check or load a grid file.")
GridPath = Annotated[Path | None, typer.Argument(help="A grid file; without it the one of the settings.")]


@app.command()
def load(file: GridPath = None) -> None:
    """Make the grid what the file says; sites that vanished from it go offline."""
    read = service.read_grid_file(file or load_settings().grid_file)
    ctx = wiring.connect(load_settings(), application="panda-grid", pool_size=1)
    try:
        loaded = service.load(ctx, read)
    finally:
        ctx.close()
    print(f"{loaded.clouds} clouds, {loaded.sites} sites, {loaded.queues} queues, {loaded.storages} storages.")
    if loaded.gone:
        print(f"Offline, because the file does not name them: {', '.join(loaded.gone)}.")


@app.command()
def check(file: GridPath = None) -> None:
    """Say what is wrong with a grid file, without loading it."""
    path = file or load_settings().grid_file
    read = service.read_grid_file(path)
    print(f"{path} is good: {len(read.clouds)} clouds, {len(read.sites)} sites, {len(read.storages)} storages.")
