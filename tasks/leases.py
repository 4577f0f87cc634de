"""Who tells a task's story: taking and giving back its lease, and when to look again if nothing wakes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from panda.domain.lease import Lease
from panda.services import story
from tasks.world import world


@dataclass(slots=True)
class Telling:
    """A story being told; what it waits for at the end is written here."""

    lease: Lease
    waits_for: str | None = None


@contextmanager
def telling(task_id: int) -> Iterator[Telling | None]:
    """Hold the task's lease as long as the block runs; None when somebody else tells the story now.

    The lease is always given back; after an error the task is looked at again soon, and its page shows the error.
    """
    lease = story.claim(world(), task_id)
    if lease is None:
        yield None
        return
    told = Telling(lease, "Failed: the story was cut off")
    try:
        yield told
    except Exception as error:
        told.waits_for = f"Failed: {type(error).__name__}: {error}"[:1000]
        raise
    finally:
        later = story.patience_s(world(), lease, told.waits_for)
        story.release(world(), lease, told.waits_for, later_s=later)
