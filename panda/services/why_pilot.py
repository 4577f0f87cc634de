"""Why a pilot does what it does, or nothing: what its factory and its jobs say, and what waits that it may not take."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from panda.brokerage.matching import ClassFacts, refusal
from panda.brokerage.snapshot import Needs
from panda.domain.views.answers import Explanation
from panda.domain.words import ago, clock, counted, lasting
from panda.errors import BadRequest, NotFound
from panda.services.context import Context
from panda.services.supply import STALE_S, slots
from panda.store import causes
from panda.store import supply as store

MOST = 5


def why_pilot(ctx: Context, name: str) -> Explanation:
    """Why a pilot (`factory:number`) is as it is; raises NotFound or BadRequest."""
    factory, colon, number = name.rpartition(":")
    if not colon or not factory or not number.isascii() or not number.isdigit() or int(number) >= 2**63:
        raise BadRequest(f"{name!r} is no pilot.", "Write FACTORY:NUMBER as `panda workers` shows it, e.g. local:7.")
    now = ctx.clock()
    with ctx.engine.connect() as connection:
        row = causes.pilot(connection, factory, int(number))
        if row is None:
            raise NotFound(f"There is no pilot {name}.", "`panda workers --all` lists them.")
        hand = causes.hand_of(connection, factory, int(number))
        lines = [*_said(now, row), *_place(row), *_hand(now, hand)]
        if not hand and row["ended_at"] is None and row["site_id"] is not None:
            lines += _nothing_to_take(connection, now, row)
    return Explanation(f"Pilot {name} of queue {row['queue']}: {row['status']}", tuple(lines))


def _said(now: datetime, row: RowMapping) -> list[str]:
    node = f" on node {row['node']}" if row["node"] else ""
    batch = f" (batch id {row['batch_id']})" if row["batch_id"] else ""
    lines = [f"Its factory says {row['status']}{node}{batch}; last heard of {ago(now, row['seen_at'])}."]
    for word, when in (("submitted", "submitted_at"), ("started", "started_at"), ("ended", "ended_at")):
        if row[when] is not None:
            lines.append(
                f"It {word} at {clock(row[when])} ({ago(now, row[when])}).".replace("It submitted", "It was submitted")
            )
    if row["diag"]:
        lines.append(f"It says: {row['diag']}.")
    if row["ended_at"] is None and (now - row["seen_at"]).total_seconds() > STALE_S:
        lines.append(
            f"Nobody spoke of it for {lasting(now, row['seen_at'])}, so it does not count as a pilot any more: "
            "is its factory up?"
        )
    lines.append(f"Jobs it has had: {row['n_jobs']}.")
    return lines


def _place(row: RowMapping) -> list[str]:
    if row["site"] is None:
        return [f"Queue {row['queue']} is not in the grid: it gets nothing."]
    lines = []
    if row["site_status"] != "online":
        comment = row["comment"] or "no comment"
        lines.append(
            f"Site {row['site']} is {row['site_status']} ({comment}); "
            f"`panda site {row['site']} online` would change that."
        )
    if row["queue_status"] != "online":
        lines.append(f"Queue {row['queue']} is {row['queue_status']} by the grid file.")
    return lines


def _hand(now: datetime, hand: Sequence[RowMapping]) -> list[str]:
    lines = []
    for one in hand:
        command = f"; the command {one['command']!r} waits for its next update" if one["command"] else ""
        lines.append(
            f"It holds job {one['job_id']} of task {one['task_id']} ({one['status']}) for {lasting(now, one['since'])},"
            f" last heard of {ago(now, one['last_seen'])}{command}."
        )
    return lines


def _nothing_to_take(connection: Connection, now: datetime, row: RowMapping) -> list[str]:
    """Say what waits at its site, and why a pilot with its queue's whole slot may not take it."""
    asked = row["last_get_job"]
    node = f"Node {row['node']} asked for work {ago(now, asked)}." if asked is not None else "It never asked for work."
    lines = [f"It holds no job. {node}"]
    waiting = [one for one in store.waiting_classes(connection) if one.site_id == row["site_id"]]
    if not waiting:
        return [
            *lines,
            f"No job is ready for a pilot at {row['site']}: `panda why site {row['site']}` says what comes.",
        ]
    slot = next((one for one in slots(connection, row["site_id"]) if one.queue.name == row["queue"]), None)
    for one in waiting[:MOST]:
        needs = Needs(**{name: getattr(one, name) for name in Needs.__slots__})
        wanted = ClassFacts(one.id, one.site_id, needs)
        rejection = refusal(slot.pilot, wanted, slot.queue) if slot is not None else None
        asks = f"{one.label}, {counted(one.cores, 'core')}, {one.memory_mb} MB"
        what = f"{counted(one.n, 'job')} of {one.vo} ({asks})"
        if rejection is None:
            lines.append(f"{what} wait there; it may take them with its next request.")
        else:
            lines.append(f"{what} wait there; it may not take them: {rejection.text}.")
    return lines
