"""Brokerage rounds: bunches without a site get one by the rules of domain.md 2.2, up to their sites' windows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping

from panda.brokerage.choose import run_round
from panda.brokerage.decision import SiteDecision, Verdict
from panda.brokerage.journal import RoundRecord, to_json
from panda.brokerage.snapshot import BunchFacts, RoundSnapshot, SiteFacts
from panda.ddm.port import Did, ReplicaState
from panda.domain.lease import Lease
from panda.domain.states import JobStatus
from panda.services.assign import REFILL_S, thresholds
from panda.services.context import Context
from panda.services.story import fenced
from panda.store import ends, facts, inputs, placement, work
from panda.store.placement import Placed

ROUND = 500
"""Most bunches of one round."""


@dataclass(frozen=True, slots=True)
class PlacedBunches:
    """How many bunches got a site, wait for a later round, or can run nowhere; and why the waiting ones wait."""

    placed: int
    waiting: int
    impossible: int
    waits_for: str | None = None


def place(ctx: Context, lease: Lease) -> PlacedBunches:
    """Run one brokerage round for the task's bunches without a site; the decisions are stored with all refusals."""
    with ctx.engine.begin() as connection:
        task = work.task_row(connection, lease.task_id)
        bunches = placement.bunches_to_place(connection, lease.task_id, ROUND)
        files = inputs.files_of_bunches(connection, [row["id"] for row in bunches]) if bunches else []
    if not bunches or task["hold"] is not None:
        return PlacedBunches(0, 0, 0)
    there = _where(ctx, files)
    with fenced(ctx, lease) as connection:
        placement.lock_cloud(connection, task["cloud"])
        sites = facts.sites(connection, pilot_window_hours=thresholds(ctx).pilot_window_hours, refill_s=REFILL_S)
        return _round(ctx, connection, task, sites, _facts(sites, task, bunches, files, there))


def _where(ctx: Context, files: Sequence[RowMapping]) -> dict[Did, set[str]]:
    """Ask the catalogue at which RSEs the input files are."""
    dids = list({Did(row["scope"], row["lfn"]) for row in files})
    found: dict[Did, set[str]] = defaultdict(set)
    if dids:
        for replica in ctx.ddm.replicas(dids):
            if replica.state is ReplicaState.AVAILABLE:
                found[replica.did].add(replica.rse)
    return found


def _facts(
    known: Sequence[SiteFacts],
    task: RowMapping,
    bunches: Sequence[RowMapping],
    files: Sequence[RowMapping],
    there: dict[Did, set[str]],
) -> tuple[BunchFacts, ...]:
    site_of = {rse: site.id for site in known for rse in site.rses}
    preset = next((site.id for site in known if site.name == task["preset_site"]), None)
    wish = facts.wish_of_task(known, task)
    distinct = {(row["bunch_id"], row["dataset_id"], row["file"]): row for row in files}
    sizes: Counter[int] = Counter()
    numbers: Counter[int] = Counter()
    at: dict[int, Counter[int]] = defaultdict(Counter)
    for (bunch, _, _), row in distinct.items():
        sizes[bunch] += row["bytes"]
        numbers[bunch] += 1
        for rse in there.get(Did(row["scope"], row["lfn"]), ()):
            if rse in site_of:
                at[bunch][site_of[rse]] += 1
    needs = facts.needs_of_task(task)
    return tuple(
        BunchFacts(
            id=row["id"],
            task_id=task["id"],
            priority=task["priority"],
            needs=needs,
            n_jobs=row["n_jobs"],
            n_input_files=numbers[row["id"]],
            input_bytes=sizes[row["id"]],
            preset_site_id=preset,
            preset_site=task["preset_site"] or "",
            wish=wish,
            files_at=dict(at[row["id"]]),
        )
        for row in bunches
    )


def _round(
    ctx: Context, connection: Connection, task: RowMapping, sites: list[SiteFacts], bunches: tuple[BunchFacts, ...]
) -> PlacedBunches:
    limits = thresholds(ctx)
    cloud = next(one for one in facts.clouds(connection, sites) if one.name == task["cloud"])
    snapshot = RoundSnapshot(cloud, tuple(site for site in sites if site.cloud == cloud.name))
    seed = bunches[0].id
    decisions = run_round(bunches, snapshot, limits, seed)
    said = placement.waits_for(connection, [one.id for one in bunches])
    news = [one for one in decisions if one.verdict is not Verdict.WAIT or said.get(one.bunch_id) != one.reason]
    placed = 0
    if news:
        record = RoundRecord(snapshot, bunches, limits, seed, decisions)
        round_id = placement.add_round(
            connection, kind="site", cloud=cloud.name, seed=seed, snapshot=to_json(record), thresholds=to_json(limits)
        )
        placed = _apply(connection, task, news, round_id)
    reasons = Counter(one.reason for one in decisions if one.verdict is Verdict.WAIT)
    verdicts = Counter(one.verdict for one in decisions)
    return PlacedBunches(
        placed,
        verdicts[Verdict.WAIT],
        verdicts[Verdict.IMPOSSIBLE],
        f"AwaitingSite: {reasons.most_common(1)[0][0]}" if reasons else None,
    )


def _apply(connection: Connection, task: RowMapping, decisions: Sequence[SiteDecision], round_id: int) -> int:
    """Carry out and store decisions that say something new; returns how many bunches got a site.

    A bunch that waits as before is not among them: it has its last decision already.
    """
    numbers = {
        one.bunch_id: placement.add_decision(
            connection,
            round_id,
            task_id=task["id"],
            bunch_id=one.bunch_id,
            chosen=one.chosen_name or None,
            reason=one.reason,
            decision=to_json(one),
        )
        for one in decisions
    }
    placed = [Placed(one.bunch_id, one.chosen, numbers[one.bunch_id]) for one in decisions if one.chosen is not None]
    done = placement.assign(connection, placed, "brokered")
    waiting = {one.bunch_id: one.reason for one in decisions if one.verdict is Verdict.WAIT}
    placement.set_waiting(connection, waiting)
    never = {one.bunch_id: one.reason for one in decisions if one.verdict is Verdict.IMPOSSIBLE}
    for bunch, reason in sorted(never.items()):
        jobs = placement.jobs_without_pilot(connection, bunch)
        ends.end_jobs(connection, jobs, JobStatus.FAILED, why=f"brokerage 100: {reason}", who="brokerage")
        work.add_incident(connection, "error", "brokerage", f"bunch:{bunch}", reason)
    return len(done)
