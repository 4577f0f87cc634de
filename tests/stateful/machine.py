"""A hypothesis machine over the services: anything in any order, and after every step all that must hold holds.

Everything is real: PostgreSQL, the embedded DDM with files on disk, every service. What elsewhere happens at the same
time happens here one after the other, in an order that hypothesis chooses; the interleavings that matter most (a story
whose lease was lost, two collectors, a notification that was overtaken) are rules of their own. In the end everything
is drained: every task must end, its datasets closed.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import create_engine
from typing_extensions import override

from panda.domain.dispatch import HandedJob
from panda.domain.states import FINAL_TASK, JobStatus
from panda.domain.work import Split
from panda.embedded import Address
from panda.errors import Conflict, LeaseLost
from panda.services import activate, assign, control, place, prepare, recover, story, upkeep
from panda.store import queue
from tests.support.builders import a_context
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen
from tests.support.database import cloned_database
from tests.support.interrupted import between_transactions

_numbers = itertools.count(1_000_001)
MOST_TASKS = 4
SIGNS_OF_LIFE = (JobStatus.STARTING, JobStatus.RUNNING, JobStatus.HOLDING)
ACTS = ("collect", "orders", "fold", "tell", "watch", "sweep")
picks = st.integers(0, 11)
sites = st.sampled_from((T1, T2))


class Machine(RuleBasedStateMachine):
    """PanDA with its users, operators, pilots, data management and time."""

    def __init__(self, cluster: Address) -> None:
        super().__init__()
        self.end = contextlib.ExitStack()
        url = self.end.enter_context(cloned_database(cluster, f"machine_{next(_numbers)}"))
        folder = self.end.enter_context(tempfile.TemporaryDirectory(prefix="machine-"))
        engine = create_engine(url, connect_args={"options": "-c jit=off"})
        self.end.callback(engine.dispose)
        self.campaign = Campaign(a_context(engine, Path(folder))).load()
        self.ctx = self.campaign.ctx
        recover.api_is_up(self.ctx)
        self.campaign.change("UPDATE outage SET up_since = now() - interval '30 days'")
        self.tasks: list[int] = []
        self.names: dict[int, str] = {}
        self.held: list[HandedJob] = []
        self.gone: list[HandedJob] = []

    # --- what users and operators do --------------------------------------------------------------------------------
    @initialize(n=st.integers(1, 4), site=sites)
    def first(self, n: int, site: str) -> None:
        """Begin with a task that is at work."""
        self._submit(f"evgen{next(_numbers)}", n, site)
        self.campaign.tell(self.tasks[0])
        self.acquire(2)

    @precondition(lambda self: len(self.tasks) < MOST_TASKS)
    @rule(n=st.integers(1, 4), site=st.sampled_from((T1, T2, None)))
    def submit(self, n: int, site: str | None) -> None:
        """Submit a task without input."""
        self._submit(f"evgen{next(_numbers)}", n, site)

    @precondition(lambda self: 0 < len(self.tasks) < MOST_TASKS)
    @rule(of=picks, files=st.integers(1, 3), site=st.sampled_from((T1, T2, None)))
    def submit_child(self, of: int, files: int, site: str | None) -> None:
        """Submit a task that reads another one's output."""
        parent = self.tasks[of % len(self.tasks)]
        name = f"child{next(_numbers)}"
        request = a_reader(
            name, self.names[parent], Split(files_per_job=files), max_attempts=2, bunch_size=2, site=site
        )
        with contextlib.suppress(Exception if self._ended(parent) else Conflict):  # an empty parent is refused
            self.tasks.append(self.campaign.submit(request))
            self.names[self.tasks[-1]] = request.outputs[0].dataset

    def _submit(self, name: str, n: int, site: str | None) -> None:
        request = replace(an_evgen(name, n), max_attempts=2, bunch_size=2, site=site)
        self.tasks.append(self.campaign.submit(request))
        self.names[self.tasks[-1]] = request.outputs[0].dataset

    @rule(of=picks, order=st.sampled_from(("abort", "pause", "resume", "finish", "retry", "priority")))
    def order(self, of: int, order: str) -> None:
        """Order something about a task; what cannot be done now is refused with a reason."""
        calls: dict[str, Callable[[int], object]] = {
            "abort": lambda task: control.abort_task(self.ctx, task, "operator"),
            "pause": lambda task: control.pause_task(self.ctx, task, "operator"),
            "resume": lambda task: control.resume_task(self.ctx, task, "operator"),
            "finish": lambda task: control.finish_task(self.ctx, task, "operator"),
            "retry": lambda task: control.retry_task(self.ctx, task, "operator"),
            "priority": lambda task: control.set_priority(self.ctx, task, 900, "operator"),
        }
        with contextlib.suppress(Conflict):
            calls[order](self.tasks[of % len(self.tasks)])

    @rule(of=picks)
    def kill(self, of: int) -> None:
        """Kill one job."""
        jobs = self.campaign.rows("SELECT id FROM job ORDER BY id DESC LIMIT 12")
        if jobs:
            control.kill_jobs(self.ctx, [jobs[of % len(jobs)]["id"]], "operator")

    @rule(site=sites, status=st.sampled_from(("offline", "online", "online")))
    def site(self, site: str, status: str) -> None:
        """Set a site offline or online."""
        control.set_site_status(self.ctx, site, status, "operator")

    # --- stories ----------------------------------------------------------------------------------------------------
    @rule()
    def tell(self) -> None:
        """Every task's story is told as far as it goes."""
        for task in self.tasks:
            self.campaign.tell(task)

    @rule(of=picks, step=st.sampled_from((assign.assign, prepare.expand, place.place)))
    def tell_without_lease(self, of: int, step: Callable[..., object]) -> None:
        """Go on with a story after its lease was lost: nothing may be written."""
        task = self.tasks[of % len(self.tasks)]
        late = story.claim(self.ctx, task)
        assert late is not None
        self.campaign.change("UPDATE production_task SET lease_until = now() - interval '1 s' WHERE id = :t", t=task)
        new = story.claim(self.ctx, task)
        assert new is not None
        before = self._written(task)
        with contextlib.suppress(LeaseLost):
            step(self.ctx, late)
        assert self._written(task) == before, f"{step.__name__} wrote without a lease"
        story.release(self.ctx, late, "late", later_s=None)
        assert self.campaign.value("SELECT lease_token FROM production_task WHERE id = :t", t=task) == new.token
        story.release(self.ctx, new, None, later_s=0.0)

    def _written(self, task: int) -> tuple[object, ...]:
        rows = self.campaign.rows(
            """
            SELECT stage, cloud, expanded, next_ordinal, (SELECT count(*) FROM job_event) AS events,
                   (SELECT count(*) FROM brokerage_round) AS rounds FROM production_task WHERE id = :t
            """,
            t=task,
        )
        return tuple(rows[0].values())

    def _ended(self, task: int) -> bool:
        return self.campaign.stage(task) in FINAL_TASK

    # --- pilots -----------------------------------------------------------------------------------------------------
    @rule(n=st.integers(1, 3))
    def acquire(self, n: int) -> None:
        """Pilots ask for jobs, and ask again with the same request id: they get the same."""
        for site in (T1, T2):
            number = uuid4()
            jobs = self.campaign.ask(site, n, request_id=number)
            known = {job.job_id for job in (*self.held, *self.gone)}
            assert not known & {job.job_id for job in jobs}, "a job was handed out twice"
            if jobs:
                again = self.campaign.ask(site, n, request_id=number)
                assert [job.job_id for job in again] == [job.job_id for job in jobs]
            self.held += jobs

    @rule(n=st.integers(1, 3))
    def work(self, n: int) -> None:
        """Pilots take jobs and run them well."""
        for site in (T1, T2):
            for job in self.campaign.ask(site, n):
                self.campaign.run(job)
                self.gone.append(job)

    @precondition(lambda self: self.held)
    @rule(of=picks, status=st.sampled_from(SIGNS_OF_LIFE))
    def heartbeat(self, of: int, status: JobStatus) -> None:
        """A pilot gives a sign of life."""
        self.campaign.say(self.held[of % len(self.held)], status)

    @precondition(lambda self: self.held)
    @rule(of=picks, ends=st.sampled_from(("well", "well", "badly", "killed", "empty")))
    def report(self, of: int, ends: str) -> None:
        """A pilot gives its final report."""
        job = self.held.pop(of % len(self.held))
        if ends == "well":
            self.campaign.run(job)
        elif ends == "empty":
            self.campaign.say(job, JobStatus.FINISHED, outputs=())
        else:
            self.campaign.fail(job, 1144 if ends == "killed" else 1305)
        self.gone.append(job)

    @precondition(lambda self: self.held or self.gone)
    @rule(of=picks, status=st.sampled_from((*SIGNS_OF_LIFE, JobStatus.FINISHED, JobStatus.FAILED)), wrong=st.booleans())
    def report_late(self, of: int, status: JobStatus, wrong: bool) -> None:
        """A report comes after the end, or of a lease that never was: it changes nothing."""
        jobs = [*self.gone, *self.held]
        job = jobs[of % len(jobs)]
        old = self._as_known(job)
        if not wrong and (old["status"] not in {"finished", "failed", "cancelled", "closed"}):
            return
        more: dict[str, Any] = {"lease": job.lease + 1} if wrong else {}
        answer = self.campaign.say(job, status, **more)
        assert not answer.accepted
        assert self._as_known(job) == old

    def _as_known(self, job: HandedJob) -> Any:
        rows = self.campaign.rows(
            """
            SELECT j.status, j.lease, r.verdict, r.at, h.last_seen, c.next_at FROM job j
            LEFT JOIN job_report r ON r.job_id = j.id LEFT JOIN in_hand h ON h.job_id = j.id
            LEFT JOIN to_collect c ON c.job_id = j.id WHERE j.id = :j
            """,
            j=job.job_id,
        )
        return rows[0]

    @precondition(lambda self: self.held)
    @rule(of=picks)
    def lose(self, of: int) -> None:
        """A pilot is never heard of again, and the watcher notices; later it may still report."""
        job = self.held.pop(of % len(self.held))
        self._silence(job.job_id)
        recover.watch(self.ctx)
        self.gone.append(job)

    def _silence(self, job: int) -> None:
        self.campaign.change("UPDATE in_hand SET last_seen = now() - interval '1 day' WHERE job_id = :j", j=job)
        self.campaign.change("UPDATE to_collect SET since = now() - interval '9 days' WHERE job_id = :j", j=job)

    # --- data management --------------------------------------------------------------------------------------------
    @rule(n=st.integers(1, 4))
    def move(self, n: int) -> None:
        """Bytes are copied."""
        self.campaign.move(n)

    @rule(news=st.sampled_from(("all again", "backwards", "overtaken", "feed", "sweep")))
    def hear(self, news: str) -> None:
        """News of the DDM arrive twice, out of order, after they were acted upon, or are looked for."""
        if news == "feed":
            activate.poll_feed(self.ctx)
        elif news == "sweep":
            activate.sweep(self.ctx)
        elif news == "overtaken":
            bunches = [row["id"] for row in self.campaign.rows("SELECT id FROM bunch ORDER BY id")]
            with self.ctx.engine.begin() as connection:
                queue.activate(connection, bunches, why="told again", who="ddm")
        else:
            told = self.ctx.ddm.changes(0)
            activate.on_ddm_events(self.ctx, told if news == "all again" else told[::-1])

    # --- continuous duties ------------------------------------------------------------------------------------------
    @rule(duty=st.sampled_from(("collect", "orders", "fold", "everything")))
    def duty(self, duty: str) -> None:
        """One of the duties that conductor and Bamboo do all the time."""
        self._time_passes()
        if duty == "collect":
            upkeep.collect(self.ctx)
        elif duty == "orders":
            control.work_off(self.ctx)
        elif duty == "fold":
            upkeep.fold_and_wake(self.ctx)
        else:
            self.campaign.turn()

    @precondition(lambda self: self.held)
    @rule(of=picks, ends=st.sampled_from(("well", "badly")), n=st.integers(1, 4))
    def collect_twice(self, of: int, ends: str, n: int) -> None:
        """A report comes; a collector that was thought dead goes on with it after another one did its work."""
        self.report(of, ends)

        def another() -> None:
            self._time_passes()
            upkeep.collect(self.ctx)

        self._time_passes()
        with between_transactions(self.ctx.engine, n, another):
            upkeep.collect(self.ctx)

    @rule(one=st.sampled_from(ACTS), other=st.sampled_from(ACTS), n=st.integers(1, 12))
    def two_at_once(self, one: str, other: str, n: int) -> None:
        """Somebody does his work between two transactions of somebody else's."""
        self._time_passes()
        with between_transactions(self.ctx.engine, n, lambda: self._act(other)):
            self._act(one)

    def _act(self, act: str) -> None:
        if act == "tell":
            self.tell()
        elif act == "watch":
            recover.watch(self.ctx)
        elif act == "sweep":
            activate.sweep(self.ctx)
        else:
            self.duty(act)

    def _time_passes(self) -> None:
        self.campaign.change("UPDATE to_collect SET next_at = now()")
        self.campaign.change("UPDATE pending_action SET repeat_at = now() WHERE done_at IS NULL")

    # --- what must hold ---------------------------------------------------------------------------------------------
    @invariant()
    def holds(self) -> None:
        """Everything that must always hold."""
        self.campaign.check()

    @override
    def teardown(self) -> None:
        """Drain: with all sites and tasks let go, every task ends and every file is where it belongs."""
        try:
            self._drain()
        finally:
            self.end.close()

    def _drain(self) -> None:
        for site in (T1, T2):
            control.set_site_status(self.ctx, site, "online", "operator")
        for task in self.tasks:
            with contextlib.suppress(Conflict):
                control.resume_task(self.ctx, task, "operator")
        for job in self.held:
            self.campaign.run(job)
        for _ in range(40):
            if all(self._ended(task) for task in self.tasks):
                break
            self.campaign.change("UPDATE in_hand SET last_seen = now() - interval '1 day'")
            self._time_passes()
            self.campaign.turn()
            self.campaign.run_all()
            for task in self.tasks:
                self.campaign.tell(task)
        left = {task: (self.campaign.stage(task).value, self.campaign.statuses(task), self._waits_for(task))
                for task in self.tasks if not self._ended(task)}  # fmt: skip
        assert not left, f"these tasks never end: {left}"
        self.campaign.check()
        for row in self.campaign.rows("SELECT name FROM dataset WHERE kind IN ('output', 'log')"):
            self.campaign.files_of(row["name"])

    def _waits_for(self, task: int) -> object:
        return self.campaign.value("SELECT waits_for FROM production_task WHERE id = :t", t=task)
