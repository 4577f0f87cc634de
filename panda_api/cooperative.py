"""Database work on the event loop's own thread: synchronous code that steps aside while the database works.

Theory. A thread that runs Python beside the loop fights with it for the interpreter's lock at every system call: that
cost twice what the batches themselves do (docs/decisions.md). Here a function runs in a greenlet; where psycopg2
would wait for its socket, it lets the loop go on and is resumed when the socket is ready. Only such functions do so:
every other thread of the process waits for its database as before.
"""

import asyncio
import select
from collections.abc import Callable
from typing import TypeVar

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE, set_wait_callback
from sqlalchemy.util.concurrency import await_only, greenlet_spawn, in_greenlet

Given = TypeVar("Given")


def enable() -> None:
    """Let the connections of this process wait the way this module says."""
    set_wait_callback(_wait)


async def aside(work: Callable[[], Given]) -> Given:
    """Run a function that uses the database on the loop; the loop goes on whenever the database is waited for."""
    return await greenlet_spawn(work)


def _wait(connection: "psycopg2.extensions.connection") -> None:
    wait = _on_the_loop if in_greenlet() else _in_a_thread
    while (state := connection.poll()) != POLL_OK:
        if state not in {POLL_READ, POLL_WRITE}:
            raise psycopg2.OperationalError(f"the driver is in an unknown state: {state}")
        wait(connection.fileno(), state)


def _in_a_thread(descriptor: int, state: int) -> None:
    ready = select.poll()
    ready.register(descriptor, select.POLLIN if state == POLL_READ else select.POLLOUT)
    ready.poll()


def _on_the_loop(descriptor: int, state: int) -> None:
    await_only(_ready(descriptor, state))


async def _ready(descriptor: int, state: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    begin, end = (loop.add_reader, loop.remove_reader) if state == POLL_READ else (loop.add_writer, loop.remove_writer)
    begin(descriptor, _tell, ready)
    try:
        await ready
    finally:
        end(descriptor)


def _tell(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
