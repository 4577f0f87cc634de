"""How full the storages are by the catalogue: what the space rules of brokerage look at (domain.md 2.1, 2.2)."""

from panda.ddm.port import DdmError
from panda.services.context import Context
from panda.store import grid

GIGABYTE = 1e9


def measure(ctx: Context) -> int:
    """Write down what lies on each storage; returns how many were measured, 0 while the DDM does not answer."""
    try:
        used = {one.name: one.used_bytes / GIGABYTE for one in ctx.ddm.rses()}
    except DdmError:
        return 0
    with ctx.engine.begin() as connection:
        return grid.set_used(connection, used)
