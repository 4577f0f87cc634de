"""The watcher: whatever lasts too long is ended, replaced or brokered again, with rule and age in the history.

The limits are a table (domain.md 2.9). Limits on pilots count only time in which the API accepted updates: an outage of
ours must not kill the grid's running jobs (design section 4).
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from panda.ddm.port import DdmError
from panda.domain.dispatch import ErrorPair
from panda.domain.states import JobStatus
from panda.services import harvester, story, worker_logs
from panda.services.complete import close_empty_datasets, end_without_jobs
from panda.services.context import Context
from panda.services.dispatch import KILL
from panda.services.ending import fail_jobs, replace_jobs
from panda.settings import WatcherSettings
from panda.store import ends, placement, watching, work

CHUNK = 500
API = "api"
WHO = "watcher"


@dataclass(frozen=True, slots=True)
class Limit:
    """One row of the table: jobs in `state` for longer than `seconds` fail with an error pair, or are replaced."""

    state: JobStatus
    seconds: Callable[[WatcherSettings], int]
    error: ErrorPair | None
    urgent: Callable[[WatcherSettings], int] | None = None


LIMITS: tuple[Limit, ...] = (
    Limit(JobStatus.SENT, lambda s: s.sent_s, None),
    Limit(JobStatus.STARTING, lambda s: s.starting_s, ErrorPair("jobdispatcher", 100, "lost heartbeat")),
    Limit(JobStatus.RUNNING, lambda s: s.running_s, ErrorPair("jobdispatcher", 100, "lost heartbeat")),
    Limit(
        JobStatus.HOLDING,
        lambda s: s.holding_s,
        ErrorPair("jobdispatcher", 103, "timeout in holding"),
        lambda s: s.holding_urgent_s,
    ),
    Limit(
        JobStatus.TRANSFERRING,
        lambda s: s.transferring_s,
        ErrorPair("taskbuffer", 101, "transfer timeout"),
        lambda s: s.transferring_urgent_s,
    ),
)

BUNCH_LIMITS: tuple[tuple[str, Callable[[WatcherSettings], int]], ...] = (
    ("assigned", lambda s: s.assigned_s),
    ("activated", lambda s: s.activated_s),
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What one round of the watcher did."""

    replaced: int = 0
    failed: int = 0
    rebrokered: int = 0


def watch(ctx: Context) -> Watched:
    """Look at every limit once."""
    limits = ctx.settings.watcher
    replaced = failed = 0
    with ctx.engine.begin() as connection:
        up = watching.up_for(connection, API, limits.outage_gap_s)
    for limit in LIMITS:
        seconds = limit.seconds(limits)
        in_hand = limit.urgent is None
        if in_hand and up < seconds:
            continue
        n = _apply(ctx, limit, seconds)
        replaced += n if limit.error is None else 0
        failed += n if limit.error is not None else 0
    failed += _end_old(ctx)
    _end_never_begun(ctx)
    rebrokered = sum(_rebroker(ctx, state, seconds(limits)) for state, seconds in BUNCH_LIMITS)
    with ctx.engine.begin() as connection:
        watching.clean_requests(connection)
        watching.lost_workers(connection, 3600)
    _tell_old_snapshots(ctx)
    harvester.forget(ctx)
    worker_logs.forget(ctx)
    return Watched(replaced, failed, rebrokered)


def _tell_old_snapshots(ctx: Context) -> None:
    """Write an incident about each transaction that keeps dead rows alive: a dump, a forgotten session."""
    with ctx.engine.begin() as connection:
        for row in watching.old_snapshots(connection, ctx.settings.watcher.snapshot_s):
            words = (
                f"{row['application']} has had a transaction open since {row['xact_start']:%Y-%m-%d %H:%M:%S} UTC "
                f"({row['state']}); dispatch gets slower with every job until it ends. To end it: "
                f"SELECT pg_terminate_backend({row['pid']}). Its statement: {row['query']}"
            )
            work.add_incident_once(connection, "warning", "database", f"backend:{row['pid']}", words)


