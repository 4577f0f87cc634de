"""Cloud assignment: one production task, one cloud, decided once by the rules of domain.md 2.1, stored with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, RowMapping

from panda.brokerage.cloud import AssignedTask, assign_cloud, remaining_work
from panda.brokerage.decision import Candidate, CloudDecision, CopyRequest
from panda.brokerage.journal import CloudRecord, to_json
from panda.brokerage.snapshot import CloudFacts, DatasetFacts, DatasetLocation, SiteFacts, TaskFacts, process_group
from panda.brokerage.thresholds import Thresholds
from panda.ddm.port import DatasetSpec, DdmError, Did, TransferRequest
from panda.domain.lease import Lease
from panda.domain.names import scope_of
from panda.domain.states import TaskStage
from panda.services.context import Context
from panda.services.story import fenced
from panda.store import facts, placement, work

REFILL_S = 60.0


@dataclass(frozen=True, slots=True)
class Assigned:
    """The cloud of a task, or what it waits for."""

    cloud: str | None
    waits_for: str | None = None


def thresholds(ctx: Context) -> Thresholds:
    """Give the thresholds of brokerage as the settings have them."""
    return Thresholds(**ctx.settings.brokerage.model_dump())


def assign(ctx: Context, lease: Lease) -> Assigned:
    """Assign the task to a cloud and make its output datasets; a task that has a cloud keeps it."""
    with ctx.engine.begin() as connection:
        task = work.task_row(connection, lease.task_id)
        inputs = work.inputs_of(connection, lease.task_id)
        waiting = _input_that_is_not_there(ctx, connection, inputs)
    if task["stage"] != TaskStage.REGISTERED:
        return Assigned(task["cloud"])
    if waiting is not None:
        return Assigned(None, waiting)
    located = locate(ctx, [row["dataset"] for row in inputs])
    make_output_datasets(ctx, lease.task_id)
    with fenced(ctx, lease) as connection:
        decision = _decide(ctx, connection, task, located)
    if decision.subscribe is not None:
        _subscribe(ctx, decision.subscribe)
    if decision.chosen is None:
        return Assigned(None, f"AwaitingCloud: {decision.reason}")
    return Assigned(decision.chosen)


def _input_that_is_not_there(ctx: Context, connection: Connection, inputs: list[RowMapping]) -> str | None:
    """Say which input dataset is still being written or has vanished; None when all can be read."""
    for row in inputs:
        known = work.dataset_by_name(connection, row["dataset"])
        if known is not None and known["kind"] in {"output", "log"}:
            if known["state"] == "open":
                return f"AwaitingInput: dataset {row['dataset']} of task {known['task_id']} is not closed yet"
        elif ctx.ddm.dataset(Did(scope_of(row["dataset"]), row["dataset"])) is None:
            return f"AwaitingInput: dataset {row['dataset']} is not in the catalogue (any more)"
    return None


def make_output_datasets(ctx: Context, task_id: int) -> None:
    """Make the task's output and log datasets in the DDM, open and empty; may be repeated."""
    with ctx.engine.begin() as connection:
        task = work.task_row(connection, task_id)
        rows = work.datasets_of(connection, task_id)
    if task["ddm_mode"] == "none":
        return
    specs = [
        DatasetSpec(Did(row["scope"], row["name"]), meta={"task": str(task_id), "kind": row["kind"]})
        for row in rows
        if row["state"] == "open"
    ]
    ctx.ddm.create_datasets(specs).raise_first()


def locate(ctx: Context, names: list[str]) -> tuple[tuple[DatasetFacts, ...], str]:
    """Ask the catalogue where the input datasets are; the second value is its error, if it cannot be asked."""
    dids = [Did(scope_of(name), name) for name in dict.fromkeys(names)]
    try:
        parts = {did: ctx.ddm.expand(did) for did in dids}
        everything = [one for some in parts.values() for one in some]
        at = ctx.ddm.locations(everything)
        moving = ctx.ddm.transfers_of(everything)
        homes = {info.name: info.cloud for info in ctx.ddm.rses() if info.tier == 1}
    except DdmError as error:
        return (), str(error)
    found = []
    for did in dids:
        clouds: dict[str, DatasetLocation] = {}
        size = 0
        if _is_empty(ctx, parts[did], at):
            continue  # nowhere, and yet nothing is missing: expansion says what becomes of a task without any file
        for part in parts[did]:
            totals = [one.total_bytes for one in at.get(part, {}).values()]
            size += max(totals, default=0)
            coming = {homes[t.rse] for t in moving.get(part, []) if t.rse in homes and t.state in {"QUEUED", "MOVING"}}
            for rse, amount in at.get(part, {}).items():
                cloud = homes.get(rse)
                if cloud is not None:
                    clouds[cloud] = DatasetLocation(
                        cloud,
                        held=amount.available_files > 0,
                        complete=amount.complete,
                        files_present=amount.available_files,
                        files_looked_up=amount.total_files,
                        copying=cloud in coming,
                    )
            for cloud in coming - clouds.keys():
                clouds[cloud] = DatasetLocation(cloud, held=False, complete=False, copying=True)
        found.append(DatasetFacts(did.name, size, tuple(clouds[name] for name in sorted(clouds))))
    return tuple(found), ""


