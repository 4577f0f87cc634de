"""The collector: final reports become registered outputs, ended jobs and retries (the adder of 2009).

holding -> outputs registered at the site and in the sub-dataset -> finished at the T1 itself, else transferring until
the job's own files are there. Outputs enter their output dataset only after their job has finished: a final state never
changes, so a dataset never holds what a lost attempt made. Remote calls stand between transactions, never inside.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, RowMapping

from panda.ddm.port import DatasetSpec, DdmError, Did, FileSpec, ReplicaState, TransferRequest
from panda.domain.dispatch import ErrorPair
from panda.domain.names import scope_of
from panda.domain.states import JobStatus, TaskStage
from panda.domain.templates import JobNumbers, lfn_of
from panda.domain.verdict import DDM_ADDER, ExpectedOutput, FoundOutput, Verdict, judge
from panda.services.context import Context
from panda.services.dispatch import KILLED, job_numbers
from panda.services.ending import fail_jobs
from panda.services.turns import part
from panda.services.unneeded import SCOPE
from panda.store import blocks, collection, ends, handover, inputs, work
from panda.store.collection import OutputRow

BATCH = 200
SETTLED_AT_ONCE = 50
"""Jobs that get their next state in one transaction: few enough that no pilot's update waits long for their locks."""
AGAIN_S = 60.0
TRANSFER_LOOK_S = (1.0, 30.0)


@dataclass(frozen=True, slots=True)
class Collected:
    """What one round of the collector did."""

    finished: int = 0
    transferring: int = 0
    failed: int = 0
    attached: int = 0

    @property
    def anything(self) -> bool:
        """Tell whether another round at once may find more."""
        return bool(self.finished or self.transferring or self.failed or self.attached)


@dataclass(frozen=True, slots=True)
class _Case:
    row: RowMapping
    verdict: Verdict

    @property
    def moves(self) -> bool:
        """Outputs of a finished job leave the site for the cloud's T1."""
        home = self.row["home_rse"]
        return self.verdict.finished and self.row["ddm_mode"] != "none" and home not in {None, self.row["rse"]}

    @property
    def sub(self) -> Did:
        """Name of the sub-dataset that carries the outputs of the job's bunch from its site to the T1."""
        return Did(SCOPE, f"panda.{self.row['task_id']}.s{self.row['site_id']}_sub{self.row['bunch_id']}")


def collect(ctx: Context, limit: int = BATCH) -> Collected:
    """Run one round: new reports, then arrivals, then attaching; may run in several processes at once."""
    done = _collect_reports(ctx, limit)
    finished = _collect_arrivals(ctx, limit)
    attached = attach(ctx, limit=2000)
    return Collected(done.finished + finished, done.transferring, done.failed, attached)


def _collect_reports(ctx: Context, limit: int) -> Collected:
    with ctx.engine.begin() as connection:
        claimed = [one.job_id for one in collection.claim(connection, JobStatus.HOLDING.value, limit, AGAIN_S)]
    if not claimed:
        return Collected()
    with ctx.engine.begin() as connection:  # after the claim's commit: a report that cannot be judged comes last again
        cases = _judged(connection, claimed)
    cases, later = _register(ctx, cases)
    good, bad = [one for one in cases if one.verdict.finished], [one for one in cases if not one.verdict.finished]
    finished = transferring = failed = 0
    for chunk in _pieces(good, SETTLED_AT_ONCE):
        with ctx.engine.begin() as connection:
            finished += _settle_finished(connection, [one for one in chunk if not one.moves])
            transferring += _settle_moving(connection, [one for one in chunk if one.moves])
    for case in bad:
        with ctx.engine.begin() as connection:
            failed += _settle_failed(ctx, connection, case)
    if later:
        with ctx.engine.begin() as connection:
            collection.again(connection, dict.fromkeys(later, 5.0))
    return Collected(finished, transferring, failed)


def _pieces(cases: Sequence[_Case], size: int) -> list[Sequence[_Case]]:
    """Cut a sequence into pieces of at most `size`."""
    return [cases[start : start + size] for start in range(0, len(cases), size)]


def _judged(connection: Connection, jobs: Sequence[int]) -> list[_Case]:
    """Compare what the pilots reported with what the tasks expect of these jobs."""
    rows = collection.holding_jobs(connection, jobs)
    ids = [row["id"] for row in rows]
    handed = {row["id"]: row for row in handover.jobs_in_hand(connection, ids)}
    files: dict[int, list[RowMapping]] = defaultdict(list)
    for one in inputs.files_of_jobs(connection, ids):
        files[one["job_id"]].append(one)
    return [_Case(row, _judge(row, job_numbers(handed[row["id"]], files[row["id"]]))) for row in rows]


def _judge(row: RowMapping, numbers: JobNumbers) -> Verdict:
    expected = [
        ExpectedOutput(
            place,
            one["kind"],
            scope_of(one["dataset"]),
            lfn_of(one["lfn"], numbers),
            one["dataset"],
            bool(one.get("optional")),
        )
        for place, one in enumerate(row["expected"])
    ]
    return judge(row["verdict"], row["outputs"], row["errors"], expected, row["rse"])


