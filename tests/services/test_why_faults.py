"""Four faults put into a small grid: each is named by `why`, with its numbers and what would change it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from panda.domain.dispatch import ErrorPair, HandedJob
from panda.domain.states import JobStatus
from panda.domain.views.answers import Kind
from panda.domain.work import Split
from panda.services import failures, upkeep
from panda.services.why import why
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen

GONE = "UPDATE pilot_activity SET last_get_job = now() - interval '5 h', last_update_job = NULL WHERE site_id = {site}"


def asked(campaign: Campaign, kind: Kind, name: object) -> str:
    answer = why(campaign.ctx, kind, str(name))
    json.dumps(asdict(answer))
    return "\n".join([answer.title, *answer.lines])


def site_id(campaign: Campaign, name: str) -> int:
    return int(campaign.value("SELECT id FROM site WHERE name = :n", n=name))


def stored(campaign: Campaign, site: str) -> list[Path]:
    folder = campaign.ctx.settings.data_dir / "storage" / f"{site}_DATADISK"
    return [path for path in sorted(folder.rglob("*EVNT*")) if path.is_file()]


def fails(campaign: Campaign, job: HandedJob, node: str, text: str, wall_s: float) -> None:
    campaign.say(job, JobStatus.RUNNING, node=node)
    campaign.say(
        job, JobStatus.FAILED, node=node, errors=(ErrorPair("transform", 65, text),), wall_s=wall_s, outputs=()
    )


def runs(campaign: Campaign, job: HandedJob, node: str) -> None:
    campaign.say(job, JobStatus.RUNNING, node=node)
    campaign.say(job, JobStatus.FINISHED, node=node, outputs=campaign.write(job), wall_s=100.0)


def test_a_dead_site_is_named_by_its_job_its_task_and_itself(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=3, site=T2))
    campaign.tell(task)
    campaign.change(GONE.format(site=site_id(campaign, T2)))
    for kind, name in ((Kind.TASK, task), (Kind.SITE, T2)):
        words = asked(campaign, kind, name)
        assert f"No pilot was seen at {T2} in 3 h (last: 5 h ago): start pilots for its queues" in words
    words = asked(campaign, Kind.SITE, T2)
    assert "3 jobs (1 bunch) wait for a pilot" in words
    assert f"Queue {T2} is online: 0 pilots at work, 0 on the way" in words
    later = campaign.submit(an_evgen("later", n_jobs=2, site=T2))
    campaign.tell(later)
    words = asked(campaign, Kind.TASK, later)
    assert "No site could take it" in words
    assert f"What would change it: a pilot at {T2}" in words
    assert f"Refused 1 time by pilots (2.2), last 0 s ago: no pilot seen at {T2}" in asked(campaign, Kind.SITE, T2)


def test_a_slow_link_is_named_with_its_pace_its_files_and_where_they_lie(campaign: Campaign) -> None:
    first = campaign.submit(an_evgen(n_jobs=4, site=T1))
    campaign.drive(first)
    child = campaign.submit(a_reader("simul", "mc.evgen.EVNT", Split(files_per_job=2), site=T2))
    campaign.tell(child)
    two = [one for one in stored(campaign, T1) if one.name.endswith(("_000001.root", "_000002.root"))]
    for one in two:  # the link brings the other two first
        one.rename(one.with_suffix(".away"))
    assert campaign.move(4) == 4
    for one in two:
        one.with_suffix(".away").rename(one)
    upkeep.round_once(campaign.ctx)
    campaign.change("UPDATE block SET created_at = now() - interval '100 s' WHERE state = 'requested'")
    (job, *_) = campaign.rows("SELECT id FROM job WHERE task_id = :t ORDER BY id", t=child)
    for kind, name in ((Kind.JOB, job["id"]), (Kind.TASK, child), (Kind.SITE, T2)):
        words = asked(campaign, kind, name)
        assert f"to {T2}_DATADISK: MOVING, asked for 100 s ago, 2 arrived, 2 on their way, 0 stuck; " in words
        assert "in 100 s (" in words
        assert "B/s), at this pace" in words
        assert f"Copies of them are at: {T1}_DATADISK (2)." in words
    assert "evgen.EVNT._00000" in asked(campaign, Kind.JOB, job["id"])
    assert "PANDA_WATCHER__ASSIGNED_S is 43200 s" in asked(campaign, Kind.JOB, job["id"])


def test_a_file_that_is_nowhere_is_named_with_the_transfers_error(campaign: Campaign) -> None:
    first = campaign.submit(an_evgen(n_jobs=2, site=T1))
    campaign.drive(first)
    child = campaign.submit(a_reader("simul", "mc.evgen.EVNT", Split(files_per_job=2), site=T2))
    campaign.tell(child)
    for path in stored(campaign, T1):
        path.unlink()
    for _ in range(8):
        campaign.move()
    words = asked(campaign, Kind.TASK, child)
    assert "2 stuck" in words
    assert "last error: " in words


def test_a_black_hole_node_is_named_by_its_site_and_its_task(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=10, site=T1, max_attempts=5))
    campaign.tell(task)
    bad, good = campaign.ask(T1, 4), campaign.ask(T1, 6)
    for number, job in enumerate(bad):
        fails(campaign, job, "wn666", f"no /scratch/{number}/disk on this node", 2.0)
    for job in good:
        runs(campaign, job, "wn1")
    upkeep.round_once(campaign.ctx)
    for kind, name in ((Kind.SITE, T1), (Kind.TASK, task)):
        words = asked(campaign, kind, name)
        assert f"Worker node wn666 of {T1} is a black hole: 4 of 4 jobs failed there, each after 2 s (median)" in words
        assert "of the other nodes' 6 jobs 0 did" in words
        assert "no more pilots on that node" in words
    found = failures.failures(campaign.ctx, site=T1)
    assert [(one.node, one.black_hole) for one in found.nodes] == [("wn666", True), ("wn1", False)]
    (error,) = found.errors
    assert (error.jobs, error.fingerprint, error.nodes) == (4, "no # on this node", ("wn666",))
    assert failures.failures(campaign.ctx, site=T2).errors == ()


def test_a_failing_payload_is_told_from_a_bad_site(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=4, max_attempts=1))
    campaign.tell(task)
    with campaign.ctx.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE production_task SET max_attempts = 1")
    for site in (T1, T2):
        for job in campaign.ask(site, 10):
            fails(campaign, job, f"{site}-wn", "ValueError: no particle 42", 30.0)
    upkeep.round_once(campaign.ctx)
    words = asked(campaign, Kind.TASK, task)
    assert "transform:65 ValueError: no particle 42" in words
    assert "No job finished at any of the " in words
    assert "What would change it: its program, parameters or input" in words
    assert "black hole" not in words


def test_a_site_where_nothing_finishes_while_it_does_elsewhere(campaign: Campaign) -> None:
    here = campaign.submit(an_evgen(n_jobs=12, bunch_size=2))
    campaign.tell(here)
    for job in campaign.ask(T1, 20):
        runs(campaign, job, "wn1")
    for job in campaign.ask(T2, 20):
        fails(campaign, job, "wn2", "cannot mount the software", 5.0)
    upkeep.round_once(campaign.ctx)
    words = asked(campaign, Kind.TASK, here)
    assert f"No job finished at {T2}, elsewhere they do" in words
    assert f"`panda site {T2} brokeroff`" in words


@pytest.mark.parametrize("kind", [Kind.SITE, Kind.DATASET])
def test_everything_is_calm_on_a_calm_grid(campaign: Campaign, kind: Kind) -> None:
    task = campaign.submit(an_evgen(n_jobs=2))
    campaign.drive(task)
    words = asked(campaign, kind, T1 if kind is Kind.SITE else "mc.evgen.EVNT")
    assert "What would change it" not in words
