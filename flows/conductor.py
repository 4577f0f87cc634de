"""The conductor: a long-lived process that makes everything quick; run many, or none (then Bamboo does it all).

Two kinds of work, in threads of their own:
- the continuous duties, plain service calls without Prefect: collect, fold, orders, sweep, watch, read the feed;
- the stories of due tasks, each a Prefect flow run in this process. While Prefect is away only these stand still.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flows.quick import quick_flows
from panda.launch import loading
from panda.services import activate, archive, control, dark, recover, retire, space, upkeep
from panda.services.context import Context
from panda.signals import on_signals
from tasks.world import world

log = logging.getLogger("panda.conductor")
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Duty:
    """A service loop: what it calls (True: call again at once) and how long it pauses when there was nothing to do."""

    name: str
    work: Callable[[Context], bool]
    pause_s: float


def _collect(ctx: Context) -> bool:
    return upkeep.collect(ctx).anything


def _fold(ctx: Context) -> bool:
    upkeep.fold_and_wake(ctx)
    return False


def _orders(ctx: Context) -> bool:
    return control.work_off(ctx).rows > 0


def _feed(ctx: Context) -> bool:
    return activate.poll_feed(ctx) > 0


def _sweep(ctx: Context) -> bool:
    activate.sweep(ctx)
    space.measure(ctx)
    dark.delete_dark(ctx)
    return False


def _watch(ctx: Context) -> bool:
    recover.watch(ctx)
    return False


def _tidy(ctx: Context) -> bool:
    archive.tidy(ctx)
    retire.retire_blocks(ctx)
    return False


def duties(ctx: Context) -> tuple[Duty, ...]:
    """Give the continuous duties with the intervals of the settings."""
    times = ctx.settings.conductor
    return (
        Duty("collect", _collect, times.collect_interval_s),
        Duty("fold", _fold, times.fold_interval_s),
        Duty("orders", _orders, times.collect_interval_s),
        Duty("feed", _feed, times.feed_interval_s),
        Duty("sweep", _sweep, times.sweep_interval_s),
        Duty("watch", _watch, times.watch_interval_s),
        Duty("tidy", _tidy, times.tidy_interval_s),
    )


def run_duty(duty: Duty, ctx: Context, stop: threading.Event) -> None:
    """Repeat a duty until told to stop; an error is logged and the duty goes on, ever more slowly while it fails."""
    failures = 0
    while not stop.is_set():
        pause = duty.pause_s
        try:
            again = duty.work(ctx)
            failures = 0
        except Exception:
            failures += 1
            again = False
            pause = min(LONGEST_PAUSE_S, max(pause, 0.5) * 2 ** min(failures, 6))
            log.exception("duty %s failed %d times; next try in %.0f s", duty.name, failures, pause)
        if not again:
            stop.wait(pause)


class Stories:
    """Tells the stories of due tasks, a few at the same time; several conductors share the work by leases."""

    def __init__(self, ctx: Context, stop: threading.Event, tell: Callable[[int], None]) -> None:
        self._ctx, self._stop, self._tell = ctx, stop, tell
        self._told: set[int] = set()
        self._changed = threading.Condition()
        self._failures = 0

    def run(self) -> None:
        """Look for due tasks until told to stop; after an error ever more seldom, while it lasts."""
        at_once = self._ctx.settings.conductor.stories
        with ThreadPoolExecutor(at_once, thread_name_prefix="story") as pool:
            while not self._stop.is_set():
                try:
                    for task_id in upkeep.due_tasks(self._ctx, 20):
                        self._give(pool, task_id, at_once)
                except Exception:
                    log.exception("due tasks cannot be read; next try in %.0f s", self._after_failure())
                self._stop.wait(self._pause_s())

    def _give(self, pool: ThreadPoolExecutor, task_id: int, at_once: int) -> None:
        """Let a thread tell a task's story as soon as one is free; nothing if its story is told already."""
        with self._changed:
            while len(self._told) >= at_once and not self._stop.is_set():
                self._changed.wait(1.0)
            if task_id in self._told or self._stop.is_set():
                return
            self._told.add(task_id)
        pool.submit(self._work, task_id)

    def _work(self, task_id: int) -> None:
        try:
            with quick_flows():
                self._tell(task_id)
            self._failures = 0
        except Exception:
            pause = self._after_failure()
            log.exception("task %d's story stands still (is Prefect there?); next in %.0f s", task_id, pause)
        finally:
            with self._changed:
                self._told.discard(task_id)
                self._changed.notify_all()

    def _after_failure(self) -> float:
        self._failures += 1
        return self._pause_s()

    def _pause_s(self) -> float:
        usual = self._ctx.settings.conductor.story_interval_s
        return min(LONGEST_PAUSE_S, 2.0 ** min(self._failures, 6)) if self._failures else usual


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with loading():
        from flows.production_task import tell  # Prefect sets logging up when it is loaded, unless that is done

    ctx = world()
    stop = threading.Event()
    on_signals(stop.set)
    threads = [
        threading.Thread(target=run_duty, args=(duty, ctx, stop), name=duty.name, daemon=True) for duty in duties(ctx)
    ]
    for thread in threads:
        thread.start()
    log.info("conductor is up: %s, stories", ", ".join(duty.name for duty in duties(ctx)))
    Stories(ctx, stop, tell).run()
    for thread in threads:
        thread.join(timeout=10)
    log.info("conductor is down")


if __name__ == "__main__":
    main()
