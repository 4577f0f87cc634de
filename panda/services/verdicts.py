"""What is most likely wrong with a site or with the way to a storage: verdicts over stored facts, in words."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from panda.domain import shift
from panda.domain.shift import Pace, Tone
from panda.domain.views.grid import SiteView
from panda.domain.words import ago, counted, size, span
from panda.services.context import Context
from panda.store import explain as store
from panda.store import paces

HOURS = 3.0


def dead_site(ctx: Context, connection: Connection, now: datetime, site: SiteView) -> list[str]:
    """Say that a site looks dead, with all that speaks for it; nothing for one that does not.

    The limit of silence is that of a pilot with a running job: `PANDA_WATCHER__RUNNING_S`.
    """
    seen = store.pilots_seen(connection, site.id)
    last = max((one for one in (seen["last_get_job"], seen["last_update_job"]) if one), default=None)
    silent = (now - last).total_seconds() if last is not None else None
    waiting = site.jobs.get("activated", 0)
    limit = ctx.settings.watcher.running_s
    if site.status == "offline" or not shift.dead(silent, limit, waiting):
        return []
    ended = paces.ended_pilots(connection, site.id, HOURS)
    badly = (
        f" {ended['badly']} of {counted(ended['ended'], 'pilot')} ended badly in {HOURS:g} h." if ended["badly"] else ""
    )
    line = (
        f"{site.name} looks dead: {counted(waiting, 'job')} wait there for a pilot, and the last was heard of "
        f"{ago(now, last)} (allowed are {span(limit)}).{badly} What would change it: pilots that live there, so tell "
        f"the site; meanwhile `panda site {site.name} brokeroff` sends nothing more."
    )
    return [line]


def stuck_storage(rse: str, moving: Sequence[RowMapping]) -> list[str]:
    """Say that a storage takes no files; `moving` are blocks on their way."""
    stuck = [row for row in moving if row["state"] == "stuck" and row["rse"] == rse]
    if not stuck:
        return []
    error = next((row["error"] for row in stuck if row["error"]), "no error was told")
    line = (
        f"Storage {rse} does not take files: {counted(len(stuck), 'block')} stuck, the last error: {error}. "
        "What would change it: the storage; what is stuck is tried again by itself."
    )
    return [line]


def slow_ways(connection: Connection, rse: str | None = None) -> list[tuple[Pace, Pace]]:
    """Find the storages to which blocks come far slower than to the others: each with what is usual elsewhere.

    With `rse` only that one is looked at. What is usual is asked for those that can be slow at all.
    """
    found = []
    rows = paces.to_storages(connection, HOURS)
    least_s = min((row["least_s"] for row in rows), default=0.0)
    for row in rows:
        here = _pace(row)
        if (rse is not None and here.rse != rse) or here.seconds < shift.SLOW_LINK * least_s:
            continue
        usual = _elsewhere(connection, here.rse)
        if usual is not None and shift.slow(here, usual) is Tone.ALERT:
            found.append((here, usual))
    return found


def slow_way(connection: Connection, rse: str, sources: Sequence[str]) -> list[str]:
    """Say that the way to a storage is slow, with what is usual elsewhere; nothing if it is not."""
    said = slow_ways(connection, rse)
    source = f"from {' and '.join(sources)} " if sources else ""
    return [f"The link {source}to {rse} is slow: {in_numbers(here, usual)}." for here, usual in said]


def in_numbers(here: Pace, usual: Pace) -> str:
    """Compare two paces in words."""
    return (
        f"{counted(here.n, 'block')} of input came at {size(here.bytes_per_s)}/s at most (median of {HOURS:g} h), "
        f"to other storages {counted(usual.n, 'block')} at {size(usual.bytes_per_s)}/s"
    )


def _pace(row: RowMapping) -> Pace:
    return Pace(row["rse"], row["blocks"], row["seconds"], row["bytes_per_s"])


def _elsewhere(connection: Connection, rse: str) -> Pace | None:
    row = paces.to_others(connection, rse, HOURS)
    return Pace("elsewhere", row["blocks"], row["seconds"], row["bytes_per_s"]) if row["blocks"] else None
