"""Query plans of the hot statements on a million rows: every table that grows is read by the index that is meant.

The statements are planned as they run: prepared, with a generic plan (the values are not known).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from panda import wiring
from panda.embedded import Address
from panda.settings import load
from panda.store import collection, pop, queue, reports, watching
from panda.store.prepared import Prepared
from tests.support.database import cloned_database

JOBS = 1_000_000
BIG = ("job", "bunch", "ready", "in_hand", "job_event", "job_report", "to_collect", "job_output", "production_task")

_FILL = """
    INSERT INTO cloud (name, tier1) VALUES ('C', 'S1');
    INSERT INTO site (name, cloud, tier, rse) SELECT 'S' || i, 'C', 2, 'R' || i FROM generate_series(1, 500) i;
    INSERT INTO queue (name, site_id) SELECT name, id FROM site;
    INSERT INTO needs (label, share, vo, memory_mb, disk_mb, cores, work_hs23_s, wall_s)
    VALUES ('managed', 'default', 'atlas', 1000, 0, 1, 36000, 0);
    INSERT INTO production_task (name, vo, owner, label, task_type, processing_type, share, transformation, parameters,
        release, architecture, priority, cores, memory_mb, disk_mb, work_hs23_s, wall_s, max_attempts, bunch_size,
        n_jobs, outputs, ddm_mode, cloud, stage, needs_id, due_at)
    SELECT 'mc.' || i, 'atlas', 'prodmanager', 'managed', 'prod', 'evgen', 'default', 'x', '', '', '', 500, 1, 1000, 0,
        36000, 0, 3, 20, 400, '[]', 'none', 'C', 'running', 1, NULL FROM generate_series(1, {jobs} / 400) i;
    INSERT INTO bunch (task_id, state, site_id, first_ordinal, n_jobs, staged)
    SELECT t.id, (CASE WHEN b % 50 = 0 THEN 'assigned' ELSE 'activated' END)::bunch_state, 1 + (t.id + b) % 500, b * 20,
        20, true FROM production_task t, generate_series(0, 19) b;
    INSERT INTO job (task_id, bunch_id, ordinal, needs_id)
    SELECT b.task_id, b.id, b.first_ordinal + i, 1 FROM bunch b, generate_series(0, 19) i;
    INSERT INTO requirement_class (site_id, needs_id, max_priority, gen) SELECT id, 1, 500, 1 FROM site;
    INSERT INTO ready (job_id, class_id, priority)
    SELECT j.id, b.site_id, 500 FROM job j JOIN bunch b ON b.id = j.bunch_id
    WHERE b.state = 'activated' AND j.id % 10 <> 0;
    INSERT INTO in_hand (job_id, lease, site_id, queue) SELECT id, 1, 1, 'S1' FROM job WHERE id % 10 = 0;
    UPDATE job SET status = 'running', site_id = 1 WHERE id % 10 = 0;
    INSERT INTO job_event (task_id, job_id, to_state) SELECT task_id, id, 'sent' FROM job WHERE id % 10 = 0;
    INSERT INTO job_event (task_id, bunch_id, to_state) SELECT task_id, id, 'activated' FROM bunch;
    INSERT INTO job_report (job_id, verdict) SELECT id, 'finished' FROM job WHERE id % 20 = 0;
    INSERT INTO to_collect (job_id, state) SELECT id, 'holding' FROM job WHERE id % 20 = 0;
