"""How the API is served: uvicorn with our protocol on a socket that we open ourselves."""

import socket

import uvicorn
from typing_extensions import override

from panda.errors import Unavailable
from panda.settings import Settings
from panda_api.app import Application
from panda_api.direct import HotProtocol

CONNECTIONS = 2000
GRACE_S = 20


class Server(uvicorn.Server):
    """uvicorn's server; before it waits for its connections it answers those that wait for jobs."""

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        if isinstance(app, Application):
            app.state.lanes.parked.let_go()
        await super().shutdown(sockets)


def configure(app: object, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app: our protocol, no access log, no trust in headers that name a caller."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's own type for an ASGI app is not FastAPI's
        http=HotProtocol,
        loop="uvloop",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def listen(settings: Settings) -> socket.socket:
    """Take the port (0: a free one). Raises Unavailable when somebody else has it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.api_port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"cannot listen on {settings.host} port {settings.api_port}: {error.strerror}",
            hint="choose another port with PANDA_API_PORT, or stop what uses this one",
        ) from error
    return listener


def address_of(settings: Settings, listener: socket.socket) -> str:
    """The address callers use, with the port that was really taken."""
    scheme = "https" if settings.tls_certificate is not None else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"
