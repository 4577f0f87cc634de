"""The outside world of the steps: one Context per process, made when the first step needs it."""

from functools import lru_cache

from panda import wiring
from panda.services.context import Context
from panda.settings import load


@lru_cache(maxsize=1)
def world() -> Context:
    """Connect once; raises SchemaMismatch when the database is older or newer than this program."""
    return wiring.connect(load(), application="panda flows")
