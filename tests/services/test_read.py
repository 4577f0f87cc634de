"""Reading: what a job is before and after its pilot, exact counts while events are folded, histories and filters."""

import pytest
from sqlalchemy import Connection, insert, text

from panda.domain.dispatch import ErrorPair
from panda.domain.states import BunchState, JobStatus, TaskStage
from panda.errors import NotFound
from panda.services import read
from panda.services.context import Context
from panda.store import counters, schema
from tests.support.builders import a_bunch, a_job, a_site, a_task, an_event, jobs_of


def hand_over(rows: Connection, job: int, site: int, task: int) -> None:
    """What a pop does to a job."""
    rows.execute(text("UPDATE job SET status = 'sent', site_id = :s, lease = 1 WHERE id = :j"), {"s": site, "j": job})
    rows.execute(insert(schema.in_hand).values(job_id=job, lease=1, site_id=site, queue="BNL", node="wn7"))
    an_event(
        rows, task, job_id=job, from_site=site, from_state="activated", to_site=site, to_state="sent", why="handed over"
    )


def test_a_jobs_status_and_site_are_its_bunchs_until_a_pilot_gets_it(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, state=BunchState.ACTIVATED, site_id=site)
    first, second = jobs_of(rows, bunch)
    hand_over(rows, first, site, task)
    assert [(one.id, one.status, one.site, one.node) for one in read.jobs_of(ctx, task)] == [
        (first, JobStatus.SENT, "BNL", "wn7"),
        (second, JobStatus.ACTIVATED, "BNL", None),
    ]
    assert read.job(ctx, first).why == "handed over"
    assert read.job(ctx, second).why == "brokered"


def test_counts_are_exact_before_between_and_after_folds(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, n_jobs=5, state=BunchState.ACTIVATED, site_id=site)
    assert read.counts(ctx, task) == {"activated": 5}
    with ctx.engine.begin() as connection:
        counters.fold(connection)
    assert read.counts(ctx, task) == {"activated": 5}
    hand_over(rows, jobs_of(rows, bunch)[0], site, task)
    assert list(read.counts(ctx, task).items()) == [("activated", 4), ("sent", 1)]
    assert read.task(ctx, task).jobs == {"activated": 4, "sent": 1}
    assert read.task(ctx, task).live == 5


def test_counts_of_one_task_know_nothing_of_another(ctx: Context, rows: Connection) -> None:
    one, other = a_task(rows, "one"), a_task(rows, "other")
    a_bunch(rows, one, n_jobs=3)
    assert read.counts(ctx, other) == {}
    assert {view.id: view.jobs for view in read.tasks(ctx)} == {one: {"defined": 3}, other: {}}


def test_a_job_that_ended_shows_its_report(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, n_jobs=0, state=BunchState.ACTIVATED, site_id=site)
    job = a_job(rows, bunch, status="failed", site_id=site)
    errors = [{"component": "pilot", "code": 1305, "text": "payload failed"}]
    rows.execute(insert(schema.job_report).values(job_id=job, verdict="failed", errors=errors, wall_s=12.5, node="wn1"))
    view = read.job(ctx, job)
    assert (view.status, view.verdict, view.wall_s, view.node) == (JobStatus.FAILED, "failed", 12.5, "wn1")
    assert view.errors == (ErrorPair("pilot", 1305, "payload failed"),)


