"""Idle pilots that wait for work in the server: a long poll costs nothing until jobs become ready at its site.

One connection of the process listens to what activation says after its commit (`READY_CHANNEL`):
which sites got how many jobs. At most so many waiting pilots of a site ask again; one that still gets nothing passes
its turn on. Without a listening connection nobody is parked, and pilots ask again by themselves.
"""

import asyncio
import logging
from collections import deque

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from sqlalchemy import Engine

from panda.services.acquire import READY_CHANNEL

log = logging.getLogger(__name__)

MOST_PARKED = 1000
RETRY_S = 5.0


class Parked:
    """Pilots that wait, by the site of their queue."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}
        self._told: dict[int, int] = {}
        self._n = 0
        self._listening = False
        self._leaving = False
        self._task: asyncio.Task[None] | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more may wait; the others are answered at once."""
        return self._listening and not self._leaving and self._n < MOST_PARKED

    def start(self) -> None:
        """Listen, until `stop`; to be called on the loop."""
        self._leaving = False
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Let everybody go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._listening = False
        self.let_go()

    def let_go(self) -> None:
        """Have everybody ask a last time, and let nobody wait any more."""
        self._leaving = True
        for site_id in list(self._waiting):
            self.wake(site_id, self._n)

    def told(self, site_id: int | None) -> int:
        """How often jobs became ready at a site; who sees it change between asking and waiting asks again."""
        return 0 if site_id is None else self._told.get(site_id, 0)

    async def wait(self, site_id: int, seconds: float, told: int) -> bool:
        """Wait until it is worth asking again; False when the time is over. `told` is from before the last asking."""
        if self.told(site_id) != told:
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(site_id, deque())
        waiting.append(turn)
        self._n += 1
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError:
            return False
        finally:
            self._n -= 1
            if turn in waiting:
                waiting.remove(turn)
        return True

    def wake(self, site_id: int, n: int) -> None:
        """Let up to n of the pilots at a site ask again, who waits longest first."""
        waiting = self._waiting.get(site_id, deque())
        while waiting and n > 0:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                n -= 1

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (psycopg2.Error, OSError) as error:
                log.warning("nobody listens for ready jobs now: %s", error)
            self._listening = False
            await asyncio.sleep(RETRY_S)

    async def _listen_once(self) -> None:
        url = self._engine.url
        connection = await asyncio.to_thread(_connected, url.render_as_string(hide_password=False))
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()
        descriptor = connection.fileno()

        def heard() -> None:
            try:
                connection.poll()
            except psycopg2.Error as error:
                # The driver has closed the socket: the next connection may get its number, and must not be mistaken.
                loop.remove_reader(descriptor)
                if not lost.done():
                    lost.set_exception(error)
                return
            while connection.notifies:
                for site_id, n in _sites(connection.notifies.pop(0).payload):
                    self._told[site_id] = self.told(site_id) + 1
                    self.wake(site_id, n)

        loop.add_reader(descriptor, heard)
        self._listening = True
        try:
            await lost
        finally:
            if not connection.closed:
                loop.remove_reader(descriptor)
            connection.close()


def _connected(url: str) -> "psycopg2.extensions.connection":
    connection = psycopg2.connect(url.replace("postgresql+psycopg2://", "postgresql://"), connect_timeout=10)
    connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {READY_CHANNEL}")
    return connection


def _sites(payload: str) -> list[tuple[int, int]]:
    """`site:jobs` of every site, as activation says it."""
    return [(int(site), int(n)) for site, _, n in (part.partition(":") for part in payload.split(",") if part)]
