"""Blocks of archived tasks go: what sub-datasets hold at the T1 passes to the output datasets first.

While a task lives, its outputs at the T1 are held by the transfers of its sub-datasets, one for each bunch and site.
Afterwards the output datasets hold them, and outputs that never got into one (of jobs given up on their way) go.
"""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import RowMapping

from panda.ddm.port import DdmError, Did, TransferRequest, TransferState
from panda.services.context import Context
from panda.services.turns import part
from panda.services.unneeded import SCOPE
from panda.store import oldblocks, work

TASKS = 20
BLOCKS = 1000


def retire_blocks(ctx: Context) -> int:
    """Forget blocks of archived tasks, some with each call; returns how many.

    A crash between two steps leaves blocks that the next call finds. While the DDM is away, or the output datasets are
    not complete where the sub-datasets are, everything stays.
    """
    with ctx.engine.begin() as connection:
        tasks = part(connection, "retire blocks", TASKS, partial(oldblocks.tasks_with_blocks, connection), int)
    return sum(_retire(ctx, task_id) for task_id in tasks)


def _retire(ctx: Context, task_id: int) -> int:
    with ctx.engine.begin() as connection:
        blocks = oldblocks.free_blocks(connection, task_id, BLOCKS)
        datasets = work.datasets_of(connection, task_id)
    subs = [one for one in blocks if one["kind"] == "sub"]
    try:
        if subs and not _are_held(ctx, task_id, datasets, sorted({one["rse"] for one in subs})):
            return 0
        ctx.ddm.erase([Did(SCOPE, one["name"]) for one in subs])
    except DdmError:
        return 0
    with ctx.engine.begin() as connection:
        return oldblocks.forget(connection, [one["id"] for one in blocks])


def _are_held(ctx: Context, task_id: int, datasets: Sequence[RowMapping], homes: Sequence[str]) -> bool:
    """Have the output datasets held where their files were brought; says whether they are there as a whole."""
    dids = [Did(one["scope"], one["name"]) for one in datasets]
    wanted = [
        TransferRequest(did, home, activity="Production Output", comment=f"task_id:{task_id}")
        for did in dids
        if ctx.ddm.dataset(did) is not None  # their owner may have erased some
        for home in homes
    ]
    answer = ctx.ddm.request(wanted)
    answer.raise_first()
    states = ctx.ddm.status([one for one in answer.ids if one is not None])
    return len(states) == len(wanted) and all(one.state is TransferState.OK for one in states.values())