def test_jobs_are_filtered_by_status_and_paged_without_a_hidden_end(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    waiting = a_bunch(rows, task, n_jobs=250)
    active = a_bunch(rows, task, n_jobs=3, first_ordinal=250, state=BunchState.ACTIVATED, site_id=site)
    assert len(read.jobs_of(ctx, task)) == len(read.job_ids(ctx, task)) == 253
    assert [one.id for one in read.jobs_of(ctx, task, JobStatus.ACTIVATED)] == jobs_of(rows, active)
    assert len(read.jobs_of(ctx, task, [JobStatus.DEFINED, JobStatus.ACTIVATED])) == 253
    page = read.jobs_of(ctx, task, limit=10, offset=245)
    assert [one.ordinal for one in page] == list(range(245, 253))
    assert read.jobs_of(ctx, task, JobStatus.SENT) == []
    assert waiting != active


def test_history_is_the_bunchs_until_the_job_leaves_it(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, state=BunchState.ACTIVATED, site_id=site)
    first, second = jobs_of(rows, bunch)
    hand_over(rows, first, site, task)
    an_event(rows, task, bunch_id=bunch, n=1, from_state="activated", to_state="defined", why="brokered again")
    assert [(one.to_status, one.with_bunch) for one in read.history(ctx, first)] == [
        (JobStatus.DEFINED, True),
        (JobStatus.ACTIVATED, True),
        (JobStatus.SENT, False),
    ]
    assert [one.why for one in read.history(ctx, second)] == ["expanded", "brokered", "brokered again"]


def test_every_attempt_at_an_ordinal_is_found(ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    bunch = a_bunch(rows, task, n_jobs=1)
    again = a_job(rows, a_bunch(rows, task, n_jobs=0), ordinal=0, attempt=2, parent_id=jobs_of(rows, bunch)[0])
    assert [(one.id, one.attempt) for one in read.attempts(ctx, task, 0)] == [(jobs_of(rows, bunch)[0], 1), (again, 2)]


def test_tasks_are_filtered(ctx: Context, rows: Connection) -> None:
    evgen = a_task(rows, "mc09.evgen", campaign="mc09")
    reco = a_task(rows, "mc09.reco_1", stage="done", parent_id=evgen, owner="ann")
    assert [one.id for one in read.tasks(ctx)] == [reco, evgen]
    for wanted, found in [
        (read.TaskFilter(name="mc09.*"), [reco, evgen]),
        (read.TaskFilter(name="mc09.reco_1"), [reco]),
        (read.TaskFilter(name="mc09.reco__"), []),
        (read.TaskFilter(stages=(TaskStage.RUNNING,)), [evgen]),
        (read.TaskFilter(parent_id=evgen), [reco]),
        (read.TaskFilter(owner="ann", campaign="mc09"), []),
        (read.TaskFilter(ids=()), []),
    ]:
        assert [one.id for one in read.tasks(ctx, wanted)] == found
    assert [one.id for one in read.tasks(ctx, limit=1, offset=1)] == [evgen]


def test_bunches_count_the_blocks_of_their_generation(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    bunch = a_bunch(rows, task, state=BunchState.ASSIGNED, site_id=site, generation=1)
    for number, (generation, state) in enumerate([(0, "requested"), (1, "complete"), (1, "stuck")]):
        block = rows.execute(
            insert(schema.block).values(
                name=f"dis{number}", kind="dis", task_id=task, site_id=site, rse="BNL_DATADISK", state=state
            )
        ).inserted_primary_key
        assert block is not None
        rows.execute(insert(schema.bunch_block).values(bunch_id=bunch, generation=generation, block_id=block[0]))
    one = read.bunch(ctx, bunch)
    assert (one.state, one.site, one.blocks, one.blocks_missing) == (BunchState.ASSIGNED, "BNL", 2, 1)
    assert read.bunches_of(ctx, task, only_open=True) == [one]


def test_outputs_and_inputs_of_a_job(ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    dataset = rows.execute(
        insert(schema.dataset).values(scope="mc", name="mc.in", kind="input").returning(schema.dataset.c.id)
    ).scalar_one()
    for ordinal in range(3):
        rows.execute(
            insert(schema.dataset_file).values(
                dataset_id=dataset, ordinal=ordinal, scope="mc", lfn=f"f{ordinal}", bytes=5, adler32="00000001"
            )
        )
    rows.execute(
        insert(schema.task_input).values(
            task_id=task, stream=1, place=0, name="IN", role="primary", dataset="mc.in", dataset_id=dataset,
            first_ordinal=0, n_files=3,
        )
    )  # fmt: skip
    job = a_job(rows, a_bunch(rows, task, n_jobs=0), input_first=1, input_count=2)
    assert [one.lfn for one in read.inputs_of(ctx, job)] == ["f1", "f2"]
    assert read.outputs_of(ctx, job) == []
    rows.execute(
        insert(schema.job_output).values(job_id=job, place=0, dataset_id=dataset, scope="mc", lfn="o", state="ready")
    )
    assert [(one.lfn, one.state, one.dataset) for one in read.outputs_of(ctx, job)] == [("o", "ready", "mc.in")]


def test_what_is_not_there_is_not_found(ctx: Context) -> None:
    for look, words in [
        (read.task, "no production task 7"),
        (read.job, "no job 7"),
        (read.bunch, "no bunch 7"),
        (read.history, "no job 7"),
    ]:
        with pytest.raises(NotFound, match=words):
            look(ctx, 7)
    assert read.jobs(ctx, [7]) == []
