"""`python -m panda_api`: the API as a process, until SIGTERM or SIGINT."""

import logging
import sys

import uvicorn

from panda import settings as panda_settings
from panda.errors import PandaError
from panda.wiring import connect
from panda_api.app import THREADS, build
from panda_api.server import address_of, configure, listen


def main() -> int:
    """Serve; the exit code is 0 after a stop that was asked for, 1 when it could not start (the reason on stderr)."""
    try:
        settings = panda_settings.load()
        context = connect(settings, application="panda-api", pool_size=THREADS // 2)
        listener = listen(settings)
    except PandaError as error:
        print(f"panda api: {error}", file=sys.stderr)
        return 1
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        server = uvicorn.Server(configure(build(context), settings))
        print(f"panda api: listening on {address_of(settings, listener)}", flush=True)
        server.run(sockets=[listener])
    finally:
        context.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
