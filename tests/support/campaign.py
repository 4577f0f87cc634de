"""Owns a small grid at work for tests: the tiny grid, pilots that write real files, a mover of real bytes, stories.

Everything runs in the test's own thread, step by step, so that a test decides what happens when.
"""

import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from panda.ddm.embedded import claims, copier, events, outcomes
from panda.ddm.embedded.claims import Claimer, Limits
from panda.ddm.embedded.outcomes import Patience
from panda.ddm.embedded.pace import Buckets
from panda.ddm.embedded.transactions import run
from panda.ddm.port import Did
from panda.domain.dispatch import ErrorPair, HandedJob, JobUpdate, OutputReport, PilotAsk, UpdateAnswer
from panda.domain.lease import Lease
from panda.domain.names import file_path
from panda.domain.states import FINAL_TASK, JobStatus, TaskStage
from panda.domain.work import InputSpec, OutputSpec, Split, TaskRequest
from panda.services import assign, complete, dispatch, grid, place, prepare, stage, story, submit, upkeep
from panda.services.context import Context
from tests.support.invariants import check

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "deployments" / "grids" / "tiny.yaml"
T1, T2 = "ALPHA", "BETA"
NODE = "node1"
AGENT = 1
QUICK = Patience(tries=3, backoff_s=0.0, backoff_max_s=0.0)


def an_evgen(name: str = "evgen", n_jobs: int = 5, **changes: Any) -> TaskRequest:
    """A task without input: one output and one log per job."""
    request = TaskRequest(
        name=f"mc.{name}",
        transformation="evgen",
        parameters="--seed ${SEED} --out ${OUT0}",
        outputs=(
            OutputSpec("OUT", f"mc.{name}.EVNT", f"{name}.EVNT._${{SN}}.root"),
            OutputSpec("LOG", f"mc.{name}.log", f"{name}.log._${{SN}}.tgz", kind="log"),
        ),
        split=Split(n_jobs=n_jobs),
        bunch_size=20,
        max_attempts=3,
    )
    return replace(request, **changes)


def a_reader(name: str, dataset: str, split: Split, **changes: Any) -> TaskRequest:
    """A task that reads a dataset and has no log."""
    return an_evgen(
        name,
        inputs=(InputSpec("IN", (dataset,)),),
        split=split,
        outputs=(OutputSpec("OUT", f"mc.{name}.HITS", f"{name}.HITS._${{SN}}.root"),),
        **changes,
    )


