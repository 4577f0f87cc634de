"""Staging: `_dis` blocks of the files a site lacks, asked of the DDM, and activation of what is local already.

The intent is committed before the DDM is asked; a repetition asks for the same block, which the DDM answers alike.
After the call the block's state is asked once, because its completion may have been told before we knew its id.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection, RowMapping

from panda.ddm.port import DatasetSpec, DdmError, Did, ReplicaState, TransferRequest, TransferState
from panda.domain.lease import Lease
from panda.services.context import Context
from panda.services.story import fenced
from panda.services.turns import part
from panda.services.unneeded import SCOPE, give_up
from panda.store import blocks, inputs, queue, work
from panda.store.blocks import BlockFile

CHUNK = 200
JOBS_AT_ONCE = 5000
"""Most jobs that one transaction activates: whoever wants their classes meanwhile waits for its end."""

LIFETIME = timedelta(days=7)
_ENDED = frozenset({TransferState.CANCELLED, TransferState.EXPIRED})


@dataclass(frozen=True, slots=True)
class Staged:
    """Bunches whose inputs were settled, blocks the DDM was asked for, bunches activated at once."""

    bunches: int
    blocks: int
    activated: int
    waits_for: str | None = None


def stage(ctx: Context, lease: Lease) -> Staged:
    """Settle the inputs of all placed bunches of a task and ask the DDM for what is missing."""
    with ctx.engine.begin() as connection:
        task = work.task_row(connection, lease.task_id)
    staged = activated = 0
    while True:
        with ctx.engine.begin() as connection:
            bunches = blocks.bunches_to_stage(connection, lease.task_id, CHUNK)
            files = inputs.files_of_bunches(connection, [row["id"] for row in bunches]) if bunches else []
        if not bunches:
            break
        missing = _missing(ctx, bunches, files) if task["ddm_mode"] != "none" else {}
        for some in _together(bunches, missing):
            with fenced(ctx, lease) as connection:
                found = blocks.lock_unstaged(connection, some)
                for row in some:
                    if row["id"] in found and row["id"] in missing:
                        _plan(ctx, connection, task, row, missing[row["id"]])
                blocks.settle(connection, sorted(found))
                staged += len(found)
                activated += len(queue.activate(connection, sorted(found), why="inputs are local", who="stage"))
    asked, error = request_planned(ctx, lease.task_id)
    return Staged(staged, asked, activated, f"AwaitingTransfers: {error}" if error else None)


def _together(bunches: Sequence[RowMapping], missing: Mapping[int, object]) -> Iterator[list[RowMapping]]:
    """Which bunches are settled in one transaction: many that lack nothing, each other one alone."""
    local: list[RowMapping] = []
    for row in bunches:
        if row["id"] in missing:
            yield [row]
            continue
        if local and sum(one["n_jobs"] for one in local) + row["n_jobs"] > JOBS_AT_ONCE:
            yield local
            local = []
        local.append(row)
    if local:
        yield local


def _missing(ctx: Context, bunches: Sequence[RowMapping], files: Sequence[RowMapping]) -> dict[int, list[RowMapping]]:
    """Which files does each bunch's site lack?"""
    rse_of = {row["id"]: row["rse"] for row in bunches}
    wanted: dict[str, set[Did]] = defaultdict(set)
    for row in files:
        wanted[rse_of[row["bunch_id"]]].add(Did(row["scope"], row["lfn"]))
    there = {
        (replica.rse, replica.did)
        for rse, dids in wanted.items()
        for replica in ctx.ddm.replicas(list(dids), [rse])
        if replica.state is ReplicaState.AVAILABLE
    }
    found: dict[int, dict[tuple[int, int], RowMapping]] = defaultdict(dict)
    for row in files:
        if (rse_of[row["bunch_id"]], Did(row["scope"], row["lfn"])) not in there:
            found[row["bunch_id"]][row["dataset_id"], row["file"]] = row
    return {bunch: list(rows.values()) for bunch, rows in found.items()}


