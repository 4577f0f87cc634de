"""Owns `panda grid`: grid files, checked and loaded."""

from pathlib import Path
from typing import Annotated

import typer

from panda import wiring
from panda.cli.asking import AsJson, print_json
from panda.services import grid as service
from panda.settings import load as load_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Check or load a grid file.")
GridPath = Annotated[Path | None, typer.Argument(help="A grid file; without it the one of the settings.")]


@app.command()
def load(file: GridPath = None, *, as_json: AsJson = False) -> None:
    """Make the grid what the file says; sites that vanished from it go offline."""
    read = service.read_grid_file(file or load_settings().grid_file)
    ctx = wiring.connect(load_settings(), application="panda-grid", pool_size=1)
    try:
        loaded = service.load(ctx, read)
    finally:
        ctx.close()
    if as_json:
        print_json(loaded)
        return
    print(f"{loaded.clouds} clouds, {loaded.sites} sites, {loaded.queues} queues, {loaded.storages} storages.")
    if loaded.gone:
        print(f"Offline, because the file does not name them: {', '.join(loaded.gone)}.")


@app.command()
def check(file: GridPath = None, *, as_json: AsJson = False) -> None:
    """Say what is wrong with a grid file, without loading it."""
    path = file or load_settings().grid_file
    read = service.read_grid_file(path)
    if as_json:
        counts = {"clouds": len(read.clouds), "sites": len(read.sites), "storages": len(read.storages)}
        print_json({"file": str(path), **counts})
        return
    print(f"{path} is good: {len(read.clouds)} clouds, {len(read.sites)} sites, {len(read.storages)} storages.")
