"""Owns the telling of a task's story in tests, without Prefect: each stage once, as far as it can go now."""

from panda.services import assign, complete, place, prepare, stage, story
from panda.services.context import Context


def tell(ctx: Context, task_id: int) -> str | None:
    """Take a task as far as it goes now; returns what it waits for, None when it ended."""
    lease = story.claim(ctx, task_id)
    if lease is None:
        raise RuntimeError(f"somebody else tells the story of task {task_id}")
    waits_for: str | None = None
    for step in (assign.assign, prepare.expand, place.place, stage.stage, complete.complete):
        waits_for = step(ctx, lease).waits_for
        if waits_for is not None and not waits_for.startswith("AwaitingJobs"):
            break
    story.release(ctx, lease, waits_for)
    return waits_for
