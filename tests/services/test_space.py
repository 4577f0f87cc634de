"""Used space is measured by the catalogue, so that the space rules of brokerage see real numbers."""

import zlib
from pathlib import Path

from sqlalchemy import text

from panda.ddm.port import Did, FileSpec
from panda.domain.names import file_path
from panda.services import grid, space
from panda.services.context import Context

TINY = Path(__file__).parents[2] / "deployments" / "grids" / "tiny.yaml"


def test_used_space_is_what_the_catalogue_knows(ctx: Context) -> None:
    grid.load(ctx, grid.read_grid_file(TINY))
    with ctx.engine.begin() as connection:
        rse = connection.execute(text("SELECT rse FROM storage ORDER BY rse LIMIT 1")).scalar_one()
    root = next(one.root for one in ctx.ddm.rses() if one.name == rse)
    content = b"x" * 1000
    place = Path(root) / file_path("t", "t.file")
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    spec = FileSpec(
        Did("t", "t.file"), len(content), f"{zlib.adler32(content):08x}", "00000000-0000-4000-8000-000000000001"
    )
    assert ctx.ddm.register_replicas(rse, [spec]).failed == []

    assert space.measure(ctx) > 0

    with ctx.engine.begin() as connection:
        used = connection.execute(text("SELECT used_gb FROM storage WHERE rse = :r"), {"r": rse}).scalar_one()
    assert used == len(content) / space.GIGABYTE
