"""Looking over the whole: sites, pilots, datasets, transfers, incidents."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, insert

from panda.domain.states import BunchState
from panda.errors import NotFound
from panda.services import survey
from panda.services.context import Context
from panda.store import schema
from panda.store.work import add_incident
from tests.support.builders import a_bunch, a_job, a_site, a_task


def a_dataset(rows: Connection, name: str, **columns: object) -> int:
    values = {"scope": "mc", "name": name, "kind": "output"} | columns
    number: int = rows.execute(insert(schema.dataset).values(values).returning(schema.dataset.c.id)).scalar_one()
    return number


def test_a_site_shows_its_live_jobs_and_who_was_seen_there(ctx: Context, rows: Connection) -> None:
    site = a_site(rows, "BNL", tier=1, comment="fine")
    a_site(rows, "MWT2")
    a_bunch(rows, a_task(rows), n_jobs=4, state=BunchState.ACTIVATED, site_id=site)
    for node, hours, column in [("a", 1, "last_get_job"), ("b", 2, "last_update_job"), ("c", 9, "last_get_job")]:
        seen = {column: datetime.now(UTC) - timedelta(hours=hours)}
        rows.execute(insert(schema.pilot_activity).values(site_id=site, node=node, **seen))
    bnl, mwt2 = survey.sites(ctx)
    assert (bnl.name, bnl.jobs, bnl.pilots, bnl.running_nodes) == ("BNL", {"activated": 4}, 2, 1)
    assert (mwt2.name, mwt2.jobs, mwt2.pilots) == ("MWT2", {}, 0)
    assert survey.site(ctx, "MWT2") == mwt2
    with pytest.raises(NotFound, match="Known sites: BNL, MWT2"):
        survey.site(ctx, "CERN")


def test_pilots_with_the_jobs_in_their_hand(ctx: Context, rows: Connection) -> None:
    site = a_site(rows, "BNL")
    for number, ended in [(1, None), (2, datetime.now(UTC))]:
        values = {"factory": "local", "worker_id": number, "queue": "BNL", "status": "running", "ended_at": ended}
        rows.execute(insert(schema.worker).values(values))
    rows.execute(
        insert(schema.in_hand).values(job_id=5, lease=1, site_id=site, queue="BNL", factory="local", worker_id=1)
    )
    assert [(one.worker_id, one.jobs) for one in survey.workers(ctx)] == [(1, (5,))]
    assert len(survey.workers(ctx, live=False)) == 2
    assert survey.workers(ctx, "MWT2") == []


def test_an_open_dataset_grows_and_a_closed_one_knows(ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    grows = a_dataset(rows, "mc.grows", task_id=task)
    a_dataset(rows, "mc.closed", state="closed", n_files=7, bytes=70)
    bunch = a_bunch(rows, task, n_jobs=0)
    for ordinal, state in enumerate(["attached", "ready", "transferring"]):
        job = a_job(rows, bunch, ordinal=ordinal)
        rows.execute(
            insert(schema.job_output).values(
                job_id=job, place=0, dataset_id=grows, scope="mc", lfn=f"f{ordinal}", bytes=10, state=state
            )
        )
    assert [(one.name, one.n_files, one.bytes) for one in survey.datasets(ctx, "mc.*")] == [
        ("mc.grows", 2, 20),
        ("mc.closed", 7, 70),
    ]
    assert [one.name for one in survey.datasets(ctx, task_id=task)] == ["mc.grows"]


def test_a_tasks_inputs_name_the_task_that_makes_them(ctx: Context, rows: Connection) -> None:
    parent, child = a_task(rows, "parent"), a_task(rows, "child")
    a_dataset(rows, "mc.made", task_id=parent)
    for place, name in enumerate(["mc.made", "mc.unknown"]):
        rows.execute(
            insert(schema.task_input).values(
                task_id=child, stream=1, place=place, name="IN", role="primary", dataset=name
            )
        )
    assert [(one.dataset, one.made_by, one.state) for one in survey.task_inputs(ctx, child)] == [
        ("mc.made", parent, "open"),
        ("mc.unknown", None, None),
    ]


def test_transfers_are_summed_by_kind_state_and_site(ctx: Context, rows: Connection) -> None:
    site, task = a_site(rows, "BNL"), a_task(rows)
    for number, state in enumerate(["requested", "requested", "complete"]):
        rows.execute(
            insert(schema.block).values(
                name=f"b{number}", kind="dis", task_id=task, site_id=site, rse="R", state=state, n_files=2, bytes=10
            )
        )
    found = [(one.state, one.site, one.n, one.n_files, one.bytes) for one in survey.transfers(ctx, task)]
    assert found == [("complete", "BNL", 1, 2, 10), ("requested", "BNL", 2, 4, 20)]
    assert survey.transfers(ctx, task + 1) == []
    assert len(survey.transfers(ctx)) == 2


def test_incidents_newest_first(ctx: Context) -> None:
    with ctx.engine.begin() as connection:
        add_incident(connection, "warning", "site", "BNL", "storage is full", {"free_gb": 3})
        add_incident(connection, "error", "task", "7", "gave up")
    assert [(one.kind, one.about) for one in survey.incidents(ctx)] == [("task", "7"), ("site", "BNL")]
    assert survey.incidents(ctx, kind="site")[0].numbers == {"free_gb": 3}
    assert survey.incidents(ctx, limit=1, offset=1)[0].about == "BNL"