def _is_empty(ctx: Context, parts: Sequence[Did], at: Mapping[Did, object]) -> bool:
    """Tell whether a dataset is closed and has no file; only those without any location are looked at."""
    if any(at.get(part) for part in parts):
        return False
    infos = [ctx.ddm.dataset(part) for part in parts]
    return all(info is not None and not info.open and info.files == 0 for info in infos)


def _decide(
    ctx: Context, connection: Connection, task: RowMapping, located: tuple[tuple[DatasetFacts, ...], str]
) -> CloudDecision:
    limits = thresholds(ctx)
    sites = facts.sites(connection, pilot_window_hours=limits.pilot_window_hours, refill_s=REFILL_S)
    clouds = facts.clouds(connection, sites)
    if task["cloud"] is not None:
        return _preset(connection, task)
    case = TaskFacts(
        id=task["id"],
        task_type=task["task_type"],
        priority=task["priority"],
        needs=facts.needs_of_task(task),
        expected_work=task["exp_remaining_work"],
        inputs=located[0],
        catalogue_error=located[1],
        wish=facts.wish_of_task(sites, task),
    )
    case = with_remaining(connection, case)
    seed = int(task["id"])
    decision = assign_cloud(case, clouds, limits, seed, sites)
    _store(connection, case, clouds, sites, limits, decision, seed)
    if decision.chosen is not None:
        work.update_task(connection, task["id"], cloud=decision.chosen)
        work.set_stage(connection, task["id"], TaskStage.ASSIGNED)
    return decision


def _preset(connection: Connection, task: RowMapping) -> CloudDecision:
    """Keep the cloud that the request itself names."""
    cloud = task["cloud"]
    work.set_stage(connection, task["id"], TaskStage.ASSIGNED)
    return CloudDecision(task["id"], cloud, (Candidate(cloud),), f"cloud {cloud} was asked for")


def with_remaining(connection: Connection, case: TaskFacts) -> TaskFacts:
    """Give the task's facts with the remaining work of all other tasks (domain.md 2.1 step 2)."""
    others = [
        AssignedTask(row["cloud"], row["priority"], process_group(row["processing_type"]), float(row["work"]))
        for row in facts.other_tasks(connection, case.id)
    ]
    return replace(case, remaining=remaining_work(case, (), others))


def _store(
    connection: Connection,
    case: TaskFacts,
    clouds: list[CloudFacts],
    sites: list[SiteFacts],
    limits: Thresholds,
    decision: CloudDecision,
    seed: int,
) -> None:
    record = CloudRecord(case, tuple(clouds), tuple(sites), limits, seed, decision)
    round_id = placement.add_round(
        connection, kind="cloud", cloud=None, seed=seed, snapshot=to_json(record), thresholds=to_json(limits)
    )
    placement.add_decision(
        connection,
        round_id,
        task_id=case.id,
        bunch_id=None,
        chosen=decision.chosen,
        reason=decision.reason,
        decision=to_json(decision),
    )
    words = f"task {case.id} -> cloud {decision.chosen}" if decision.chosen else f"task {case.id} has no cloud"
    level = "info" if decision.chosen else "warning"
    work.add_incident(connection, level, "taskbrokerage", f"task:{case.id}", f"{words}: {decision.reason}")


def _subscribe(ctx: Context, wanted: CopyRequest) -> None:
    """Copy the missing datasets to a T1 (domain.md 2.1 step 9); the next round finds them there."""
    requests = [
        TransferRequest(Did(scope_of(name), name), rse, activity="Production Input", comment=f"cloud {wanted.cloud}")
        for name in wanted.datasets
        for rse in wanted.rses[:1]
    ]
    ctx.ddm.request(requests).raise_first()