def _plan(
    ctx: Context, connection: Connection, task: RowMapping, bunch: RowMapping, missing: Sequence[RowMapping]
) -> None:
    """Store the block a bunch needs, and the blocks of others that bring some of its files already."""
    files = [BlockFile(row["dataset_id"], row["file"], row["bytes"]) for row in missing]
    flying = blocks.in_flight(connection, bunch["rse"], files)
    new = [one for one in files if (one.dataset_id, one.ordinal) not in flying]
    needed = set(flying.values())
    if new:
        day = ctx.clock().strftime("%m.%d")
        name = f"panda.{task['processing_type']}.{task['id']}.{day}.g{bunch['generation']}_dis{bunch['id']}"
        block = blocks.add_block(
            connection,
            name=name,
            kind="dis",
            task_id=task["id"],
            site_id=bunch["site_id"],
            rse=bunch["rse"],
            bunch_id=bunch["id"],
        )
        blocks.fill_block(connection, block, new)
        needed.add(block)
    blocks.wait_for(connection, bunch["id"], bunch["generation"], sorted(needed))


def request_planned(ctx: Context, task_id: int | None = None, limit: int = 1000) -> tuple[int, str | None]:
    """Ask the DDM for stored blocks it was not asked for; returns how many, and the first error met.

    A sweep (no task) goes on where the last one stopped: blocks that the DDM refuses come again after all others.
    """
    with ctx.engine.begin() as connection:
        if task_id is None:
            rows = part(connection, "sweep planned", limit, partial(blocks.planned, connection, None), _number)
        else:
            rows = blocks.planned(connection, task_id, 0, limit)
    first: str | None = None
    asked: list[str] = []
    for row in rows:
        try:
            transfer = _request(ctx, row)
        except DdmError as error:
            first = first or str(error)
            with ctx.engine.begin() as connection:
                blocks.set_error(connection, row["id"], str(error))
            continue
        with ctx.engine.begin() as connection:
            blocks.set_requested(connection, row["id"], transfer)
        asked.append(transfer)
    look_at_transfers(ctx, asked)
    return len(asked), first


def _number(row: RowMapping) -> int:
    return int(row["id"])


def _request(ctx: Context, row: RowMapping) -> str:
    """Make one block in the DDM and ask for its transfer; may be repeated at any point."""
    did = Did(SCOPE, row["name"])
    with ctx.engine.begin() as connection:
        files = [Did(one["scope"], one["lfn"]) for one in blocks.files_of_block(connection, row["id"])]
    info = ctx.ddm.dataset(did)
    if info is None or info.open:
        spec = DatasetSpec(did, lifetime=LIFETIME, meta={"task": str(row["task_id"]), "kind": "dis"})
        ctx.ddm.create_datasets([spec]).raise_first()
        ctx.ddm.attach(did, files).raise_first()
        ctx.ddm.close([did]).raise_first()
    activity = "Analysis Input" if row["label"] in {"user", "panda"} else "Production Input"
    request = TransferRequest(
        did, row["rse"], lifetime=LIFETIME, activity=activity, comment=f"task_id:{row['task_id']}"
    )
    answer = ctx.ddm.request([request])
    answer.raise_first()
    if answer.ids[0] is None:
        raise DdmError(f"the DDM gave no transfer id for {did}")
    return answer.ids[0]


def look_at_transfers(ctx: Context, transfers: Sequence[str]) -> list[int]:
    """Ask the DDM for the state of transfers, note it, and activate what became complete; returns bunches activated."""
    if not transfers:
        return []
    states = ctx.ddm.status(transfers)
    complete = [one.id for one in states.values() if one.state is TransferState.OK]
    stuck = {one.id: one.error for one in states.values() if one.state is TransferState.STUCK}
    ended = {one.id: f"the DDM's transfer is {one.state.value}" for one in states.values() if one.state in _ENDED}
    ended |= dict.fromkeys(set(transfers) - states.keys(), "the DDM does not know this transfer any more")
    with ctx.engine.begin() as connection:
        for transfer, error in stuck.items():
            blocks.mark(connection, [], [transfer], error)
        blocks.mark(connection, complete, [])
    give_up(ctx, ended)
    with ctx.engine.begin() as connection:
        waiting = blocks.bunches_of_transfers(connection, complete)
        return queue.activate(connection, waiting, why="all blocks arrived", who="ddm")
