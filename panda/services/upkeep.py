"""The continuous duties as plain service calls: the conductor runs them in loops, Bamboo once each, in any order."""

from dataclasses import dataclass

from sqlalchemy import Connection

from panda.domain.states import FINAL_JOB
from panda.services import activate, archive, recover, retire, sandbox, space
from panda.services.collect import Collected, collect
from panda.services.context import Context
from panda.services.control import work_off
from panda.store import counters, work

__all__ = ["Round", "collect", "due_tasks", "fold", "fold_and_wake", "round_once"]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of everything did."""

    events: int
    collected: Collected
    activated: int
    orders: int
    replaced: int
    failed: int
    rebrokered: int


def fold(ctx: Context) -> list[counters.Folded]:
    """Fold settled events into the counters; returns the tasks they belong to."""
    with ctx.engine.begin() as connection:
        return counters.fold(connection)


def fold_and_wake(ctx: Context) -> int:
    """Fold, and make due the tasks whose stage may end now or whose bunches wait for a site; others within a minute.

    Where pilots took jobs there is room again: a task with bunches to place gets its next round soon. One transaction:
    what was folded is never told again, so a wake-up must not get lost in between.
    """
    with ctx.engine.begin() as connection:
        counters.ensure_watermark(connection)
    with ctx.engine.begin() as connection:
        folded = counters.fold(connection)
        moved = [one.task_id for one in folded if one.ended or one.defined]
        started = [one.task_id for one in folded if one.started and not (one.ended or one.defined)]
        drained = counters.tasks_without_site(connection, started) if started else []
        if moved or drained:
            work.lock_tasks(connection, [*moved, *drained])
            _wake(ctx, connection, moved)
            work.wake(connection, drained, in_seconds=ctx.settings.conductor.refill_interval_s)
    return sum(one.events for one in folded)


def _wake(ctx: Context, connection: Connection, tasks: list[int]) -> None:
    live: dict[int, int] = dict.fromkeys(tasks, 0)
    homeless: dict[int, int] = dict.fromkeys(tasks, 0)
    for row in counters.counts_of_tasks(connection, tasks):
        if row["status"] not in FINAL_JOB:
            live[row["task_id"]] += row["n"]
        if row["status"] in {"defined", "waiting"}:
            homeless[row["task_id"]] += row["n"]
    now = [task for task in tasks if live[task] == 0]
    soon = [task for task in tasks if live[task] and homeless[task]]
    rest = [task for task in tasks if live[task] and not homeless[task]]
    work.wake(connection, now)
    work.wake(connection, soon, in_seconds=1.0)
    work.wake(connection, rest, in_seconds=ctx.settings.conductor.progress_interval_s)


def due_tasks(ctx: Context, limit: int = 100) -> list[int]:
    """Which tasks should be told further now, the longest waiting first?"""
    with ctx.engine.begin() as connection:
        return work.due(connection, limit)


def round_once(ctx: Context) -> Round:
    """Do every continuous duty once; Bamboo calls it, so that all work ends without a conductor too."""
    orders = work_off(ctx)
    while activate.poll_feed(ctx):
        pass
    activated = activate.sweep(ctx)
    space.measure(ctx)
    total = Collected()
    while True:
        done = collect(ctx)
        total = Collected(
            total.finished + done.finished,
            total.transferring + done.transferring,
            total.failed + done.failed,
            total.attached + done.attached,
        )
        if not done.anything:
            break
    sandbox.expire(ctx)
    archive.tidy(ctx)
    retire.retire_blocks(ctx)
    watched = recover.watch(ctx)
    events = fold_and_wake(ctx)
    return Round(events, total, activated, orders.orders, watched.replaced, watched.failed, watched.rebrokered)
