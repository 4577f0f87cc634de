"""How the system does, in the few numbers that a probe needs."""

from dataclasses import dataclass
from datetime import datetime

from panda.services.context import Context
from panda.store import health as store


@dataclass(frozen=True, slots=True)
class Health:
    """The database answered at `at` (its own clock); events were folded into counters `folded_age_s` seconds before.

    `folded_age_s` is None when nobody has ever folded.
    """

    at: datetime
    folded_age_s: float | None


def check(ctx: Context) -> Health:
    """Ask the database; its own errors go through when it does not answer."""
    with ctx.engine.connect() as connection:
        found = store.health(connection)
    return Health(found["at"], found["folded_age_s"])
