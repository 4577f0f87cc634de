"""Fixtures of the API's tests: a small real grid, the real app behind a real socket, a caller."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import Engine

from panda.services import grid
from panda.services.context import Context
from panda_api.app import build
from tests.support.builders import a_context
from tests.support.serving import Caller, serving

GRID = """
    clouds:
      TEST: {tier1: ALPHA}
    sites:
      ALPHA:
        cloud: TEST
        tier: 1
        rse: ALPHA_DATADISK
        vos: [atlas, charmm]
        memory_mb: 16000
        disk_mb: 50000
        cores: 8
        max_time_s: 100000
        corepower: 10
        releases: [R-1]
        queues: {ALPHA: {reference_mhz: 2500}}
      BETA: {cloud: TEST, rse: BETA_DATADISK, vos: [atlas, charmm], memory_mb: 16000, releases: [R-1]}
    storages:
      ALPHA_DATADISK: {space_gb: 100000}
      BETA_DATADISK: {space_gb: 20000}
    releases:
      R-1: {source: software/R-1}
"""


def load_grid(ctx: Context, folder: Path) -> None:
    """Load GRID, with a release whose folder lies below `folder`."""
    release = folder / "software" / "R-1"
    release.mkdir(parents=True)
    (release / "release.json").write_text("{}")
    path = folder / "grid.yaml"
    path.write_text(dedent(GRID))
    grid.load(ctx, grid.read_grid_file(path))


@pytest.fixture
def ctx(engine: Engine, tmp_path: Path) -> Context:
    """A context on this test's own database, with the grid of two sites."""
    made = a_context(engine, tmp_path, notify_key="the-key", api_port=25080)
    load_grid(made, tmp_path)
    return made


@pytest.fixture
def caller(ctx: Context) -> Iterator[Caller]:
    """A caller of the real app."""
    with serving(build(ctx)) as address:
        yield Caller(address)