@dataclass(slots=True)
class Campaign:
    """The tiny grid with everything that works on it."""

    ctx: Context

    def load(self) -> "Campaign":
        """Load the grid and let an idle pilot ask at both sites, for brokerage skips sites without pilots."""
        grid.load(self.ctx, grid.read_grid_file(TINY))
        for queue in (T1, T2):
            self.ask(queue)
        return self

    # --- pilots -----------------------------------------------------------------------------------------------------
    def ask(self, queue: str, n: int = 1, **facts: Any) -> tuple[HandedJob, ...]:
        """Ask for production jobs as a pilot does."""
        return self.ask_as(queue, "managed", n, **facts)

    def ask_as(self, queue: str, label: str, n: int = 1, **facts: Any) -> tuple[HandedJob, ...]:
        """Ask for jobs of a label."""
        return dispatch.acquire(self.ctx, PilotAsk(queue=queue, node=NODE, label=label, n_jobs=n, **facts))

    def path(self, rse: str, scope: str, lfn: str) -> Path:
        """Where a file lies at an RSE."""
        return self.ctx.settings.data_dir / "storage" / rse / file_path(scope, lfn)

    def write(self, job: HandedJob) -> tuple[OutputReport, ...]:
        """Read every input, check its sum, and write every output of a job to its site."""
        for one in job.inputs:
            content = self.path(one.rse, one.scope, one.lfn).read_bytes()
            assert f"{zlib.adler32(content):08x}" == one.adler32, f"{one.lfn} at {one.rse} has another content"
        made = []
        for output in job.outputs:
            content = f"{output.kind} of ordinal {job.ordinal} with {job.n_events} events\n".encode() * 10
            target = self.path(output.rse, output.scope, output.lfn)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            guid = str(uuid.uuid5(uuid.NAMESPACE_OID, output.lfn))
            made.append(OutputReport(output.lfn, guid, len(content), f"{zlib.adler32(content):08x}", output.rse))
        return tuple(made)

    def say(self, job: HandedJob, status: JobStatus, **more: Any) -> UpdateAnswer:
        """Report on a job as its pilot."""
        facts: dict[str, Any] = {"attempt": job.attempt, "lease": job.lease, "node": NODE} | more
        return dispatch.update(self.ctx, JobUpdate(job_id=job.job_id, status=status, **facts))

    def run(self, job: HandedJob) -> UpdateAnswer:
        """Run a job well, from its first to its last report."""
        self.say(job, JobStatus.STARTING)
        self.say(job, JobStatus.RUNNING)
        return self.say(job, JobStatus.FINISHED, outputs=self.write(job), wall_s=1.0)

    def fail(self, job: HandedJob, code: int = 1305, component: str = "pilot") -> UpdateAnswer:
        """Run a job to a failure."""
        self.say(job, JobStatus.RUNNING)
        return self.say(job, JobStatus.FAILED, errors=(ErrorPair(component, code, "payload failed"),))

    def run_all(self, *queues: str) -> int:
        """Let pilots take and run all that is ready; returns how many jobs."""
        done = 0
        for queue in queues or (T1, T2):
            while jobs := self.ask(queue, 10):
                for job in jobs:
                    self.run(job)
                done += len(jobs)
        return done

    # --- the DDM ----------------------------------------------------------------------------------------------------
    def move(self, most: int = 1000) -> int:
        """Copy what waits to be copied, as an agent does; returns how many files."""
        engine = self.ctx.engine
        moved = 0
        while moved < most:
            claimed = run(engine, partial(_claim, places=min(50, most - moved)))
            for claim in claimed.claims:
                outcome = copier.perform(copier.Job(claim), Buckets(), 1)
                if outcome is not None:
                    run(engine, partial(_record, outcome=outcome))
                moved += 1
            if not (claimed.claims or claimed.present or claimed.sourceless):
                return moved
        return moved

    def files_of(self, dataset: str) -> dict[str, str]:
        """LFN and checksum of every file of a dataset in the DDM; each is verified on disk at the T1 or T2."""
        found = {}
        for one in self.ctx.ddm.files(Did("mc", dataset)):
            copies = [self.path(rse, one.did.scope, one.did.name) for rse in (f"{T1}_DATADISK", f"{T2}_DATADISK")]
            there = [path.read_bytes() for path in copies if path.exists()]
            assert there, f"no copy of {one.did}"
            assert all(f"{zlib.adler32(content):08x}" == one.adler32 for content in there)
            found[one.did.name] = one.adler32
        return found

    # --- stories ----------------------------------------------------------------------------------------------------
    def submit(self, request: TaskRequest) -> int:
        """Submit a task."""
        return submit.submit_task(self.ctx, request, "tester")

    def tell(self, task_id: int) -> str | None:
        """Tell a task's story as far as it goes now; returns what it waits for."""
        lease = story.claim(self.ctx, task_id)
        if lease is None:
            return "Skipped"
        waits_for: str | None = "Failed: cut off"
        try:
            waits_for = self._tell(lease)
        finally:
            story.release(self.ctx, lease, waits_for, later_s=story.patience_s(self.ctx, lease, waits_for))
        return waits_for

    def _tell(self, lease: Lease) -> str | None:
        ctx = self.ctx
        cloud = assign.assign(ctx, lease)
        if cloud.waits_for:
            return cloud.waits_for
        made = prepare.expand(ctx, lease)
        if made.failed or made.waits_for:
            return made.waits_for
        placed = place.place(ctx, lease)
        staged = stage.stage(ctx, lease)
        end = complete.complete(ctx, lease)
        return None if end.stage else staged.waits_for or placed.waits_for or end.waits_for

    def turn(self) -> None:
        """One turn of everything but pilots: bytes, events, reports, orders, counters, and all due stories."""
        self.move()
        upkeep.round_once(self.ctx)
        for task_id in upkeep.due_tasks(self.ctx):
            self.tell(task_id)

    def drive(self, *tasks: int, turns: int = 40) -> list[TaskStage]:
        """Let everything work until the tasks have ended; returns how."""
        for _ in range(turns):
            if all(self.stage(one) in FINAL_TASK for one in tasks):
                break
            self.turn()
            self.run_all()
            for one in tasks:
                self.tell(one)
        return [self.stage(one) for one in tasks]

    def check(self) -> None:
        """Assert everything that must always hold."""
        with self.ctx.engine.connect() as connection:
            found = check(connection)
        assert not found, "\n".join(found)

    # --- looking ----------------------------------------------------------------------------------------------------
    def rows(self, query: str, **values: Any) -> list[RowMapping]:
        """Read rows."""
        with self.ctx.engine.begin() as connection:
            return list(connection.execute(text(query), values).mappings())

    def value(self, query: str, **values: Any) -> Any:
        """Read one value."""
        with self.ctx.engine.begin() as connection:
            return connection.scalar(text(query), values)

    def change(self, statement: str, **values: Any) -> int:
        """Change rows behind everybody's back, e.g. to let time pass."""
        with self.ctx.engine.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    def stage(self, task_id: int) -> TaskStage:
        """A task's stage."""
        return TaskStage(self.value("SELECT stage FROM production_task WHERE id = :t", t=task_id))

    def statuses(self, task_id: int) -> dict[str, int]:
        """How many jobs of a task are in each state."""
        rows = self.rows(
            """
            SELECT COALESCE(j.status::text, b.state::text) AS state, count(*) AS n
            FROM job j JOIN bunch b ON b.id = j.bunch_id WHERE j.task_id = :t GROUP BY 1
            """,
            t=task_id,
        )
        return {row["state"]: row["n"] for row in rows}


def _claim(connection: Connection, places: int) -> claims.Round:
    limits = Limits(everywhere=100, per_link=100, per_rse=100)
    claimed = claims.claim(connection, Claimer(AGENT, 60.0, limits), places)
    happenings = outcomes.settle_present(connection, claimed.present)
    happenings += outcomes.fail_sourceless(connection, claimed.sourceless, QUICK)
    events.write(connection, happenings)
    return claimed


def _record(connection: Connection, outcome: copier.Outcome) -> None:
    outcomes.record(connection, [outcome], QUICK, "test")


def transfers_of(campaign: Campaign, kind: str) -> Sequence[RowMapping]:
    """The blocks of one kind, with the files each brought."""
    return campaign.rows("SELECT name, kind, state, n_files, rse FROM block WHERE kind = :k ORDER BY id", k=kind)
