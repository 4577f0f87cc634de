"""Supply: who counts as demand, which pilots count as supply, and what a factory may say."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from panda.domain.dispatch import QueueDemand, WorkerReport
from panda.domain.states import BunchState
from panda.services import supply
from panda.services.context import Context
from panda.store import schema
from tests.support.builders import a_bunch, a_class, a_site, a_task, jobs_of


def make_ready(rows: Connection, site: int, n: int = 3, **needs: Any) -> list[int]:
    bunch = a_bunch(rows, a_task(rows, f"task-{site}-{len(needs)}"), n_jobs=n, state=BunchState.ACTIVATED, site_id=site)
    group = a_class(rows, site, **needs)
    jobs = jobs_of(rows, bunch)
    rows.execute(insert(schema.ready), [{"job_id": job, "class_id": group, "priority": 500} for job in jobs])
    return jobs


def demand_of(ctx: Context, queue: str) -> QueueDemand:
    return next(one for one in supply.demand(ctx) if one.queue == queue)


REPORT = WorkerReport(factory="local", worker_id=1, queue="BNL", status="submitted", batch_id="4711")


def test_ready_jobs_of_a_site_are_its_queues_demand(ctx: Context, rows: Connection) -> None:
    make_ready(rows, a_site(rows, "BNL", queue_max_pilots=7))
    a_site(rows, "MWT2")
    assert demand_of(ctx, "BNL").activated == 3
    assert demand_of(ctx, "BNL").max_pilots == 7
    assert demand_of(ctx, "MWT2").activated == 0


@pytest.mark.parametrize(
    ("slot", "needs"),
    [
        ({"memory_mb": 2000}, {"memory_mb": 4000}),
        ({"disk_mb": 1000}, {"disk_mb": 2000}),
        ({"cores": 1}, {"cores": 8}),
        ({"max_time_s": 3600}, {"wall_s": 7200}),
        ({"vos": ["charmm"]}, {"vo": "atlas"}),
        ({"labels": ["user"]}, {"label": "managed"}),
        ({"status": "test"}, {"label": "managed"}),
        ({"status": "offline"}, {"label": "managed"}),
    ],
)
def test_jobs_that_no_slot_of_the_queue_can_run_are_no_demand(
    ctx: Context, rows: Connection, slot: dict[str, Any], needs: dict[str, Any]
) -> None:
    make_ready(rows, a_site(rows, "BNL", **slot), **needs)
    make_ready(rows, a_site(rows, "MWT2", cores=8), **needs)
    assert demand_of(ctx, "BNL").activated == 0
    assert demand_of(ctx, "MWT2").activated == 3


def test_jobs_whose_release_the_site_lacks_are_no_demand(ctx: Context, rows: Connection) -> None:
    site = a_site(rows, "BNL")
    make_ready(rows, site, release="ZBoson-1.0")
    rows.execute(insert(schema.site_release).values(site_id=site, release="Other-2.0"))
    assert demand_of(ctx, "BNL").activated == 0
    rows.execute(insert(schema.site_release).values(site_id=site, release="ZBoson-1.0"))
    assert demand_of(ctx, "BNL").activated == 3


def test_two_queues_of_a_site_share_its_jobs(ctx: Context, rows: Connection) -> None:
    site = a_site(rows, "BNL")
    rows.execute(insert(schema.queue).values(name="BNL_LONG", site_id=site))
    make_ready(rows, site, n=4)
    assert [one.activated for one in supply.demand(ctx)] == [2, 2]


def test_the_stricter_of_site_and_queue_status_counts(ctx: Context, rows: Connection) -> None:
    a_site(rows, "BNL", status="brokeroff", queue_status="test")
    a_site(rows, "MWT2", status="offline")
    assert demand_of(ctx, "BNL").status == "test"
    assert demand_of(ctx, "MWT2").status == "offline"


def test_pilots_count_by_what_they_do_until_they_end_or_fall_silent(ctx: Context, rows: Connection) -> None:
    a_site(rows, "BNL")
    reports = [replace(REPORT, worker_id=n, status=s) for n, s in enumerate(("submitted", "ready", "running"), 1)]
    assert supply.report_workers(ctx, reports) == [True, True, True]
    one = demand_of(ctx, "BNL")
    assert (one.pilots_submitted, one.pilots_running) == (2, 1)
    supply.report_workers(ctx, [replace(REPORT, worker_id=3, status="finished")])
    assert demand_of(ctx, "BNL").pilots_running == 0
    rows.execute(text("UPDATE worker SET seen_at = now() - interval '1 h' WHERE worker_id = 1"))
    assert demand_of(ctx, "BNL").pilots_submitted == 1


def test_jobs_in_hand_are_counted_at_their_queue(ctx: Context, rows: Connection) -> None:
    site = a_site(rows, "BNL")
    rows.execute(insert(schema.in_hand).values(job_id=1, lease=1, site_id=site, queue="BNL"))
    assert demand_of(ctx, "BNL").running == 1


def test_a_pilot_that_ended_stays_as_it_ended(ctx: Context, rows: Connection) -> None:
    a_site(rows, "BNL")
    supply.report_workers(ctx, [replace(REPORT, status="failed", diag="node died")])
    assert supply.report_workers(ctx, [replace(REPORT, status="running")]) == [True]
    row = rows.execute(text("SELECT status, diag, batch_id FROM worker")).one()
    assert tuple(row) == ("failed", "node died", "4711")


def test_later_reports_keep_what_they_do_not_mention(ctx: Context, rows: Connection) -> None:
    a_site(rows, "BNL")
    supply.report_workers(ctx, [replace(REPORT, status="running", node="wn1")])
    started = rows.execute(text("SELECT started_at FROM worker")).scalar_one()
    supply.report_workers(ctx, [replace(REPORT, status="idle", batch_id=None)])
    row = rows.execute(text("SELECT status, node, batch_id, started_at FROM worker")).one()
    assert tuple(row) == ("idle", "wn1", "4711", started)


def test_the_last_report_on_a_pilot_wins_within_one_call(ctx: Context, rows: Connection) -> None:
    a_site(rows, "BNL")
    assert supply.report_workers(ctx, [REPORT, replace(REPORT, status="running")]) == [True, True]
    assert rows.execute(text("SELECT status FROM worker")).scalar_one() == "running"


def test_reports_with_unknown_queue_or_status_are_refused_one_by_one(ctx: Context, rows: Connection) -> None:
    a_site(rows, "BNL")
    reports = [REPORT, replace(REPORT, worker_id=2, queue="NOWHERE"), replace(REPORT, worker_id=3, status="dozing")]
    assert supply.report_workers(ctx, reports) == [True, False, False]
    assert supply.report_workers(ctx, []) == []


def test_a_factory_counts_on_from_its_own_highest_id(ctx: Context, rows: Connection) -> None:
    a_site(rows, "BNL")
    assert supply.last_worker_id(ctx, "local") == 0
    supply.report_workers(ctx, [replace(REPORT, worker_id=41), replace(REPORT, worker_id=99, factory="other")])
    assert supply.last_worker_id(ctx, "local") == 41
