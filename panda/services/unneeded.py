"""Dispatch blocks that are not needed or will not come: the DDM forgets them, their bunches are brokered again.

Every step is found again in the rows, so that a crash between any two of them is made good by the next sweep.
"""

from collections.abc import Mapping
from functools import partial

from panda.ddm.port import DdmError, Did, TransferRequest
from panda.services.context import Context
from panda.services.turns import part
from panda.store import blocks, placement, unneeded, work

SCOPE = "panda"
WHO = "sweep"


def tidy_blocks(ctx: Context, limit: int = 1000) -> int:
    """Cancel what no bunch waits for, take bunches back from blocks that will not come, tell the DDM.

    Returns how many bunches were taken back. While the DDM is away the blocks stay cancelled for a later sweep.
    """
    with ctx.engine.begin() as connection:
        unneeded.cancel_unused(connection, limit)
    back = _take_back(ctx, limit)
    _tell_ddm(ctx, limit)
    return back


def _take_back(ctx: Context, limit: int) -> int:
    with ctx.engine.begin() as connection:
        found = unneeded.waiting_in_vain(connection, limit)
        if not found:
            return 0
        work.wake(connection, [row["task_id"] for row in found])
        why = f"its block will not come: {found[0]['why']}"
        return len(placement.rebroker(connection, [row["id"] for row in found], why=why, who=WHO))


def _tell_ddm(ctx: Context, limit: int) -> None:
    with ctx.engine.begin() as connection:
        rows = part(
            connection, "sweep cancelled", limit, partial(unneeded.to_forget, connection), lambda row: int(row["id"])
        )
    if not rows:
        return
    try:
        answer = ctx.ddm.cancel([row["transfer_id"] for row in rows])
    except DdmError:
        return
    kept = {transfer for transfer, error in answer.failed if error.retryable}
    with ctx.engine.begin() as connection:
        unneeded.dropped(connection, [row["id"] for row in rows if row["transfer_id"] not in kept])


def give_up(ctx: Context, ended: Mapping[str, str]) -> None:
    """Give up the blocks of transfers that the DDM has ended (id -> reason); outputs on the way are asked for anew."""
    if not ended:
        return
    with ctx.engine.begin() as connection:
        unneeded.give_up(connection, dict(ended))
        subs = unneeded.subs_of(connection, list(ended))
    for row in subs:
        request = TransferRequest(
            Did(SCOPE, row["name"]), row["rse"], activity="Production Output", comment=f"task_id:{row['task_id']}"
        )
        try:
            answer = ctx.ddm.request([request])
            answer.raise_first()
        except DdmError as error:
            with ctx.engine.begin() as connection:
                blocks.set_error(connection, row["id"], str(error))
            continue
        with ctx.engine.begin() as connection:
            if answer.ids[0] is not None:
                unneeded.carry_again(connection, row["id"], answer.ids[0])
