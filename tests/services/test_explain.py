"""`why`: wherever work can stand, the answer names the cause with its numbers and what would change it."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, insert, text

from panda.brokerage.decision import Candidate, CloudDecision, Rejection, SiteDecision, Verdict
from panda.brokerage.journal import to_json
from panda.ddm.port import DatasetSpec, Did, FileSpec, RseSpec, TransferRequest
from panda.domain.states import BunchState
from panda.domain.views.answers import Explanation
from panda.errors import NotFound
from panda.services import explain
from panda.services.context import Context
from panda.store import placement, schema
from tests.support.builders import a_bunch, a_class, a_job, a_site, a_task, an_event, jobs_of

NO_PILOT = Rejection("2.2", "pilots", 0, 1, "no pilot seen in 3 h")
LITTLE_MEMORY = Rejection("2.2", "memory", 2000, 4000, "the site gives 2000 MB", permanent=True)


def told(answer: Explanation) -> str:
    json.dumps(asdict(answer))
    return "\n".join([answer.title, *answer.lines])


def decide(
    ctx: Context, task: int, bunch: int | None, decision: CloudDecision | SiteDecision, chosen: str | None
) -> None:
    with ctx.engine.begin() as connection:
        number = placement.add_round(connection, kind="site", cloud="US", seed=1, snapshot={}, thresholds={})
        placement.add_decision(
            connection, number, task_id=task, bunch_id=bunch, chosen=chosen, reason=decision.reason,
            decision=to_json(decision),
        )  # fmt: skip


def a_block(rows: Connection, task: int, site: int, **columns: object) -> int:
    values = {"name": "panda.dis1", "kind": "dis", "task_id": task, "site_id": site, "rse": "BNL_DATADISK"}
    number: int = rows.execute(insert(schema.block).values(values | columns).returning(schema.block.c.id)).scalar_one()
    return number


def test_a_bunch_without_site_shows_every_refusal_with_value_and_threshold(ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    bunch = a_bunch(rows, task)
    candidates = (Candidate("BNL", 1, NO_PILOT), Candidate("MWT2", 2, LITTLE_MEMORY, files=3))
    decide(ctx, task, bunch, SiteDecision(bunch, Verdict.WAIT, None, "", candidates, "pilots 1 (BNL)"), None)
    answer = explain.why_job(ctx, jobs_of(rows, bunch)[0])
    assert "No site could take it" in told(answer)
    assert "A later round tries again" in told(answer)
    assert answer.table is not None
    assert answer.table.rows[0][:6] == ("BNL", "refused", "pilots (2.2)", "0", "1", "no pilot seen in 3 h")
    assert answer.table.rows[1][1:5] == ("never", "memory (2.2)", "2000", "4000")
    assert explain.why_task(ctx, task).table == answer.table


def test_a_bunch_nobody_looked_at_and_one_that_can_never_run(ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    fresh, hopeless = a_bunch(rows, task), a_bunch(rows, task, first_ordinal=2)
    decide(ctx, task, hopeless, SiteDecision(hopeless, Verdict.IMPOSSIBLE, None, "", (), "memory"), None)
    assert "No site was looked for yet" in told(explain.why_bunch(ctx, fresh))
    assert "can ever run it: memory" in told(explain.why_bunch(ctx, hopeless))


def test_a_bunch_waits_for_blocks_with_the_data_managements_own_error(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, state=BunchState.ASSIGNED, site_id=site, staged=True)
    folder = ctx.settings.data_dir
    ctx.ddm.declare_rses([RseSpec(name, name[:3], str(folder / name)) for name in ("FZK_DISK", "BNL_DATADISK")])
    did = Did("panda", "panda.dis1")
    ctx.ddm.create_datasets([DatasetSpec(did)]).raise_first()
    lost = FileSpec(Did("mc", "f1"), 10, "00000001", "6c0b0c1e-6f5a-4b39-93ce-0a3f3f2f9d01")
    ctx.ddm.attach(did, [lost]).raise_first()
    ctx.ddm.close([did]).raise_first()
    transfer = ctx.ddm.request([TransferRequest(did, "BNL_DATADISK")]).ids[0]
    for number, columns in enumerate([{"state": "requested", "transfer_id": transfer, "n_files": 1, "bytes": 10}, {}]):
        block = a_block(rows, task, site, **({"name": f"panda.dis{number + 1}"} | columns))
        rows.execute(insert(schema.bunch_block).values(bunch_id=bunch, generation=0, block_id=block))
    words = told(explain.why_bunch(ctx, bunch))
    assert "It waits for 2 blocks of input files at BNL" in words
    assert "Block panda.dis1 (1 file, 10 B) to BNL_DATADISK: " in words
    assert "0 arrived" in words
    assert "Block panda.dis2 (0 files, 0 B) to BNL_DATADISK: not asked for yet" in words


def test_a_bunch_whose_input_was_not_looked_at_or_is_all_there(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    fresh = a_bunch(rows, task, state=BunchState.ASSIGNED, site_id=site)
    ready = a_bunch(rows, task, state=BunchState.ASSIGNED, site_id=site, staged=True, first_ordinal=2)
    assert "were not looked for at the site yet" in told(explain.why_bunch(ctx, fresh))
    assert "All its input is there" in told(explain.why_bunch(ctx, ready))


def test_a_job_that_waits_for_a_pilot_knows_its_place_and_the_pilots(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL", memory_mb=2000), a_task(rows)
    bunch = a_bunch(rows, task, n_jobs=3, state=BunchState.ACTIVATED, site_id=site)
    jobs, group = jobs_of(rows, bunch), a_class(rows, site, memory_mb=4000)
    rows.execute(insert(schema.ready), [{"job_id": one, "class_id": group, "priority": 5} for one in (*jobs, 10**9)])
    rows.execute(insert(schema.ready).values(job_id=10**9 + 1, class_id=group, priority=9))
    words = told(explain.why_job(ctx, jobs[0]))
    assert (
        f"Its first job {jobs[0]} (priority 5) is ready for a pilot at BNL, behind 1 job with the same needs" in words
    )
    assert "Queue BNL refuses them: the job needs 4000 MB of memory, the slot has 2000" in words
    assert "No pilot was seen at BNL in 3 h (last: never)" in words
    seen = datetime.now(UTC) - timedelta(minutes=5)
    rows.execute(insert(schema.pilot_activity).values(site_id=site, node="wn1", last_get_job=seen))
    assert "1 worker node of BNL seen in 3 h, the last 5 min ago" in told(explain.why_job(ctx, jobs[0]))
    rows.execute(text("UPDATE site SET status = 'offline', comment = 'power cut'"))
    assert "Site BNL is offline (power cut)" in told(explain.why_job(ctx, jobs[0]))


def test_a_held_task_says_so_for_its_jobs_too(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows, hold="paused by ann")
    bunch = a_bunch(rows, task, state=BunchState.ACTIVATED, site_id=site)
    for answer in (explain.why_task(ctx, task), explain.why_job(ctx, jobs_of(rows, bunch)[0])):
        assert "on hold (paused by ann)" in told(answer)
        assert f"`panda resume {task}`" in told(answer)
    assert "None of its jobs is ready for a pilot now" in told(explain.why_task(ctx, task))


def test_a_job_in_a_pilots_hand(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    job = a_job(rows, a_bunch(rows, task, n_jobs=0), status="sent", site_id=site, lease=1)
    heard = datetime.now(UTC) - timedelta(hours=3)
    rows.execute(
        insert(schema.in_hand).values(
            job_id=job, lease=1, site_id=site, queue="BNL", factory="local", worker_id=7, node="wn1", last_seen=heard,
            command="tobekilled",
        )
    )  # fmt: skip
    words = told(explain.why_job(ctx, job))
    assert "held by pilot local:7 on node wn1 (queue BNL), last heard of 3 h ago" in words
    assert "'tobekilled'" in words
    assert "has not confirmed it yet" in words
    assert "Pilots of queue BNL hold 1 job, the quietest was heard of 3 h ago" in told(explain.why_task(ctx, task))


def test_a_job_that_is_collected(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, n_jobs=0)
    silent, reported = (a_job(rows, bunch, ordinal=n, status="holding", site_id=site) for n in range(2))
    moving = a_job(rows, bunch, ordinal=3, status="transferring", site_id=site)
    rows.execute(insert(schema.to_collect), [{"job_id": one, "state": "holding"} for one in (silent, reported)])
    rows.execute(insert(schema.to_collect).values(job_id=moving, state="transferring"))
    rows.execute(insert(schema.job_report).values(job_id=reported, verdict="finished"))
    a_block(rows, task, site, name="panda.sub1", kind="sub", bunch_id=bunch, state="stuck", error="no space left")
    assert "fell silent without a final report" in told(explain.why_job(ctx, silent))
    assert "Its report (finished) is there" in told(explain.why_job(ctx, reported))
    assert "no space left" in told(explain.why_job(ctx, moving))
    words = told(explain.why_task(ctx, task))
    assert "2 jobs holding, the oldest for" in words
    assert "1 without a report" in words
    assert "1 sub-dataset of outputs not at home yet" in words


def test_a_job_that_ended_names_its_errors_and_its_successor(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, n_jobs=0)
    job = a_job(rows, bunch, status="failed", site_id=site)
    an_event(rows, task, job_id=job, to_state="failed", why="pilot 1305: payload failed")
    errors = [{"component": "pilot", "code": 1305, "text": "payload failed"}]
    rows.execute(insert(schema.job_report).values(job_id=job, verdict="failed", errors=errors, wall_s=600, node="wn1"))
    words = told(explain.why_job(ctx, job))
    assert "failed since" in words
    assert "Error of pilot, code 1305: payload failed" in words
    assert "It ran 10 min on wn1 at BNL" in words
    assert f"`panda retry {task}`" in words
    again = a_job(rows, bunch, attempt=2, parent_id=job)
    assert f"Attempt 2 took its place: job {again} is defined" in told(explain.why_job(ctx, job))
    assert "1 job failed: pilot 1305: payload failed" in told(explain.why_task(ctx, task))


def test_a_task_without_cloud_shows_the_clouds(ctx: Context, rows: Connection) -> None:
    due = datetime.now(UTC) - timedelta(minutes=9)
    task = a_task(rows, stage="registered", cloud=None, waits_for="AwaitingCloud: space 1 (US)", due_at=due)
    assert "No cloud was looked for yet" in told(explain.why_task(ctx, task))
    space = Rejection("2.1 step 5", "space", 900.0, 1024.0, "900 GB would be left")
    decide(ctx, task, None, CloudDecision(task, None, (Candidate("US", rejection=space),), "space 1 (US)"), None)
    answer = explain.why_task(ctx, task)
    assert "It waits for a cloud: space 1 (US)" in told(answer)
    assert "due for 9 min" in told(answer)
    assert "No cloud was found" in told(answer)
    assert answer.table is not None
    assert answer.table.rows[0][:5] == ("US", "refused", "space (2.1 step 5)", "900", "1024")


def test_a_child_names_the_task_it_waits_for(ctx: Context, rows: Connection) -> None:
    parent = a_task(rows, "parent")
    a_bunch(rows, parent, n_jobs=3)
    child = a_task(rows, "child", stage="registered", cloud=None, parent_id=parent)
    rows.execute(insert(schema.dataset).values(scope="mc", name="mc.evnt", kind="output", task_id=parent))
    rows.execute(
        insert(schema.task_input).values(task_id=child, stream=1, place=0, name="IN", role="primary", dataset="mc.evnt")
    )
    words = told(explain.why_task(ctx, child))
    assert f"Its input mc.evnt is not closed: task {parent} makes it (running; 3 defined)" in words


def test_the_lease_the_error_and_given_up_inputs_are_told(ctx: Context, rows: Connection) -> None:
    until = datetime.now(UTC) + timedelta(minutes=2)
    running = a_task(rows, lease_until=until, max_attempts=3)
    rows.execute(
        insert(schema.task_file), [{"task_id": running, "stream": 1, "ordinal": n, "failures": n} for n in range(4)]
    )
    words = told(explain.why_task(ctx, running))
    assert "A story works on it right now" in words
    assert "3 inputs failed before, 1 given up" in words
    assert "Error: the input datasets are empty." in told(
        explain.why_task(ctx, a_task(rows, "broken", stage="failed", error="the input datasets are empty"))
    )


def test_what_is_not_there_is_not_found(ctx: Context) -> None:
    for look in (explain.why_task, explain.why_job, explain.why_bunch):
        with pytest.raises(NotFound):
            look(ctx, 7)
