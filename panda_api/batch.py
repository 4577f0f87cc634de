"""The micro-batcher: requests that gathered while the last transaction ran become the next one (performance.md 3).

Theory. There is no timer: an idle server adds no delay, a loaded one makes larger batches by itself. Two threads, each
with a connection of its own, so that one batch runs while the other waits for its log to be written. A reply leaves
only after its transaction was committed. A batch that fails is repeated one by one, so that one bad request fails
alone; a database that does not answer fails all of it at once. Nothing waits without a bound: a full lane refuses,
and what nobody got to within its time is answered so and never carried out.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from panda.errors import Busy, Unavailable
from panda.services.dispatch import BATCH, each_alone, is_down

log = logging.getLogger(__name__)

THREADS = 2
MOST_WAITING = 1500
DEADLINE_S = 20.0
BESIDE = 32
BESIDE_S = 0.05
"""So many waiting requests start a batch while another one runs; fewer wait for its end, but not longer than this."""

LOCK_WAIT_MS = 2000
STATEMENT_MS = 15_000
IDLE_S = 1.0
"""After so long without a batch a connection is tried first: the database may have been started anew meanwhile."""

_TUNED, _USED = "panda_tuned", "panda_used"
# Plans are made once, also while a table is empty: they use indexes, whose nested loops lock rows in the order given.
_TUNING = f"""
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET lock_timeout = {LOCK_WAIT_MS}; SET statement_timeout = {STATEMENT_MS}
"""

Asked = TypeVar("Asked")
Given = TypeVar("Given")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Asked]):
    asked: Asked
    answer: asyncio.Future[Any]
    since: float


class Lane(Generic[Asked, Given]):
    """Requests of one kind, and what serves many of them in one transaction of a connection."""

    def __init__(
        self, serve: Callable[[Connection, Sequence[Asked]], Sequence[Given]], name: str, *, pace_s: float = 0.0
    ) -> None:
        self.serve = serve
        self.name = name
        self.pace_s = pace_s
        """Least time between two batches that are not full: what nobody is in a hurry for gathers meanwhile."""
        self.waiting: deque[_Waiting[Asked]] = deque()
        self.next_at = 0.0

    def is_due(self, now: float, *, beside: bool) -> bool:
        """Whether a batch is worth its transaction now; beside a running one it has to be large."""
        n = len(self.waiting)
        return n >= BATCH or (n > 0 and now >= self.next_at and (not beside or n >= BESIDE))


class Batcher:
    """Threads that serve lanes. Requests come from the event loop that started it, and only from there."""

    def __init__(self, engine: Engine, lanes: Sequence[Lane[Any, Any]], *, deadline_s: float = DEADLINE_S) -> None:
        self._engine = engine
        self._lanes = tuple(lanes)
        self._deadline_s = deadline_s
        self._work = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._stopping = False
        self._running = 0
        self._began = 0.0

    def start(self) -> None:
        """Start the threads; to be called on the loop that will ask."""
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, name=f"batch-{n}", daemon=True) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()
        self._sweep()

    @property
    def is_running(self) -> bool:
        """Whether requests are taken."""
        return self._loop is not None and not self._stopping

    async def stop(self) -> None:
        """Serve what waits, then end."""
        with self._work:
            self._stopping = True
            self._work.notify_all()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def ask(self, lane: Lane[Asked, Given], asked: Sequence[Asked]) -> "list[asyncio.Future[Given]]":
        """Put requests into a lane; each answer comes when its transaction is committed, or as an exception.

        Raises Busy, and takes none, when too many wait.
        """
        if self._loop is None or self._stopping:
            raise Unavailable("the server is stopping", hint="the same call works later")
        if len(lane.waiting) >= MOST_WAITING:
            raise Busy(f"{len(lane.waiting)} calls of this kind are waiting", hint="the same call works later")
        now = time.monotonic()
        mine = [_Waiting(one, self._loop.create_future(), now) for one in asked]
        with self._work:
            lane.waiting.extend(mine)
            self._work.notify()
        return [one.answer for one in mine]

    # --- on the loop ------------------------------------------------------------------------------------------------
    def _deliver(self, batch: Sequence[_Waiting[Any]], answers: Sequence[object]) -> None:
        for one, answer in zip(batch, answers, strict=True):
            if one.answer.done():
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)

    def _sweep(self) -> None:
        """Answer what has waited too long; it is taken out of its lane, so that it is never carried out."""
        limit = time.monotonic() - self._deadline_s
        late: list[_Waiting[Any]] = []
        with self._work:
            for lane in self._lanes:
                while lane.waiting and lane.waiting[0].since < limit:
                    late.append(lane.waiting.popleft())
        if late:
            log.warning("%d calls waited longer than %g s for their turn", len(late), self._deadline_s)
            error = Unavailable("the database did not get to this call in time", hint="the same call works later")
            self._deliver(late, [error] * len(late))
        if self._loop is not None and not self._stopping:
            self._sweeper = self._loop.call_later(min(1.0, self._deadline_s / 4), self._sweep)

    # --- in the threads ---------------------------------------------------------------------------------------------
    def _run(self) -> None:
        connection: Connection | None = None
        while (taken := self._take()) is not None:
            lane, batch = taken
            asked = [one.asked for one in batch]
            try:
                connection = self._tuned(connection)
                answers: list[object] = self._serve(connection, lane, asked)
            except Exception as error:  # noqa: BLE001 - it belongs to those who asked
                answers = [error] * len(batch)
            if connection is not None and any(_is_lost(one) for one in answers):
                connection.invalidate()
                connection.close()
                connection = None
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._deliver, batch, answers)
            with self._work:
                self._running -= 1
                self._work.notify()
        if connection is not None:
            connection.detach()
            connection.close()

    def _tuned(self, connection: Connection | None) -> Connection:
        found = connection or self._engine.connect()
        if time.monotonic() - found.info.get(_USED, 0.0) > IDLE_S and not _answers(found):
            found.close()
            found = self._engine.connect()
        found.info[_USED] = time.monotonic()
        if _TUNED not in found.info:
            found.exec_driver_sql(_TUNING)
            found.commit()
            found.info[_TUNED] = True
        return found

    def _serve(self, connection: Connection, lane: Lane[Any, Any], asked: Sequence[Any]) -> list[object]:
        def served(some: Sequence[Any]) -> Sequence[object]:
            given: Sequence[object] = lane.serve(connection, some)
            return given

        return each_alone(served, asked)

    def _take(self) -> tuple[Lane[Any, Any], list[_Waiting[Any]]] | None:
        """Wait for work and take up to a batch of the lane whose first request waits longest; None: stop."""
        with self._work:
            while True:
                now = time.monotonic()
                beside = self._running > 0 and now < self._began + BESIDE_S
                due = [lane for lane in self._lanes if lane.is_due(now, beside=beside)]
                if due or (self._stopping and not self._running):
                    busy = due or [lane for lane in self._lanes if lane.waiting]
                    return self._batch_of(min(busy, key=lambda one: one.waiting[0].since), now) if busy else None
                waiting = [lane for lane in self._lanes if lane.waiting]
                again = [max(lane.next_at, self._began + BESIDE_S if beside else 0.0) - now for lane in waiting]
                self._work.wait(max(0.001, min(again)) if again else None)

    def _batch_of(self, lane: Lane[Any, Any], now: float) -> tuple[Lane[Any, Any], list[_Waiting[Any]]]:
        batch = [lane.waiting.popleft() for _ in range(min(BATCH, len(lane.waiting)))]
        lane.next_at = now + lane.pace_s
        self._running += 1
        self._began = now
        if lane.waiting:
            self._work.notify()
        return lane, batch


def _answers(connection: Connection) -> bool:
    try:
        connection.exec_driver_sql("SELECT 1")
        connection.rollback()
    except DBAPIError:
        connection.invalidate()
        return False
    return True


def _is_lost(answer: object) -> bool:
    return isinstance(answer, DBAPIError) and is_down(answer)
