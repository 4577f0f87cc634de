"""Owns how one part runs alone: this process becomes it, with the environment it would have under `panda up`."""

import os
from collections.abc import Sequence

from panda.cli.parts import command_of, house_environment, server_environment
from panda.settings import load


def run(name: str, arguments: Sequence[str]) -> None:
    """Replace this process by the part; further arguments go to it."""
    settings = load()
    environment = house_environment(settings)
    if name == "prefect":
        environment.update(server_environment(settings))
    command = [*command_of(name, settings), *arguments]
    os.execve(command[0], command, environment)  # noqa: S606  # the whole point: no shell, this process becomes it