# --- with the DDM ---------------------------------------------------------------------------------------------------
def _register(ctx: Context, cases: Sequence[_Case]) -> tuple[list[_Case], list[int]]:
    """Register all outputs at their sites and in their sub-datasets; the second value are jobs to try again later."""
    with_ddm = [case for case in cases if case.row["ddm_mode"] != "none" and case.verdict.outputs]
    groups: dict[tuple[str, Did | None], list[tuple[_Case, FoundOutput]]] = defaultdict(list)
    for case in with_ddm:
        for one in case.verdict.outputs:
            groups[one.rse, case.sub if case.moves else None].append((case, one))
    wrong: dict[int, str] = {}
    later: set[int] = set()
    for (rse, sub), pairs in groups.items():
        try:
            wrong.update(_register_group(ctx, rse, sub, pairs))
        except DdmError as error:
            if not error.retryable:
                wrong.update({case.row["id"]: str(error) for case, _ in pairs})
            else:
                later.update(case.row["id"] for case, _ in pairs)
    ready = [case for case in cases if case.row["id"] not in later]
    return [_with_error(case, wrong.get(case.row["id"])) for case in ready], sorted(later)


def _register_group(
    ctx: Context, rse: str, sub: Did | None, pairs: Sequence[tuple[_Case, FoundOutput]]
) -> dict[int, str]:
    """Register files of one RSE and sub-dataset; returns the jobs whose files the catalogue refused for good."""
    if sub is not None:
        meta = {"task": str(pairs[0][0].row["task_id"]), "kind": "sub"}
        ctx.ddm.create_datasets([DatasetSpec(sub, meta=meta)]).raise_first()
    owners = {_spec(case, one).did: case.row["id"] for case, one in pairs}
    answer = ctx.ddm.register_replicas(
        rse, [_spec(case, one) for case, one in pairs], dataset=sub, written_by="panda collector"
    )
    for _, error in answer.failed:
        if error.retryable:
            raise error
    if sub is not None and answer.done:
        home = pairs[0][0].row["home_rse"]
        comment = f"task_id:{pairs[0][0].row['task_id']}"
        asked = ctx.ddm.request([TransferRequest(sub, home, activity="Production Output", comment=comment)])
        asked.raise_first()
        _note_sub(ctx, pairs[0][0], sub, home, asked.ids[0])
    return {owners[did]: str(error) for did, error in answer.failed}


def _note_sub(ctx: Context, case: _Case, sub: Did, home: str, transfer: str | None) -> None:
    with ctx.engine.begin() as connection:
        if blocks.sub_block(connection, case.row["bunch_id"], case.row["site_id"]) is None and transfer is not None:
            blocks.add_sub(
                connection,
                name=sub.name,
                task_id=case.row["task_id"],
                site_id=case.row["site_id"],
                rse=home,
                bunch_id=case.row["bunch_id"],
                transfer_id=transfer,
            )


def _spec(case: _Case, one: FoundOutput) -> FileSpec:
    guid = one.guid or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{case.row['id']}:{one.expected.lfn}"))
    return FileSpec(Did(one.expected.scope, one.expected.lfn), one.bytes, one.adler32, guid, one.events)


def _with_error(case: _Case, error: str | None) -> _Case:
    """Make a job failed whose outputs the catalogue refuses (ddm error 200)."""
    if error is None:
        return case
    verdict = Verdict(False, (), (*case.verdict.errors, ErrorPair("ddm", DDM_ADDER, error[:500])))
    return _Case(case.row, verdict)


# --- the decision ---------------------------------------------------------------------------------------------------
def _settle_finished(connection: Connection, cases: Sequence[_Case]) -> int:
    """Finish jobs whose outputs lie where they belong; returns how many were not final already."""
    if not cases:
        return 0
    jobs, why = [case.row["id"] for case in cases], cases[0].verdict.words
    done = set(ends.end_jobs(connection, jobs, JobStatus.FINISHED, why=why, who="collector"))
    _add_outputs(connection, [case for case in cases if case.row["id"] in done], "ready")
    return len(done)


def _settle_moving(connection: Connection, cases: Sequence[_Case]) -> int:
    """Let jobs wait for their outputs to arrive at the T1; returns how many were not final already."""
    if not cases:
        return 0
    jobs, new = [case.row["id"] for case in cases], JobStatus.TRANSFERRING
    moved = ends.set_status(connection, jobs, new, why="outputs move to the T1", who="collector")
    collection.queue_for_collection(connection, moved, new.value)
    _add_outputs(connection, [case for case in cases if case.row["id"] in set(moved)], "transferring")
    return len(moved)


def _settle_failed(ctx: Context, connection: Connection, case: _Case) -> bool:
    """Fail a job and try it again; one that was killed on our order is cancelled (wire-protocol.md 9.1)."""
    job, stage, why = case.row["id"], TaskStage(case.row["stage"]), case.verdict.words
    if stage is TaskStage.ABORTING or any(_is_kill(one) for one in case.verdict.errors):
        ended: Sequence[int] = ends.end_jobs(connection, [job], JobStatus.CANCELLED, why=why, who="collector")
    else:
        ended = fail_jobs(ctx, connection, [job], case.verdict.errors, why=why, who="collector", charged=True).jobs
    if ended:
        _add_outputs(connection, [case], "ready")
    return bool(ended)


