"""Tasks and their files as PanDA's clients ask for them: filters in their words, within somebody's reach."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from panda.auth.identity import Identity, reach_of
from panda.domain.refine import BUILD
from panda.domain.states import TaskStage
from panda.domain.views.work import InputView, OutputView, TaskView
from panda.errors import BadRequest, NotOwner
from panda.services import read
from panda.services.context import Context
from panda.services.read import TaskFilter
from panda.store import taskfiles

STAGES: Mapping[str, TaskStage] = {
    **{one.value: one for one in TaskStage},
    "registered": TaskStage.REGISTERED,
    "ready": TaskStage.ASSIGNED,
}
_HELD = ("registered", "assigned", "running")


@dataclass(frozen=True, slots=True)
class FileView:
    """A file of a dataset of a task; `status` is ready, running, finished or failed, of an output its own state."""

    dataset_id: int
    dataset: str
    scope: str
    lfn: str
    number: int
    status: str


def search(
    ctx: Context, who: Identity, filters: Mapping[str, str], *, since: datetime | None = None, limit: int = 500
) -> list[TaskView]:
    """The tasks that somebody reaches and that fulfil every filter, newest first; build steps are left out.

    Filters: jediTaskID, reqID, taskName (`*` for any characters), userName, status, superStatus. `a|b` is either.
    Raises BadRequest that names a filter we do not know, NotOwner for another user's tasks out of reach.
    """
    reach = reach_of(who)
    wanted = TaskFilter(owner=reach.owner, vo=reach.vo, modified_since=since, not_type=BUILD)
    for key, value in filters.items():
        rule = _RULES.get(key.lower())
        if rule is None:
            raise BadRequest(f"filter {key!r} is unknown", hint=f"one of {', '.join(NAMES)}")
        wanted = rule(wanted, value)
    if reach.owner is not None and wanted.owner != reach.owner:
        raise NotOwner(f"{wanted.owner}'s tasks are not {who.name}'s", hint="you reach your own only")
    return read.tasks(ctx, wanted, limit=limit)


def _ids(wanted: TaskFilter, value: str) -> TaskFilter:
    return replace(wanted, ids=_numbers("jediTaskID", value))


def _requests(wanted: TaskFilter, value: str) -> TaskFilter:
    return replace(wanted, request_ids=_numbers("reqID", value))


def _numbers(key: str, value: str) -> tuple[int, ...]:
    parts = value.split("|")
    if not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):  # noqa: PLR2004 - int64
        raise BadRequest(f"filter {key} is {value[:80]!r}", hint="a number, or several with | between")
    return tuple(map(int, parts))


def _name(wanted: TaskFilter, value: str) -> TaskFilter:
    return replace(wanted, name=value.rstrip("/"))


def _owner(wanted: TaskFilter, value: str) -> TaskFilter:
    return replace(wanted, owner=value)


def _status(wanted: TaskFilter, value: str) -> TaskFilter:
    words = value.split("|")
    if words == ["paused"]:
        return replace(wanted, held=True, stages=_HELD)
    stages = tuple(STAGES[word].value for word in words if word in STAGES)
    return replace(wanted, stages=stages, held=None if "paused" in words or not set(stages) & set(_HELD) else False)


def _super_status(wanted: TaskFilter, value: str) -> TaskFilter:
    words = value.split("|")
    stages = [STAGES[word].value for word in words if word in STAGES]
    return replace(wanted, stages=(*stages, *(("aborting",) if "running" in words else ())))


_RULES = {
    "jeditaskid": _ids,
    "reqid": _requests,
    "taskname": _name,
    "username": _owner,
    "status": _status,
    "superstatus": _super_status,
}
NAMES = ("jediTaskID", "reqID", "taskName", "userName", "status", "superStatus")


def files(ctx: Context, task_id: int, kinds: frozenset[str]) -> list[FileView]:
    """The files of a task's datasets of some kinds: input, pseudo_input (none here), output, log, tmpl_*."""
    with ctx.engine.connect() as connection:
        rows = [
            *(taskfiles.inputs(connection, task_id) if "input" in kinds else ()),
            *taskfiles.outputs(connection, task_id, sorted(kinds & {"output", "log"})),
        ]
    return [FileView(**row) for row in rows]


def input_files_of(ctx: Context, job_ids: list[int]) -> dict[int, list[InputView]]:
    """The input files of many jobs at once."""
    with ctx.engine.connect() as connection:
        rows = taskfiles.inputs_of_jobs(connection, job_ids)
    found: dict[int, list[InputView]] = {}
    for row in rows:
        view = InputView(
            row["stream_name"], row["dataset"], row["scope"], row["lfn"], row["guid"], row["bytes"], row["adler32"],
            row["events"],
        )  # fmt: skip
        found.setdefault(row["job_id"], []).append(view)
    return found


def output_files_of(ctx: Context, job_ids: list[int]) -> dict[int, list[OutputView]]:
    """The registered outputs of many jobs at once."""
    with ctx.engine.connect() as connection:
        rows = taskfiles.outputs_of_jobs(connection, job_ids)
    found: dict[int, list[OutputView]] = {}
    for row in rows:
        plain = dict(row)
        found.setdefault(plain.pop("job_id"), []).append(OutputView(**plain))
    return found
