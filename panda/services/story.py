"""The lease on a production task: whoever tells its story holds it, and every step of the story is fenced by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from sqlalchemy import Connection

from panda.domain.lease import Lease
from panda.services.context import Context
from panda.store import work


def claim(ctx: Context, task_id: int, *, token: UUID | None = None) -> Lease | None:
    """Take a task's lease for one run of its story; None when somebody else tells it now."""
    with ctx.engine.begin() as connection:
        return work.claim(connection, task_id, token or uuid4(), ctx.settings.conductor.lease_s)


def release(ctx: Context, lease: Lease, waits_for: str | None, *, later_s: float | None = None) -> None:
    """Give the lease back and say what the task waits for; `later_s` seconds on it is looked at again in any case."""
    with ctx.engine.begin() as connection:
        work.release(connection, lease, waits_for, later_s)


@contextmanager
def fenced(ctx: Context, lease: Lease) -> Iterator[Connection]:
    """Open a transaction of a story; raises LeaseLost when somebody else took over. The lease is renewed."""
    with ctx.engine.begin() as connection:
        work.fence(connection, lease, ctx.settings.conductor.lease_s)
        yield connection


ANNOUNCED = ("AwaitingJobs", "AwaitingPilots", "AwaitingOutputs", "AwaitingInput", "AwaitingTransfers")
"""What a task waits for until it is woken."""


def patience_s(ctx: Context, lease: Lease, waits_for: str | None) -> float | None:
    """Tell when to look at a task again if nothing wakes it (s); None: never, because it has ended.

    What a wake-up announces (jobs, transfers, a parent's end) is looked at seldom, what nobody announces (a pilot at a
    site, space at a T1) often at first and ever more seldom.
    """
    if waits_for is None:
        return None
    longest = ctx.settings.conductor.progress_interval_s
    if waits_for.startswith(ANNOUNCED):
        return 10 * longest
    with ctx.engine.begin() as connection:
        age = work.age_s(connection, lease.task_id)
    return min(longest, max(1.0, age / 4))


def is_told(ctx: Context, task_id: int) -> bool:
    """Tell whether somebody holds a task's lease now."""
    with ctx.engine.begin() as connection:
        return work.is_leased(connection, task_id)
