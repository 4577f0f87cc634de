"""The micro-batcher: requests that gathered while the last transaction ran become the next one (performance.md 3).

Theory. An idle server adds no delay, a loaded one makes larger batches by itself: whoever was just answered may ask
again at once, and a batch waits a moment for them, as each transaction costs as much as twenty members. Two batches may
run, each on a connection of its own, so that one is worked out while the database writes the log of the other; both on
the loop's own thread (`panda_api.cooperative`), so nobody waits for the interpreter. A reply leaves only after its
transaction was committed. A batch that fails is repeated one by one, so that one bad request fails alone; a database
that does not answer fails all of it at once. Nothing waits without a bound: a full lane refuses, and what nobody got to
within its time is answered so and never carried out.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from panda.errors import Busy, Unavailable
from panda.services.dispatch import BATCH, batch_engine, each_alone, is_down
from panda_api import cooperative

log = logging.getLogger(__name__)

SLOTS = 2
MOST_WAITING = 1500
DEADLINE_S = 20.0
BESIDE = 32
BESIDE_S = 0.05
"""So many waiting requests start a batch while another one runs; fewer wait for its end, but not longer than this."""

GATHER_FROM = 8
GATHER_S = 0.004
"""After a batch of so many the next one of its lane begins when as many wait as may, or after this time."""

LOCK_WAIT_MS = 2000
STATEMENT_MS = 15_000
IDLE_S = 1.0
"""After so long without a batch a connection is tried first: the database may have been started anew meanwhile."""

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
        self,
        serve: Callable[[Connection, Sequence[Asked]], Sequence[Given]],
        name: str,
        *,
        pace_s: float = 0.0,
        most: int = BATCH,
    ) -> None:
        self.serve = serve
        self.name = name
        self.pace_s = pace_s
        """Least time between two batches that are not full: what nobody is in a hurry for gathers meanwhile."""
        self.most = most
        """Most requests in one transaction."""
        self.waiting: deque[_Waiting[Asked]] = deque()
        self.next_at = 0.0
        self._expected = most

    def is_due(self, now: float, *, beside: bool) -> bool:
        """Whether a batch is worth its transaction now; beside a running one it has to be large."""
        n = len(self.waiting)
        if n >= self._expected:
            return True
        return n > 0 and now >= self.next_at and (not beside or n >= BESIDE)

    def began(self, now: float) -> None:
        """Note that a batch was taken out."""
        self.next_at = now + self.pace_s
        self._expected = self.most

    def answered(self, n: int, now: float) -> None:
        """Note that so many were answered, who may all come back."""
        if n >= GATHER_FROM and not self.pace_s:
            self._expected = min(self.most, n + len(self.waiting))
            self.next_at = now + GATHER_S


class _Slot:
    """A place for one running batch, with its connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._used_at = 0.0
        self.began = 0.0

    async def connected(self) -> Connection:
        """Its connection, tried if it was not used of late. Connecting blocks, so that is done in a thread."""
        if self._connection is None or time.monotonic() - self._used_at > IDLE_S:
            self._connection = await asyncio.to_thread(self._tried)
        return self._connection

    def _tried(self) -> Connection:
        if self._connection is not None and not _answers(self._connection):
            self._connection.close()
            self._connection = None
        if self._connection is None:
            self._connection = self._engine.connect()
            self._connection.exec_driver_sql(_TUNING)
            self._connection.commit()
        return self._connection

    def used(self, answers: Sequence[object]) -> None:
        """Note that a batch ended with these answers; a connection that was lost is thrown away."""
        self._used_at = time.monotonic()
        if self._connection is not None and any(_is_lost(one) for one in answers):
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection; its settings are those of batches only."""
        if self._connection is not None:
            self._connection.detach()
            self._connection.close()
            self._connection = None


class Batcher:
    """What serves lanes. Requests come from the event loop that started it, and only from there."""

    def __init__(self, engine: Engine, lanes: Sequence[Lane[Any, Any]], *, deadline_s: float = DEADLINE_S) -> None:
        self._lanes = tuple(lanes)
        self._deadline_s = deadline_s
        connections = batch_engine(engine)
        self._idle = [_Slot(connections) for _ in range(SLOTS)]
        self._running: dict[asyncio.Task[None], _Slot] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._look: asyncio.Handle | None = None
        self._look_later: asyncio.TimerHandle | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to serve; to be called on the loop that will ask."""
        cooperative.enable()
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._sweep()

    @property
    def is_running(self) -> bool:
        """Whether requests are taken."""
        return self._loop is not None and not self._stopping

    async def stop(self) -> None:
        """Serve what waits, then end."""
        self._stopping = True
        self._begin()
        while self._running:
            await asyncio.wait(self._running)
        for timer in (self._sweeper, self._look_later):
            if timer is not None:
                timer.cancel()
        for slot in self._idle:
            await asyncio.to_thread(slot.close)

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
        lane.waiting.extend(mine)
        if self._look is None and self._idle:
            self._look = self._loop.call_soon(self._begin)  # after what else came in with the same look at the sockets
        return [one.answer for one in mine]

    def _begin(self) -> None:
        """Begin every batch that is worth it now, and look again when the next one may be."""
        self._look = None
        if self._look_later is not None:
            self._look_later.cancel()
            self._look_later = None
        if self._loop is None:
            return
        while self._idle:
            now = time.monotonic()
            until = max((slot.began for slot in self._running.values()), default=-BESIDE_S) + BESIDE_S
            due = [lane for lane in self._lanes if lane.is_due(now, beside=now < until)]
            waiting = [lane for lane in self._lanes if lane.waiting]
            if self._stopping and not self._running:
                due = waiting
            if not due:
                again = [max(lane.next_at, until) - now for lane in waiting]
                if again:
                    self._look_later = self._loop.call_later(max(0.001, min(again)), self._begin)
                return
            self._start(min(due, key=lambda one: one.waiting[0].since), now)

    def _start(self, lane: Lane[Any, Any], now: float) -> None:
        batch = [lane.waiting.popleft() for _ in range(min(lane.most, len(lane.waiting)))]
        lane.began(now)
        slot = self._idle.pop()
        slot.began = now
        task = asyncio.ensure_future(self._run(slot, lane, batch))
        self._running[task] = slot
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._idle.append(self._running.pop(task))
        self._begin()

    async def _run(self, slot: _Slot, lane: Lane[Any, Any], batch: Sequence[_Waiting[Any]]) -> None:
        asked = [one.asked for one in batch]
        try:
            connection = await slot.connected()
            answers = await cooperative.aside(lambda: each_alone(lambda some: lane.serve(connection, some), asked))
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked
            answers = [error] * len(batch)
        slot.used(answers)
        _deliver(batch, answers)
        lane.answered(len(batch), time.monotonic())

    def _sweep(self) -> None:
        """Answer what has waited too long; it is taken out of its lane, so that it is never carried out."""
        limit = time.monotonic() - self._deadline_s
        late: list[_Waiting[Any]] = []
        for lane in self._lanes:
            while lane.waiting and lane.waiting[0].since < limit:
                late.append(lane.waiting.popleft())
        if late:
            log.warning("%d calls waited longer than %g s for their turn", len(late), self._deadline_s)
            error = Unavailable("the database did not get to this call in time", hint="the same call works later")
            _deliver(late, [error] * len(late))
        if self._loop is not None and not self._stopping:
            self._sweeper = self._loop.call_later(min(1.0, self._deadline_s / 4), self._sweep)


def _deliver(batch: Sequence[_Waiting[Any]], answers: Sequence[object]) -> None:
    for one, answer in zip(batch, answers, strict=True):
        if one.answer.done():
            continue
        if isinstance(answer, Exception):
            one.answer.set_exception(answer)
        else:
            one.answer.set_result(answer)


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
