"""Re-brokerage on order: a bunch leaves its site as one; what a pilot holds or what ended stays, and says why."""

import pytest
from sqlalchemy import Connection, insert, update

from panda.domain.states import BunchState, JobStatus
from panda.services import read
from panda.services.context import Context
from panda.services.reassign import reassign_jobs
from panda.store import schema
from tests.support.builders import a_bunch, a_class, a_site, a_task, jobs_of


@pytest.mark.parametrize("state", [BunchState.ASSIGNED, BunchState.ACTIVATED])
def test_a_waiting_bunch_leaves_its_site_and_the_pilots_reach(
    ctx: Context, rows: Connection, state: BunchState
) -> None:
    site = a_site(rows, "BNL")
    task = a_task(rows, due_at=None)
    bunch = a_bunch(rows, task, state=state, site_id=site)
    first, second = jobs_of(rows, bunch)
    rows.execute(insert(schema.ready).values(job_id=second, class_id=a_class(rows, site), priority=1))
    assert [one.moved for one in reassign_jobs(ctx, [first], "ann")] == [True]
    found = read.bunch(ctx, bunch)
    assert (found.state, found.site, found.generation) == (BunchState.DEFINED, None, 1)
    assert found.waits_for == "reassigned by ann"
    assert rows.scalars(schema.ready.select()).all() == []
    assert read.task(ctx, task).due_at is not None
    assert read.history(ctx, second)[-1].who == "ann"


def test_what_cannot_be_moved_says_why(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    activated = a_bunch(rows, task, n_jobs=2, state=BunchState.ACTIVATED, site_id=site)
    held, ended = jobs_of(rows, activated)
    rows.execute(update(schema.job).where(schema.job.c.id == held).values(status=JobStatus.RUNNING))
    rows.execute(update(schema.job).where(schema.job.c.id == ended).values(status=JobStatus.FINISHED))
    (homeless,) = jobs_of(rows, a_bunch(rows, task, n_jobs=1, first_ordinal=2))
    answers = reassign_jobs(ctx, [held, ended, homeless, 12345], "ann")
    assert [(one.moved, one.reason) for one in answers] == [
        (False, "it is running: a pilot or the collector holds it"),
        (False, "it is finished already"),
        (False, "it has no site yet"),
        (False, "there is no such job"),
    ]
    assert read.bunch(ctx, activated).state is BunchState.ACTIVATED
