"""Notifications of the DDM: blocks are marked, and bunches whose every block is there become ready for pilots.

Pushed, polled, early, late, twice or never: the end is the same. The sweep repeats what a lost message would have done.
"""

from collections.abc import Sequence
from functools import partial

from panda.ddm.port import DdmEvent, EventKind
from panda.services.context import Context
from panda.services.stage import look_at_transfers, request_planned
from panda.services.turns import part
from panda.services.unneeded import tidy_blocks
from panda.store import blocks, collection, queue

FEED = "ddm"
CHUNK = 500
PARTS = 10
"""Parts of the waiting bunches that one sweep looks at."""


def on_ddm_events(ctx: Context, events: Sequence[DdmEvent]) -> int:
    """Take events of the DDM, in any order and any number of times; returns how many bunches were activated.

    Marking and activation are two transactions in this order: the second looks at the blocks after they were marked.
    """
    complete = [one.transfer_id for one in events if one.kind is EventKind.TRANSFER_OK]
    stuck = {one.transfer_id: one.detail for one in events if one.kind is EventKind.TRANSFER_STUCK}
    arrived = [one.transfer_id for one in events if one.kind is EventKind.FILE_ARRIVED and one.transfer_id]
    with ctx.engine.begin() as connection:
        for transfer, error in stuck.items():
            if transfer not in complete:
                blocks.mark(connection, [], [transfer], error)
        blocks.mark(connection, complete, [])
        collection.hurry_transferring(connection, list({*complete, *arrived}))
    activated = 0
    with ctx.engine.begin() as connection:
        waiting = blocks.bunches_of_transfers(connection, complete)
    for start in range(0, len(waiting), CHUNK):
        with ctx.engine.begin() as connection:
            part = waiting[start : start + CHUNK]
            activated += len(queue.activate(connection, part, why="all blocks arrived", who="ddm"))
    return activated


def poll_feed(ctx: Context, limit: int = 1000) -> int:
    """Read what the DDM's feed has that was not read yet; returns the number of events."""
    with ctx.engine.begin() as connection:
        seq = blocks.read_cursor(connection, FEED)
    events = ctx.ddm.changes(seq, limit)
    if events:
        on_ddm_events(ctx, events)
        with ctx.engine.begin() as connection:
            blocks.move_cursor(connection, FEED, events[-1].seq)
    return len(events)


def sweep(ctx: Context, limit: int = 1000) -> int:
    """Repeat what lost messages would have done: planned blocks, open and unneeded transfers, `ready`."""
    request_planned(ctx, limit=limit)
    with ctx.engine.begin() as connection:
        asked = part(connection, "sweep transfers", limit, partial(blocks.open_blocks, connection), lambda one: one[0])
    activated = len(look_at_transfers(ctx, [transfer for _, transfer in asked]))
    tidy_blocks(ctx, limit)
    for _ in range(PARTS):
        with ctx.engine.begin() as connection:
            waiting = part(connection, "sweep assigned", limit, partial(blocks.assigned_bunches, connection), int)
            activated += len(queue.activate(connection, waiting, why="found complete by the sweep", who="sweep"))
        with ctx.engine.begin() as connection:
            ready = part(connection, "sweep ready", limit, partial(queue.activated_bunches, connection), int)
            queue.refill_ready(connection, queue.missing_in_ready(connection, ready))
        if len(waiting) < limit and len(ready) < limit:
            break
    return activated