def _apply(ctx: Context, limit: Limit, seconds: int) -> int:
    done = 0
    while True:
        with ctx.engine.begin() as connection:
            jobs = _over(ctx, connection, limit, seconds)
            why = f"{limit.state.value} for more than {seconds} s"
            killed = _end_killed(connection, jobs, why)
            jobs = [job for job in jobs if job not in killed]
            if limit.error is None:
                ended = replace_jobs(ctx, connection, jobs, why=f"{why} without confirmation", who=WHO)
            else:
                pair = ErrorPair(limit.error.component, limit.error.code, f"{limit.error.text}: {why}")
                ended = fail_jobs(ctx, connection, jobs, [pair], why=f"{pair.text}", who=WHO, charged=True)
        done += len(ended.jobs)
        if not ended.jobs and not killed:
            return done


def _end_killed(connection: Connection, jobs: list[int], why: str) -> set[int]:
    """Cancel those of the silent jobs that were told to end anyway: they are not tried again."""
    told = watching.told_to_end(connection, jobs, KILL)
    return set(ends.end_jobs(connection, told, JobStatus.CANCELLED, why=f"killed; {why}", who=WHO))


def _over(ctx: Context, connection: Connection, limit: Limit, seconds: int) -> list[int]:
    if limit.urgent is None:
        return watching.silent_jobs(connection, limit.state.value, seconds, CHUNK)
    urgent = limit.urgent(ctx.settings.watcher)
    return watching.lasting_jobs(connection, limit.state.value, seconds, min(urgent, seconds), CHUNK)


def _end_old(ctx: Context) -> int:
    limits = ctx.settings.watcher
    with ctx.engine.begin() as connection:
        jobs = watching.old_jobs(connection, limits.user_lifetime_s, limits.lifetime_s, CHUNK)
        pair = ErrorPair("taskbuffer", 102, "expired: its task was submitted too long ago")
        old = fail_jobs(ctx, connection, jobs, [pair, NEVER], why=pair.text, who=WHO, charged=False)
    with ctx.engine.begin() as connection:
        jobs = watching.queued_jobs(connection, limits.queued_s, CHUNK)
        pair = ErrorPair("taskbuffer", 102, f"expired: no pilot took it within {limits.queued_s} s")
        queued = fail_jobs(ctx, connection, jobs, [pair, NEVER], why=pair.text, who=WHO, charged=False)
    return len(old.jobs) + len(queued.jobs)


def _end_never_begun(ctx: Context) -> int:
    """End tasks that got no job in all their life: their input never came, or no cloud ever took them."""
    limits = ctx.settings.watcher
    with ctx.engine.begin() as connection:
        tasks = watching.tasks_never_begun(connection, limits.user_lifetime_s, limits.lifetime_s, CHUNK)
    return sum(_end_never_begun_one(ctx, task_id, waits_for or "its turn") for task_id, waits_for in tasks)


def _end_never_begun_one(ctx: Context, task_id: int, waits_for: str) -> bool:
    """End one task as its story would: under its lease, its datasets closed, its children told."""
    lease = story.claim(ctx, task_id)
    if lease is None:
        return False
    words = f"expired: no job was ever made; it waited for {waits_for}"
    try:
        close_empty_datasets(ctx, task_id)
        with story.fenced(ctx, lease) as connection:
            end_without_jobs(connection, task_id, words)
            work.add_incident(connection, "error", WHO, f"task:{task_id}", words)
    except DdmError:
        return False  # the next round tries again
    finally:
        story.release(ctx, lease, words)
    return True


NEVER = ErrorPair("brokerage", 100, "not tried again")


def _rebroker(ctx: Context, state: str, seconds: int) -> int:
    with ctx.engine.begin() as connection:
        bunches = watching.lasting_bunches(connection, state, seconds, CHUNK)
        if not bunches:
            return 0
        work.wake(connection, watching.tasks_of_bunches(connection, bunches))  # first: tasks are locked before bunches
        done = placement.rebroker(connection, bunches, why=f"{state} for more than {seconds} s", who=WHO)
    return len(done)


def api_is_up(ctx: Context) -> None:
    """Note that the API accepts updates: called by the API itself every few seconds."""
    with ctx.engine.begin() as connection:
        watching.note_up(connection, API, ctx.settings.watcher.outage_gap_s)
