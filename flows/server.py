"""Owns Prefect's server as a part of ours: `prefect server start OPTIONS`, begun by `panda.launch`."""

import runpy
import sys

import prefect.cli.server
import prefect.server.api.server  # noqa: F401 - what is loaded here need not be loaded later


def main() -> None:
    """Be `prefect server start` with the arguments of this process."""
    sys.argv[:] = ["prefect", "server", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
