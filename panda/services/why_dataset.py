"""Why a dataset is as it is: who makes it, what is missing, where its files are, what moves, who waits for it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping

from panda.ddm.port import DatasetInfo, DdmError, Did, TransferState, TransferStatus
from panda.domain.names import bare_name, scope_of
from panda.domain.states import FINAL_TASK, TaskStage
from panda.domain.views.answers import Explanation, Facts
from panda.domain.words import ago, awaited, clock, counted, size
from panda.errors import NotFound
from panda.services import read
from panda.services.context import Context
from panda.store import causes

MOST = 5


def why_dataset(ctx: Context, name: str) -> Explanation:
    """Why a dataset is as it is; raises NotFound with the names most like it."""
    now, did = ctx.clock(), Did(scope_of(name), bare_name(name))
    with ctx.engine.connect() as connection:
        row = causes.dataset(connection, did.name)
        outputs = causes.outputs_by_state(connection, row["id"]) if row is not None else []
        readers = causes.readers(connection, did.name)
    info, trouble = _ask(ctx, did)
    if row is None and info is None and not trouble:
        raise _unknown(ctx, did)
    lines = [*_state(now, row, info), *trouble]
    if row is not None and row["task_id"] is not None:
        lines += _made_by(ctx, row, outputs)
    if info is not None:
        lines += _where(ctx, did, now)
    lines += _readers(readers)
    state = row["state"] if row is not None else ("open" if info is not None and info.open else "closed")
    return Explanation(f"Dataset {did.name}: {state}", tuple(lines), _places(ctx, did) if info is not None else None)


def check(ctx: Context, name: str) -> None:
    """Raise NotFound with the names most like it, unless PanDA or the data management knows this dataset."""
    did = Did(scope_of(name), bare_name(name))
    with ctx.engine.connect() as connection:
        known = causes.dataset(connection, did.name) is not None
    if not known and _ask(ctx, did) == (None, []):
        raise _unknown(ctx, did)


def _unknown(ctx: Context, did: Did) -> NotFound:
    with ctx.engine.connect() as connection:
        alike = causes.alike(connection, did.name)
    hint = f"Did you mean {', '.join(alike)}?" if alike else "`panda datasets` lists those that tasks read and write."
    return NotFound(f"There is no dataset {did.name!r}.", hint)


def _ask(ctx: Context, did: Did) -> tuple[DatasetInfo | None, list[str]]:
    try:
        return ctx.ddm.dataset(did), []
    except DdmError as error:
        return None, [f"The data management does not answer: {error}."]


def _state(now: datetime, row: RowMapping | None, info: DatasetInfo | None) -> list[str]:
    lines = []
    if row is not None:
        made = (
            f"Made {ago(now, row['created_at'])}"
            if row["task_id"] is not None
            else f"Known since {clock(row['created_at'])}"
        )
        closed = f", closed at {clock(row['closed_at'])}" if row["closed_at"] is not None else ""
        lines.append(f"{made} as {row['kind']} dataset{closed}.")
    if info is not None:
        files = counted(info.files, "file")
        lines.append(
            f"The catalogue has {files} ({size(info.bytes)}) in it; it is {'open' if info.open else 'closed'} there."
        )
        if info.expires_at is not None:
            lines.append(f"It is erased at {clock(info.expires_at)}.")
    elif row is not None:
        lines.append("The catalogue does not have it (not made there yet, erased, or a task without data management).")
    return lines


def _made_by(ctx: Context, row: RowMapping, outputs: Sequence[RowMapping]) -> list[str]:
    """Say how far the task is that makes it, and what is missing before it can be closed."""
    task = read.task(ctx, row["task_id"])
    tally = ", ".join(f"{n} {status}" for status, n in task.jobs.items()) or "no jobs yet"
    lines = [f"Task {task.id} {task.name} makes it: {task.stage.value}; {tally}."]
    lines += [
        f"{counted(one['n'], 'file')} ({size(one['bytes'])}) {_WORDS.get(one['state'], one['state'])}."
        for one in outputs
    ]
    if row["state"] != "open":
        return lines
    if TaskStage(task.stage) in FINAL_TASK:
        return [*lines, f"It is open although its task has ended: `panda why task {task.id}`."]
    waits = f", now waiting for {awaited(task.waits_for)}" if task.waits_for else ""
    still = f"{counted(task.live, 'job')} of its task are not final{waits}" if task.live else f"its task goes on{waits}"
    lines.append(f"It is open because {still}. It is closed when the last job has ended: `panda why task {task.id}`.")
    if task.waits_for is None and task.hold:
        lines.append(f"The task is on hold ({task.hold}); `panda resume {task.id}` lets it go on.")
    return lines


_YES_NO = {True: "yes", False: "no"}
_WORDS = {
    "transferring": "on the way to the T1",
    "ready": "arrived, to be put into it",
    "attached": "in it",
}


def _where(ctx: Context, did: Did, now: datetime) -> list[str]:
    try:
        transfers = ctx.ddm.transfers_of([did]).get(did, [])
    except DdmError as error:
        return [f"Its transfers cannot be asked for: {error}."]
    live = [one for one in transfers if one.state in {TransferState.QUEUED, TransferState.MOVING, TransferState.STUCK}]
    more = [f"... and {counted(len(live) - MOST, 'transfer')} more."] if len(live) > MOST else []
    return [_transfer(now, one) for one in live[:MOST]] + more


def _transfer(now: datetime, one: TransferStatus) -> str:
    error = f"; last error: {one.error}" if one.error else ""
    return (
        f"Transfer to {one.rse}: {one.state.value}, {one.ok} arrived, {one.moving} on their way, {one.stuck} stuck, "
        f"changed {ago(now, one.updated)}{error}."
    )


def _places(ctx: Context, did: Did) -> Facts | None:
    """List the storages that have files of it, the most complete first."""
    try:
        found = ctx.ddm.locations(ctx.ddm.expand(did))
    except DdmError:
        return None
    rows = [
        (part.name, rse, f"{at.available_files} of {at.total_files}", size(at.available_bytes), _YES_NO[at.complete])
        for part, places in found.items()
        for rse, at in sorted(places.items(), key=lambda item: -item[1].available_files)
    ]  # fmt: skip
    return Facts(("dataset", "storage", "files", "size", "complete"), tuple(rows)) if rows else None


def _readers(readers: Sequence[RowMapping]) -> list[str]:
    lines = []
    for row in readers[:MOST]:
        waits = f", waits for {awaited(row['waits_for'])}" if row["waits_for"] else ""
        lines.append(f"Task {row['id']} {row['name']} reads it ({row['stage']}{waits}).")
    if len(readers) > MOST:
        lines.append(f"... and {counted(len(readers) - MOST, 'task')} more.")
    return lines or ["No task of PanDA reads it."]
