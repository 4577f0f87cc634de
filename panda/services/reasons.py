"""The pieces of which `why` is made: sentences on brokerage, transfers, pilots and queues, from stored facts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping

from panda.brokerage.decision import Candidate, CloudDecision, SiteDecision, Verdict
from panda.brokerage.journal import from_json
from panda.brokerage.matching import ClassFacts, refusal
from panda.ddm.port import DdmError, Did, ReplicaState, TransferState, TransferStatus
from panda.domain.views.answers import Facts
from panda.domain.words import ago, clock, counted, size, span
from panda.services.context import Context
from panda.services.remedies import names, remedies
from panda.services.supply import STALE_S, slots
from panda.store import causes, facts
from panda.store import explain as store
from panda.store import supply as supply_store

WINDOW_H = 3
MOST_BLOCKS = 5
LOOKED_AT = 200
"""Files of a block whose copies are looked for: enough to say where they lie."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A brokerage decision in words, and its candidates as a table."""

    lines: tuple[str, ...]
    table: Facts


def cloud_choice(now: datetime, row: RowMapping) -> Decided:
    """Say why a task has the cloud it has, or none."""
    decision = from_json(CloudDecision, row["decision"])
    chosen = f"Cloud {decision.chosen} was chosen" if decision.chosen else "No cloud was found"
    lines = [f"{chosen} {ago(now, row['at'])}: {decision.reason}."]
    change = remedies(decision.candidates) if decision.chosen is None else ""
    if change:
        lines.append(f"What would change it: {change}.")
    if decision.subscribe is not None:
        lines.append(f"Its input is being copied to the tier 1 of {decision.subscribe.cloud}; the next round finds it.")
    return Decided(tuple(lines), candidates(decision.candidates, decision.chosen, "weight"))


def site_choice(now: datetime, row: RowMapping) -> Decided:
    """Say why a bunch has the site it has, or none, and whether waiting helps."""
    decision = from_json(SiteDecision, row["decision"])
    lines = {
        Verdict.PLACED: f"Site {decision.chosen_name} was chosen {ago(now, row['at'])}: {decision.reason}.",
        Verdict.WAIT: f"No site could take it {ago(now, row['at'])}: {decision.reason}. A later round tries again.",
        Verdict.IMPOSSIBLE: f"No site of the cloud can ever run it: {decision.reason}. "
        "Another request, or a site that gets what is missing, would change that.",
    }[decision.verdict]
    change = remedies(decision.candidates) if decision.verdict is not Verdict.PLACED else ""
    told = (lines, f"What would change it: {change}.") if change else (lines,)
    return Decided(told, candidates(decision.candidates, decision.chosen_name or None, "load"))


def candidates(found: Iterable[Candidate], chosen: str | None, number: str) -> Facts:
    """Make a table of candidates; `number` is what they competed with: weight (clouds) or load (sites)."""
    rows = [_candidate(one, chosen, number) for one in found]
    return Facts(("candidate", "verdict", "rule", "value", "threshold", "why", number, "input files"), tuple(rows))


def _candidate(one: Candidate, chosen: str | None, number: str) -> tuple[str, ...]:
    files = str(one.files)
    if one.rejection is None:
        verdict = "chosen" if one.name == chosen else "passed"
        return one.name, verdict, "", "", "", "", _number(getattr(one, number)), files
    because = one.rejection
    verdict = "never" if because.permanent else "refused"
    return (
        one.name, verdict, f"{because.name} ({because.rule})", _number(because.value), _number(because.threshold),
        because.text, "", files,
    )  # fmt: skip


def _number(found: float | str | None) -> str:
    if isinstance(found, float):
        return f"{found:.4g}"
    return "" if found is None else str(found)


def blocks(ctx: Context, now: datetime, rows: Sequence[RowMapping], limit: int = MOST_BLOCKS) -> list[str]:
    """Say of blocks under way where they go, how fast, which files are missing, where these lie, and the last error.

    At most `limit` blocks are told one by one.
    """
    if not rows:
        return []
    try:
        states = ctx.ddm.status([row["transfer_id"] for row in rows if row["transfer_id"]])
        lines = []
    except DdmError as error:
        states, lines = {}, [f"The data management does not answer: {error}"]
    for row in rows[:limit]:
        status = states.get(row["transfer_id"])
        lines.append(_block(now, row, status))
        if status is None or status.state is not TransferState.OK:
            lines += _missing(ctx, row)
    if len(rows) > limit:
        lines.append(f"... and {counted(len(rows) - limit, 'block')} more: `panda transfers` lists them.")
    return lines


