"""How jobs fail: errors kept, files charged, the next attempt made, all in the caller's one transaction."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection

from panda.domain.dispatch import ErrorPair
from panda.domain.states import JobStatus
from panda.services.context import Context
from panda.store import ends
from panda.store.ends import Ended

NOT_RETRIED = frozenset({("brokerage", 100)})


def fail_jobs(
    ctx: Context,
    connection: Connection,
    jobs: Sequence[int],
    errors: Sequence[ErrorPair],
    *,
    why: str,
    who: str,
    charged: bool,
) -> Ended:
    """End jobs as failed and try again what may be tried again; jobs that are final already are left alone."""
    done = ends.end_jobs(connection, list(jobs), JobStatus.FAILED, why=why, who=who)
    ends.add_errors(connection, done, [asdict(one) for one in errors])
    if charged:
        ends.charge(connection, done, why)
    if any((one.component, one.code) in NOT_RETRIED for one in errors):
        return Ended(tuple(done))
    size = ctx.settings.expansion.bunch_size
    return Ended(tuple(done), tuple(ends.retry(connection, done, why=f"retry: {why}", who=who, bunch_size=size)))


def replace_jobs(ctx: Context, connection: Connection, jobs: Sequence[int], *, why: str, who: str) -> Ended:
    """Close jobs that never began to run and put a new row in the place of each; nothing is charged."""
    done = ends.end_jobs(connection, list(jobs), JobStatus.CLOSED, why=why, who=who)
    size = ctx.settings.expansion.bunch_size
    return Ended(tuple(done), tuple(ends.retry(connection, done, why=f"replaces: {why}", who=who, bunch_size=size)))
