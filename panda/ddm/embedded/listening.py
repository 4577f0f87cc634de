"""Owns an agent's own connection to the database: it hears notifications there, and a lock says that it lives."""

import select
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

import psycopg2
import psycopg2.extensions
from sqlalchemy import Engine

from panda.ddm.embedded.claims import AGENT_LOCKS

_LOOK_S = 1.0  # how soon a stop is seen


class Listener:
    """Calls a function per channel when a notification comes; after a lost connection it makes a new one."""

    def __init__(self, engine: Engine, agent_id: int, wake: Mapping[str, Callable[[], None]]) -> None:
        self._engine = engine
        self._agent_id = agent_id
        self._wake = wake
        self._heard = threading.Event()

    def wait_until_heard(self, stop: threading.Event) -> None:
        """Return when the connection stands; before, others would take the agent for dead."""
        while not self._heard.wait(_LOOK_S) and not stop.is_set():
            pass

    def listen(self, stop: threading.Event) -> None:
        """Listen until `stop`."""
        while not stop.is_set():
            with suppress(psycopg2.Error, OSError):
                self._listen_on_one_connection(stop)
            for wake in self._wake.values():
                wake()  # whatever was said while nobody listened
            stop.wait(_LOOK_S)

    def _listen_on_one_connection(self, stop: threading.Event) -> None:
        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        connection = psycopg2.connect(*arguments, **options)
        try:
            connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s, %s)", (AGENT_LOCKS, self._agent_id))
                for channel in self._wake:
                    cursor.execute(f"LISTEN {channel}")
            self._heard.set()
            while not stop.is_set():
                if select.select([connection], [], [], _LOOK_S)[0]:
                    self._hear(connection)
        finally:
            connection.close()

    def _hear(self, connection: psycopg2.extensions.connection) -> None:
        connection.poll()
        for channel in {notice.channel for notice in connection.notifies}:
            self._wake[channel]()
        connection.notifies.clear()