"""


@pytest.fixture(scope="module")
def million(cluster: Address) -> Iterator[Connection]:
    """A million jobs of 2,500 tasks at 500 sites: most wait, some run, some are collected."""
    with cloned_database(cluster, "panda_million") as url:
        ctx = wiring.connect(load(database_url=url, data_dir=Path("unused")))
        with ctx.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(_FILL.format(jobs=JOBS).replace("%", "%%"))
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
            connection.exec_driver_sql("SET jit = off")
            yield connection
        ctx.close()


def plan_of(connection: Connection, statement: Prepared) -> list[str]:
    """The generic plan of a hot statement, as the API prepares it."""
    connection.exec_driver_sql(statement.prepare.replace("%", "%%"))
    places = ", ".join(["NULL"] * len(statement.parameters))
    given = f"EXPLAIN EXECUTE {statement.name} ({places})" if places else f"EXPLAIN EXECUTE {statement.name}"
    return list(connection.exec_driver_sql(given).scalars())


def walked(plan: list[str]) -> list[str]:
    """The tables that grow and are read from one end to the other, or by an index from one end to the other."""
    found = [line for line in plan for table in BIG if f"Seq Scan on {table} " in f"{line} "]
    for line, below in zip(plan, [*plan[1:], ""], strict=True):
        if "Index" in line and "Scan" in line and any(f" on {table}" in line for table in BIG) and "Cond" not in below:
            found.append(line)
    return found


HOT = {
    "take": (pop._TAKE, ("ix_ready_class_id", "pk_job", "pk_bunch")),
    "take told": (pop._TAKE_TOLD, ("ix_ready_class_id", "pk_job", "pk_bunch")),
    "beat": (reports._BEAT, ("pk_in_hand", "pk_job")),
    "lock": (reports._LOCK, ("pk_job",)),
    "read": (reports._READ, ("pk_job", "pk_in_hand", "pk_job_report")),
    "step": (reports._STEP, ("pk_job",)),
    "seen": (reports._SEEN, ("pk_in_hand",)),
    "report": (reports._REPORT, ("pk_in_hand",)),
    "finish": (reports._FINISH, ("pk_job", "pk_in_hand", "pk_job_report")),
    "lower": (pop._LOWER, ("ix_ready_class_id",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOT)
def test_a_hot_statement_reads_by_index(million: Connection, name: str) -> None:
    statement, indexes = HOT[name]
    plan = plan_of(million, statement)
    assert walked(plan) == [], "\n".join(plan)
    for index in indexes:
        assert index in "\n".join(plan), "\n".join(plan)


LOOPS: dict[str, tuple[str, Mapping[str, object], tuple[str, ...]]] = {
    "activation": (
        queue._ACTIVATE.text, {"bunches": [*range(1, 41)], "why": "w", "who": "w"}, ("pk_bunch", "ix_job_bunch_id"),
    ),
    "refill": (queue._FILL.text, {"bunches": [*range(1, 41)]}, ("pk_bunch", "ix_job_bunch_id")),
    "claim": (
        collection._CLAIM_REPORTED.text, {"state": "holding", "limit": 200, "again": 60.0},
        ("ix_to_collect_next_at", "pk_job_report"),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOPS)
def test_a_statement_of_the_loops_reads_by_index(million: Connection, name: str) -> None:
    statement, values, indexes = LOOPS[name]
    plan = list(million.execute(text(f"EXPLAIN {statement}"), values).scalars())
    assert walked(plan) == [], "\n".join(plan)
    for index in indexes:
        assert index in "\n".join(plan), "\n".join(plan)


WATCHED = {
    "old jobs": (watching._OLD_JOBS.text, {"users": 600_000, "all_": 900_000, "limit": 500}),
    "queued jobs": (watching._QUEUED_JOBS.text, {"s": 600_000, "limit": 500}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WATCHED)
def test_the_watcher_reads_no_jobs_of_young_tasks(million: Connection, name: str) -> None:
    statement, values = WATCHED[name]
    plan = "\n".join(million.execute(text(f"EXPLAIN (ANALYZE, TIMING off) {statement}"), values).scalars())
    assert re.search(r"on (job|bunch)[ \w]*\(cost=[^)]*\) \(never executed\)", plan), plan


@pytest.mark.slow
def test_a_walk_over_activated_bunches_goes_on_by_index(million: Connection) -> None:
    last = million.scalar(text("SELECT max(id) FROM bunch")) or 0
    found = queue.activated_bunches(million, last // 2, 50)
    assert len(found) == 50
    assert queue.missing_in_ready(million, found) == []
    million.execute(text("DELETE FROM ready WHERE job_id IN (SELECT id FROM job WHERE bunch_id = :b)"), {"b": found[7]})
    assert queue.missing_in_ready(million, found) == [found[7]]
