"""Owns the running of an application behind a real socket, in a thread of the test."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping

import requests
import uvicorn
from requests.adapters import HTTPAdapter, Retry
from typing_extensions import override

from panda.settings import load
from panda_api.server import Server, address_of, configure, listen


class _ReadyServer(Server):
    """A server that says when it serves, and ends as soon as it shall: neither a test nor it polls."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_to_end = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so, when it is done."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    @override
    async def main_loop(self) -> None:
        """Serve; uvicorn alone looks ten times a second whether it shall end."""
        usual = asyncio.ensure_future(super().main_loop())
        asked = asyncio.ensure_future(self._asked_to_end.wait())
        await asyncio.wait({usual, asked}, return_when=asyncio.FIRST_COMPLETED)
        usual.cancel()
        asked.cancel()

    def end(self) -> None:
        """Ask it to end; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._asked_to_end.set)


@contextlib.contextmanager
def serving(app: object, **settings: object) -> Iterator[str]:
    """The address of an application that is served as the product serves it, on a free port of 127.0.0.1."""
    chosen = load(**{"api_port": 0, **settings})
    listener = listen(chosen)
    server = _ReadyServer(configure(app, chosen))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        if not server.ready.wait(20):
            raise RuntimeError("the server did not start; its log says why")
        yield address_of(chosen, listener)
    finally:
        server.end()
        thread.join(20)
        listener.close()


class Caller:
    """A client of one server: paths instead of addresses, and the envelope's parts."""

    def __init__(self, address: str, headers: Mapping[str, str] | None = None) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.trust_env = False
        # A connection that idles for 5 s is closed by the server, also at the very moment in which it is used again.
        self.session.mount(address, HTTPAdapter(max_retries=Retry(total=2, allowed_methods={"GET"})))
        self.session.headers.update(headers or {})

    def post(self, path: str, body: object = None, **arguments: object) -> requests.Response:
        """POST a JSON body."""
        if body is not None:
            arguments["json"] = body
        return self.session.post(self.address + path, timeout=30, **arguments)  # type: ignore[arg-type]  # as given

    def get(self, path: str, **query: object) -> requests.Response:
        """GET with a query; lists become repeated keys."""
        return self.session.get(self.address + path, params=query, timeout=30)  # type: ignore[arg-type]  # as given
