"""`python -m panda_api`: the API as a process, until SIGTERM or SIGINT."""

import gc
import logging
import signal
import sys
import tempfile
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from panda import settings as panda_settings
from panda.errors import PandaError
from panda.services import sandbox
from panda.settings import Settings
from panda.wiring import connect
from panda_api.app import THREADS, build
from panda_api.server import Server, address_of, configure, listen


def main() -> int:
    """Serve; the exit code is 0 after a stop that was asked for, 1 when it could not start (the reason on stderr)."""
    try:
        settings = panda_settings.load()
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        for noisy in ("uvicorn", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        for one in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again when it has stopped in good order
            signal.signal(one, lambda *_: sys.exit(0))
        serve(settings, lambda address: print(f"panda api: listening on {address}", flush=True))
    except (PandaError, OperationalError) as error:
        print(f"panda api: {error}", file=sys.stderr)
        return 1
    return 0


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until a signal ends it; `announce` hears the address once connections are taken.

    Raises SchemaMismatch for tables of another version, Unavailable for a port that is taken.
    """
    context = connect(settings, application="panda-api", pool_size=THREADS // 2)
    tempfile.tempdir = str(sandbox.draft(context))  # uploads on their way are written into our folder only
    try:
        listener = listen(settings)
        server = Server(configure(build(context), settings))
        announce(address_of(settings, listener))
        keep_what_is_loaded()
        server.run(sockets=[listener])
    finally:
        context.close()


def keep_what_is_loaded() -> None:
    """Let the garbage collector leave alone what lives as long as the process, and look at the rest less often.

    A request makes a few hundred objects that reference counts free at once; a full collection is 100 ms for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


if __name__ == "__main__":
    raise SystemExit(main())
