"""Looking at data: the files of datasets and tasks, and the blocks of files on their way with the DDM's own word."""

from collections.abc import Sequence

from sqlalchemy import RowMapping

from panda.ddm.port import DdmError, Did, ReplicaState, TransferStatus
from panda.domain.views.data import BlockView, FileView
from panda.services.context import Context
from panda.store import files as store
from panda.store.read import like


def files(
    ctx: Context,
    *,
    dataset: str | None = None,
    task_id: int | None = None,
    lfn: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[FileView]:
    """The files of a dataset, or what a task reads from outside and writes; `lfn` may have `*`."""
    with ctx.engine.connect() as connection:
        rows = store.files(connection, dataset, task_id, None if lfn is None else like(lfn), limit, offset)
    at = _replicas(ctx, rows)
    return [_file(row, at.get(Did(row["scope"], row["lfn"]), [])) for row in rows]


def _file(row: RowMapping, replicas: Sequence[str]) -> FileView:
    plain = {name: row[name] for name in FileView.__slots__ if name != "replicas"}
    return FileView(**plain, replicas=tuple(sorted(replicas)))


def _replicas(ctx: Context, rows: Sequence[RowMapping]) -> dict[Did, list[str]]:
    found: dict[Did, list[str]] = {}
    wanted = [Did(row["scope"], row["lfn"]) for row in rows]
    for replica in ctx.ddm.replicas(wanted) if wanted else ():
        if replica.state is ReplicaState.AVAILABLE:
            found.setdefault(replica.did, []).append(replica.rse)
    return found


def transfers(
    ctx: Context,
    *,
    task_id: int | None = None,
    site: str | None = None,
    live: bool = True,
    limit: int | None = None,
    offset: int = 0,
) -> list[BlockView]:
    """The blocks on their way (`live`), or all there were, of a task or site; the oldest first."""
    with ctx.engine.connect() as connection:
        rows = store.blocks(connection, task_id, site, live, limit, offset)
    try:
        states = ctx.ddm.status([row["transfer_id"] for row in rows if row["transfer_id"]])
    except DdmError:
        states = {}
    return [_block(row, states.get(row["transfer_id"])) for row in rows]


def _block(row: RowMapping, status: TransferStatus | None) -> BlockView:
    return BlockView(
        name=row["name"],
        kind=row["kind"],
        task_id=row["task_id"],
        site=row["site"],
        rse=row["rse"],
        state=row["state"],
        n_files=row["n_files"],
        bytes=row["bytes"],
        asked_at=row["created_at"],
        since=row["since"],
        error=(status.error if status else "") or row["error"],
        transfer=status.state.value if status else None,
        arrived=status.ok if status else None,
        moving=status.moving if status else None,
        stuck=status.stuck if status else None,
        bytes_arrived=status.bytes if status else None,
    )
