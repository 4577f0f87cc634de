"""Owns how a process of ours begins: its code is loaded before the garbage collector looks at anything.

`python -m panda.launch MODULE ARGUMENTS` imports the module and calls its `main()`. Loading Prefect makes a million
objects that live for ever; collecting among them again and again is a sixth of the time until the process is up.
"""

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Load code in this block; what it makes stays, and later collections need not look at it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    """Import the module that the first argument names and run its `main` with the others."""
    del sys.argv[0]
    with loading():
        module = importlib.import_module(sys.argv[0])
    raise SystemExit(module.main())


if __name__ == "__main__":
    main()
