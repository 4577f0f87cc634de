"""Owns `python -m panda.cli`, the same as the command `panda`."""

from panda.cli import main

main()
