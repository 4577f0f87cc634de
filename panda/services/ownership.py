"""Whose work it is: nobody sees or steers a task or job that is out of reach, however its id became known."""

from collections.abc import Sequence

from panda.auth.identity import Identity, Reach, reach_of
from panda.errors import NotOwner
from panda.services.context import Context
from panda.store import owners


def check_tasks(ctx: Context, who: Identity, task_ids: Sequence[int]) -> None:
    """Raise NotOwner if one of these tasks is out of somebody's reach; unknown ids are the use case's business."""
    reach = reach_of(who)
    if reach == Reach():
        return
    with ctx.engine.connect() as connection:
        _check(who, reach, "task", owners.of_tasks(connection, task_ids))


def check_jobs(ctx: Context, who: Identity, job_ids: Sequence[int]) -> None:
    """Raise NotOwner if one of these jobs is out of somebody's reach; unknown ids are the use case's business."""
    reach = reach_of(who)
    if reach == Reach():
        return
    with ctx.engine.connect() as connection:
        _check(who, reach, "job", owners.of_jobs(connection, job_ids))


def _check(who: Identity, reach: Reach, kind: str, found: Sequence[owners.Owned]) -> None:
    for one in found:
        if not reach.covers(one.owner, one.vo):
            whose = "your own" if reach.vo is None else f"those of VO {reach.vo!r}"
            raise NotOwner(f"{kind} {one.id} is not {who.name}'s", hint=f"you reach {whose} only")
