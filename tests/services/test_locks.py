"""Everybody at once: no deadlock, nothing violated in any snapshot, and all work ends."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from panda.domain.states import JobStatus, TaskStage
from panda.errors import Conflict
from panda.services import activate, control, recover, upkeep
from tests.support.campaign import T1, T2, Campaign, an_evgen
from tests.support.invariants import Reader
from tests.support.together import together

TURNS = 12


@dataclass(frozen=True, slots=True)
class Callers:
    """What everybody does in one turn."""

    campaign: Campaign
    tasks: list[int]

    def pilots(self, turn: int) -> None:
        """Take jobs at both sites; a third of them fail."""
        for site in (T1, T2):
            for job in self.campaign.ask(site, 2):
                if (job.ordinal + turn) % 3:
                    self.campaign.run(job)
                else:
                    self.campaign.fail(job)

    def stories(self, turn: int) -> None:
        """Tell a task's story."""
        self.campaign.tell(self.tasks[turn % len(self.tasks)])

    def orders(self, turn: int) -> None:
        """Pause and resume tasks, change priorities, switch sites off and on."""
        ctx, task = self.campaign.ctx, self.tasks[turn % len(self.tasks)]
        if turn % 2:
            control.pause_task(ctx, task, "operator")
            control.set_priority(ctx, task, 100 + turn, "operator")
            control.resume_task(ctx, task, "operator")
        else:
            site = (T1, T2)[turn // 2 % 2]
            control.set_site_status(ctx, site, "offline", "operator")
            control.work_off(ctx)
            control.set_site_status(ctx, site, "online", "operator")
        control.work_off(ctx)

    def kills(self, turn: int) -> None:
        """Kill a waiting job now and then."""
        rows = self.campaign.rows("SELECT id FROM job WHERE status IS NULL ORDER BY random() LIMIT 1")
        if turn % 4 == 0:
            control.kill_jobs(self.campaign.ctx, [row["id"] for row in rows], "operator")

    def duties(self, _turn: int) -> None:
        """Do what conductors do."""
        ctx = self.campaign.ctx
        upkeep.collect(ctx)
        activate.sweep(ctx)
        recover.watch(ctx)
        upkeep.fold_and_wake(ctx)
        self.campaign.change("UPDATE pending_action SET repeat_at = now() WHERE done_at IS NULL")


def repeated(act: Callable[[int], None]) -> None:
    """Do something many times; a task that has ended meanwhile refuses orders, which is right."""
    for turn in range(TURNS):
        with contextlib.suppress(Conflict):
            act(turn)


def test_callers_of_every_kind_at_once(campaign: Campaign) -> None:
    tasks = [campaign.submit(replace(an_evgen(f"task{n}", 12), bunch_size=4, max_attempts=9)) for n in range(3)]
    for task in tasks:
        campaign.tell(task)
    all_of = Callers(campaign, tasks)
    acts = (all_of.pilots, all_of.pilots, all_of.stories, all_of.stories, all_of.orders, all_of.kills)
    with Reader(campaign.ctx.engine.url.render_as_string(hide_password=False), every_s=0.1) as reader:
        together(*(partial(repeated, act) for act in (*acts, all_of.duties, all_of.duties)))
    assert reader.seen.snapshots > 0
    assert reader.seen.violations == ()
    for task in tasks:
        with contextlib.suppress(Conflict):
            control.resume_task(campaign.ctx, task, "operator")
    assert set(campaign.drive(*tasks, turns=80)) <= {TaskStage.DONE, TaskStage.FINISHED}


def test_a_kill_and_a_pop_of_the_same_jobs_do_not_wait_for_each_other(campaign: Campaign) -> None:
    task = campaign.submit(replace(an_evgen("evgen", 40), site=T1, bunch_size=40))
    campaign.tell(task)
    jobs = [row["id"] for row in campaign.rows("SELECT id FROM job ORDER BY id DESC")]

    def killer() -> None:
        for job in jobs[::2]:
            control.kill_jobs(campaign.ctx, [job], "operator")

    def pilot() -> None:
        while mine := campaign.ask(T1, 3):
            for job in mine:
                campaign.say(job, JobStatus.RUNNING)

    together(killer, killer, pilot, pilot, pilot)
    told = campaign.value("SELECT count(*) FROM in_hand WHERE command = 'tobekilled'")
    states = campaign.statuses(task)
    assert states.pop("cancelled", 0) == 20 - told
    assert states == {"running": 20 + told}