def _is_kill(pair: ErrorPair) -> bool:
    return (pair.component, pair.code) == (KILLED.component, KILLED.code)


def _add_outputs(connection: Connection, cases: Sequence[_Case], state: str) -> None:
    """Store the outputs of jobs; those of a task without data management are where they belong at once."""
    names = sorted({one.expected.dataset for case in cases for one in case.verdict.outputs})
    datasets = work.datasets_by_name(connection, names)
    rows = []
    for case in cases:
        for one in case.verdict.outputs:
            if one.expected.dataset not in datasets:
                continue
            spec = _spec(case, one)
            rows.append(
                OutputRow(
                    job_id=case.row["id"],
                    place=one.expected.place,
                    dataset_id=datasets[one.expected.dataset],
                    scope=spec.did.scope,
                    lfn=spec.did.name,
                    guid=spec.guid,
                    bytes=one.bytes,
                    adler32=one.adler32,
                    events=one.events,
                    rse=one.rse,
                    state="attached" if case.row["ddm_mode"] == "none" else state,
                )
            )
    collection.add_outputs(connection, rows)


# --- arrivals and attaching -----------------------------------------------------------------------------------------
def _collect_arrivals(ctx: Context, limit: int) -> int:
    """Finish the transferring jobs whose own files are all at the T1."""
    with ctx.engine.begin() as connection:
        claimed = collection.claim(connection, JobStatus.TRANSFERRING.value, limit, AGAIN_S)
        rows = collection.outputs_of(connection, [one.job_id for one in claimed]) if claimed else []
    if not claimed:
        return 0
    wanted: dict[int, set[tuple[str, Did]]] = defaultdict(set)
    for row in rows:
        wanted[row["job_id"]].add((row["home_rse"], Did(row["scope"], row["lfn"])))
    try:
        there = _present(ctx, {pair for pairs in wanted.values() for pair in pairs})
    except DdmError:
        there = set()
    complete = [one.job_id for one in claimed if wanted[one.job_id] <= there]
    shortest, longest = TRANSFER_LOOK_S
    later = {one.job_id: min(max(shortest, one.age_s / 4), longest) for one in claimed if one.job_id not in complete}
    with ctx.engine.begin() as connection:
        done = ends.end_jobs(connection, complete, JobStatus.FINISHED, why="outputs are at the T1", who="collector")
        collection.set_output_state(connection, done, "transferring", "ready")
        collection.again(connection, later)
    return len(done)


def _present(ctx: Context, wanted: Iterable[tuple[str, Did]]) -> set[tuple[str, Did]]:
    by_rse: dict[str, list[Did]] = defaultdict(list)
    for rse, did in wanted:
        by_rse[rse].append(did)
    return {
        (replica.rse, replica.did)
        for rse, dids in by_rse.items()
        for replica in ctx.ddm.replicas(dids, [rse])
        if replica.state is ReplicaState.AVAILABLE
    }


def attach(ctx: Context, *, limit: int, task_id: int | None = None) -> int:
    """Put outputs of ended jobs into their output datasets; a crash in between repeats it and changes nothing.

    A sweep (no task) goes on with the dataset after its last one: those that the DDM refuses hide no others.
    """
    with ctx.engine.begin() as connection:
        if task_id is None:
            read = partial(_next_to_attach, connection)
            rows = part(connection, "sweep attach", limit, read, lambda row: int(row["dataset_id"]))
        else:
            rows = collection.outputs_to_attach(connection, limit, task_id)
    groups: dict[Did, list[RowMapping]] = defaultdict(list)
    for row in rows:
        groups[Did(row["dataset_scope"], row["dataset"])].append(row)
    done = 0
    for dataset, members in groups.items():
        attached, problem = _attach_group(ctx, dataset, [Did(row["scope"], row["lfn"]) for row in members])
        keys = [(r["job_id"], r["place"]) for r in members if Did(r["scope"], r["lfn"]) in attached]
        with ctx.engine.begin() as connection:
            collection.set_attached(connection, keys)
            if problem:
                work.add_incident_once(connection, "error", "ddm", str(dataset), problem)
        done += len(keys)
    return done


def _next_to_attach(connection: Connection, after: int, limit: int) -> list[RowMapping]:
    return collection.outputs_to_attach(connection, limit, after=after)


def _attach_group(ctx: Context, dataset: Did, files: Sequence[Did]) -> tuple[set[Did], str]:
    """Attach files to one dataset; gives those that are in it, and what is wrong with the first of the others."""
    try:
        answer = ctx.ddm.attach(dataset, files)
    except DdmError as error:
        return set(), str(error)
    problem = f"{answer.failed[0][0]}: {answer.failed[0][1]}" if answer.failed else ""
    return set(answer.done), problem
