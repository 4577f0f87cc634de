"""`python -m pilot`: one pilot on this node."""

import sys
import time
from collections.abc import Sequence

from pilot.settings import parse_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one pilot to its end."""
    began = time.monotonic()
    settings = parse_settings(arguments)
    from pilot.client import Server
    from pilot.loop import Pilot
    from pilot.processes import become_subreaper
    from pilot.steps import log_to_stderr
    from pilot.stop import StopRequest

    log_to_stderr()
    stop = StopRequest()
    stop.listen()
    become_subreaper()
    server = Server(
        settings.server, token_file=settings.token_file, ca_file=settings.ca_file, timeout_s=settings.http_timeout
    )
    return Pilot(settings, server, stop, began).run()


if __name__ == "__main__":
    sys.exit(main())
