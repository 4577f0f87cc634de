"""The outside world of the steps: one Context per process, made when the first step needs it."""

from functools import lru_cache

from panda import wiring
from panda.services.context import Context
from panda.settings import load

STATEMENT_LIMIT_S, LOCK_LIMIT_S = 600.0, 120.0
"""What bounds a step: all it waits for is the database. Prefect cannot interrupt a step that runs in a thread."""


@lru_cache(maxsize=1)
def world() -> Context:
    """Connect once; raises SchemaMismatch when the database is older or newer than this program."""
    bounds = wiring.Bounds(STATEMENT_LIMIT_S, LOCK_LIMIT_S)
    return wiring.connect(load(), application="panda flows", bounds=bounds)