def _block(now: datetime, row: RowMapping, status: TransferStatus | None) -> str:
    words = f"Block {row['name']} ({counted(row['n_files'], 'file')}, {size(row['bytes'])}) to {row['rse']}: "
    if row["transfer_id"] is None:
        words += f"not asked for yet, {row['state']} {ago(now, row['since'])}"
    elif status is None:
        words += f"{row['state']} {ago(now, row['since'])}, unknown to the data management"
    else:
        words += f"{status.state.value}, asked for {ago(now, row['created_at'])}, {status.ok} arrived, "
        words += f"{status.moving} on their way, {status.stuck} stuck{_pace(now, row, status)}"
    error = (status.error if status else "") or row["error"]
    return words + (f"; last error: {error}" if error else "") + "."


def _pace(now: datetime, row: RowMapping, status: TransferStatus) -> str:
    """Say how fast a transfer is, from what arrived and the time since it was asked for."""
    seconds = (now - row["created_at"]).total_seconds()
    if seconds <= 0 or status.state is not TransferState.MOVING:
        return ""
    left = row["bytes"] - status.bytes
    pace = status.bytes / seconds
    words = f"; {size(status.bytes)} of {size(row['bytes'])} in {span(seconds)} ({size(pace)}/s)"
    return words + (f", at this pace {span(left / pace)} more" if pace and left > 0 else "")


def _missing(ctx: Context, row: RowMapping) -> list[str]:
    """Name the files of a block that are not at its storage, and where copies of them are."""
    with ctx.engine.connect() as connection:
        wanted = [Did(one["scope"], one["lfn"]) for one in causes.files_of_block(connection, row["id"], LOOKED_AT)]
    found: dict[Did, list[str]] = {did: [] for did in wanted}
    try:
        for replica in ctx.ddm.replicas(wanted) if wanted else ():
            if replica.state is ReplicaState.AVAILABLE:
                found[replica.did].append(replica.rse)
    except DdmError:
        return []
    missing = {did: rses for did, rses in found.items() if row["rse"] not in rses}
    if not missing:
        return []
    places = Counter(rse for rses in missing.values() for rse in rses)
    nowhere = [did.name for did, rses in missing.items() if not rses]
    lie = ", ".join(f"{rse} ({n})" for rse, n in places.most_common()) or "nowhere"
    lines = [f"  Missing there: {names([did.name for did in missing])}. Copies of them are at: {lie}."]
    if nowhere:
        lines.append(f"  No copy of {names(nowhere)} is known anywhere: it has to be made or registered again.")
    return lines


def pilots(connection: Connection, now: datetime, site_id: int, name: str) -> str:
    """Say when pilots were last seen at a site."""
    seen = store.pilots_seen(connection, site_id)
    last = max((one for one in (seen["last_get_job"], seen["last_update_job"]) if one), default=None)
    if not seen["nodes"]:
        return f"No pilot was seen at {name} in {WINDOW_H} h (last: {ago(now, last)}): start pilots for its queues."
    return f"{counted(seen['nodes'], 'worker node')} of {name} seen in {WINDOW_H} h, the last {ago(now, last)}."


def takers(connection: Connection, site_id: int, row: RowMapping) -> list[str]:
    """Say which queues of a site hand out jobs of a class, with their pilots, and why the others refuse them."""
    wanted = ClassFacts(row["class_id"], site_id, facts.needs_of_class(row))
    lines = []
    for slot in slots(connection, site_id):
        rejection = refusal(slot.pilot, wanted, slot.queue)
        words = "takes such jobs" if rejection is None else f"refuses them: {rejection.text}"
        lines.append(f"Queue {slot.queue.name} {words}.")
    return [*lines, *queues(connection, site_id)] or ["The site has no queue."]


def queues(connection: Connection, site_id: int) -> list[str]:
    """Say of a site's queues how many pilots they have and may have."""
    loads = supply_store.loads(connection, STALE_S)
    lines = []
    for one in supply_store.queue_limits(connection):
        if one.site_id == site_id:
            load = loads.get(one.name, supply_store.QueueLoad())
            most = f"at most {one.max_pilots}" if one.max_pilots else "no limit"
            lines.append(
                f"Queue {one.name} is {one.status}: {counted(load.working, 'pilot')} at work, {load.submitted} on the"
                f" way ({most}); {counted(load.running, 'job')} in their hands."
            )
    return lines


def limit(now: datetime, since: datetime, seconds: int, setting: str, what: str) -> str:
    """Say what happens when something has lasted too long, when that is, and which setting says so."""
    end = since + timedelta(seconds=seconds)
    when = f"in {span((end - now).total_seconds())} (at {clock(end)})" if end > now else "with the watcher's next round"
    return f"If nothing changes, {what} {when}: PANDA_WATCHER__{setting.upper()} is {seconds} s."
