"""Owns the peers' side: other queues on PostgreSQL are filled and claimed from by their own calls.

It runs in an environment of its own: `python peers.py PEER fill|claim HOST QUEUES JOBS|SECONDS CONNECTIONS` prints how
many were claimed, in which time and CPU time.
"""

import asyncio
import importlib
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from typing import Any

AT_ONCE = 5000
DATABASE, USER = "peers", "panda"


class Procrastinate:
    """procrastinate with its own pool of connections."""

    def __init__(self, host: str, connections: int) -> None:
        library: Any = importlib.import_module("procrastinate")
        conninfo = f"host={host} user={USER} dbname={DATABASE}"
        connector = library.PsycopgConnector(conninfo=conninfo, min_size=connections, max_size=connections)
        self._app = library.App(connector=connector)

    async def open(self) -> None:
        """Connect."""
        await self._app.open_async()

    async def fill(self, queues: int, jobs: int) -> None:
        """Lay the schema down and defer jobs over the queues."""
        await self._app.schema_manager.apply_schema_async()
        for queue in range(1, queues + 1):
            task = self._app.configure_task("one", queue=f"S{queue}", allow_unknown=True)
            for start in range(0, jobs // queues, AT_ONCE):
                await task.batch_defer_async(*[{"n": n} for n in range(min(AT_ONCE, jobs // queues - start))])

    async def claimer(self) -> Callable[[str], Awaitable[bool]]:
        """Return a worker: it takes one job of a queue."""
        worker = await self._app.job_manager.register_worker()

        async def claim(queue: str) -> bool:
            return await self._app.job_manager.fetch_job(queues=[queue], worker_id=worker) is not None

        return claim

    async def close(self) -> None:
        """Disconnect."""
        await self._app.close_async()


class Pgqueuer:
    """pgqueuer with a connection for each worker."""

    def __init__(self, host: str, _connections: int) -> None:
        self._host = host
        self._open: list[Any] = []

    async def open(self) -> None:
        """Nothing is shared."""

    async def _queries(self) -> Any:
        connection = await importlib.import_module("asyncpg").connect(host=self._host, user=USER, database=DATABASE)
        self._open.append(connection)
        driver = importlib.import_module("pgqueuer.db").AsyncpgDriver(connection)
        return importlib.import_module("pgqueuer.queries").Queries(driver)

    async def fill(self, queues: int, jobs: int) -> None:
        """Lay the schema down and enqueue jobs over the queues."""
        queries = await self._queries()
        await queries.install()
        for queue in range(1, queues + 1):
            for start in range(0, jobs // queues, AT_ONCE):
                n = min(AT_ONCE, jobs // queues - start)
                await queries.enqueue([f"S{queue}"] * n, [b"{}"] * n, [0] * n)

    async def claimer(self) -> Callable[[str], Awaitable[bool]]:
        """Return a worker: it takes one job of a queue."""
        queries = await self._queries()
        parameter = importlib.import_module("pgqueuer.ports.repository").EntrypointExecutionParameter(0)
        number = uuid.uuid4()

        async def claim(queue: str) -> bool:
            found = await queries.dequeue(
                batch_size=1,
                entrypoints={queue: parameter},
                queue_manager_id=number,
                global_concurrency_limit=None,
                heartbeat_timeout=timedelta(seconds=30),
            )
            return bool(found)

        return claim

    async def close(self) -> None:
        """Disconnect."""
        for one in self._open:
            await one.close()


PEERS: dict[str, type[Procrastinate] | type[Pgqueuer]] = {"procrastinate": Procrastinate, "pgqueuer": Pgqueuer}


async def _claim(peer: Any, queues: int, seconds: float, connections: int) -> dict[str, float]:
    claimers = [await peer.claimer() for _ in range(connections)]
    start, cpu, turn = time.perf_counter(), time.process_time(), count()
    stop_at = start + seconds

    async def work(claim: Callable[[str], Awaitable[bool]]) -> int:
        n = 0
        while time.perf_counter() < stop_at:
            n += await claim(f"S{1 + next(turn) * 7 % queues}")
        return n

    done = await asyncio.gather(*[work(one) for one in claimers])
    return {"n": sum(done), "seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}


async def _main(name: str, what: str, host: str, queues: int, amount: float, connections: int) -> dict[str, float]:
    peer = PEERS[name](host, connections)
    await peer.open()
    try:
        if what == "claim":
            return await _claim(peer, queues, amount, connections)
        await peer.fill(queues, int(amount))
        return {}
    finally:
        await peer.close()


if __name__ == "__main__":
    _, _name, _what, _host, _queues, _amount, _connections = sys.argv
    print(json.dumps(asyncio.run(_main(_name, _what, _host, int(_queues), float(_amount), int(_connections)))))
