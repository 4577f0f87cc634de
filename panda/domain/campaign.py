"""A campaign file: production tasks that read what others of them write, made into requests; pure, no file is read.

The document has `tasks` by name, with `defaults` for all of them, or is one task itself. A task's keys are the fields
of `TaskRequest`; `parent` names the task of this file whose first output dataset it reads, where it lists no inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from panda.domain.document import build, mapping, refuse_unknown, value
from panda.domain.names import check_name
from panda.domain.work import InputSpec, TaskRequest, check_request
from panda.errors import BadRequest, PandaError

_OURS = ("parent_task", "proddb_task", "wire_parameters")
"""Fields of a request that the system fills in."""

_KEYS = tuple(one.name for one in fields(TaskRequest) if one.name not in _OURS)
_TOP = ("campaign", "description", "defaults", "tasks", "picture")


@dataclass(frozen=True, slots=True)
class CampaignTask:
    """A task of a campaign under its name in the file; `parent` is the name of the task whose output it reads."""

    key: str
    request: TaskRequest
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """Where a fit has to find the peak."""

    mass_gev: float
    within_gev: float = value(1.0, minimum=0)


@dataclass(frozen=True, slots=True)
class Picture:
    """A program that is run once at the end over the last task's first output dataset."""

    transformation: str
    parameters: str
    expect: Expected | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    """Tasks in an order in which every parent stands before its children."""

    name: str
    tasks: tuple[CampaignTask, ...]
    description: str = ""
    picture: Picture | None = None


def parse_campaign(document: object, changes: Mapping[str, object] | None = None) -> Campaign:
    """Make a campaign of a YAML document; `changes` are `task.key.key` -> value and are applied first.

    Every request has passed `check_request`. Raises BadRequest or Refused that names the place in the document.
    """
    top = mapping(document, "the file")
    if "tasks" not in top:
        top = {"tasks": {"task": top}}
    for path, new in (changes or {}).items():
        _set(top, path, new)
    refuse_unknown(top, _TOP, "the file")
    name = str(top.get("campaign") or "")
    defaults = mapping(top.get("defaults"), "defaults")
    refuse_unknown(defaults, _KEYS, "defaults")
    parts = mapping(top["tasks"], "tasks")
    if not parts:
        raise BadRequest("The file has no tasks.", "Write at least one under `tasks:`.")
    read = {key: _task(key, part, defaults, name) for key, part in parts.items()}
    ordered = _with_parents(read)
    picture = build(Picture, top["picture"], "picture") if top.get("picture") is not None else None
    return Campaign(name, ordered, str(top.get("description") or ""), picture)


def with_tag(campaign: Campaign, tag: str) -> Campaign:
    """Give the campaign other names to run it again: `.tag` after tasks and datasets, `tag.` before LFNs."""
    check_name("tag", tag)
    made = {output.dataset for one in campaign.tasks for output in one.request.outputs}
    return replace(
        campaign, tasks=tuple(replace(one, request=_tagged(one.request, tag, made)) for one in campaign.tasks)
    )


def _tagged(request: TaskRequest, tag: str, made: set[str]) -> TaskRequest:
    return replace(
        request,
        name=f"{request.name}.{tag}",
        outputs=tuple(replace(one, dataset=f"{one.dataset}.{tag}", lfn=f"{tag}.{one.lfn}") for one in request.outputs),
        inputs=tuple(
            replace(one, datasets=tuple(f"{name}.{tag}" if name in made else name for name in one.datasets))
            for one in request.inputs
        ),
    )


def _task(key: str, part: object, defaults: Mapping[str, object], campaign: str) -> CampaignTask:
    where = f"tasks.{key}"
    items = mapping(part, where)
    parent = items.pop("parent", None)
    if parent is not None and not isinstance(parent, str):
        raise BadRequest(f"{where}.parent is {parent!r}, but has to be the name of a task of this file.")
    refuse_unknown(items, _KEYS, where)
    merged = _merged(defaults, items)
    merged.setdefault("name", key)
    if campaign:
        merged.setdefault("campaign", campaign)
    return CampaignTask(key, build(TaskRequest, merged, where), parent)


def _merged(defaults: Mapping[str, object], items: Mapping[str, object]) -> dict[str, object]:
    """Lay a task's keys over the defaults; groups of keys (resources, split) are merged key by key."""
    merged = dict(defaults)
    for name, new in items.items():
        old = merged.get(name)
        merged[name] = {**old, **new} if isinstance(old, Mapping) and isinstance(new, Mapping) else new
    return merged


def _with_parents(read: Mapping[str, CampaignTask]) -> tuple[CampaignTask, ...]:
    """Order tasks so that parents come first, and give children their parent's output as input."""
    done: dict[str, CampaignTask] = {}
    waiting = dict(read)
    for one in read.values():
        if one.parent is not None and one.parent not in read:
            raise BadRequest(
                f"tasks.{one.key}.parent is {one.parent!r}, which is no task of this file.",
                f"Tasks: {', '.join(read)}.",
            )
    while waiting:
        free = [one for one in waiting.values() if one.parent is None or one.parent in done]
        if not free:
            raise BadRequest(f"The tasks {', '.join(waiting)} are each other's parents.", "One has to come first.")
        for one in free:
            done[one.key] = _checked(one, done.get(one.parent or ""))
            del waiting[one.key]
    return tuple(done.values())


def _checked(one: CampaignTask, parent: CampaignTask | None) -> CampaignTask:
    request = one.request
    if parent is not None and not request.inputs:
        made = [output.dataset for output in parent.request.outputs if output.kind != "log"]
        if not made:
            raise BadRequest(f"tasks.{one.key}.parent is {parent.key!r}, which writes no dataset but its log.")
        request = replace(request, inputs=(InputSpec("IN", (made[0],)),))
    try:
        check_request(request)
    except PandaError as error:
        raise type(error)(f"tasks.{one.key}: {error.message}", error.hint) from error
    return replace(one, request=request)


def _set(top: dict[str, object], path: str, new: object) -> None:
    """Set one value of the document; a path may begin with a task's name, and needs none if there is one task only."""
    parts: Sequence[str] = path.split(".")
    tasks = mapping(top.get("tasks"), "tasks")
    if parts[0] in tasks:
        parts = ("tasks", *parts)
    elif parts[0] not in _TOP:
        if len(tasks) != 1:
            raise BadRequest(f"{path!r} names no task.", f"Begin with one of {', '.join(tasks)}, defaults.")
        parts = ("tasks", next(iter(tasks)), *parts)
    place = top
    for step in parts[:-1]:
        inner = mapping(place.get(step), ".".join(parts[:-1]))
        place[step] = inner
        place = inner
    place[parts[-1]] = new
