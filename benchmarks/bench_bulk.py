"""Bulk steps against raw `INSERT .. SELECT` of the same rows: expansion of a task, activation of its jobs.

The limit writes the same columns of the same rows, with the same indexes, in as many transactions: from
`generate_series`, and for `ready` from the jobs. CPU of the database and of the client (this process) counts, for
each job.
"""

import argparse
import resource
import time
from collections.abc import Callable

from sqlalchemy import text

from benchmarks.cost import Cost, of_server, pressure, spread
from benchmarks.stand import Stand, context, standing
from panda.domain.lease import Lease
from panda.services import prepare, story
from panda.services.activate import CHUNK as AT_ONCE
from panda.services.context import Context
from panda.store import queue

CHUNK = 20_000
BUNCH = 20

_TASK = """
    INSERT INTO production_task (name, vo, owner, label, task_type, processing_type, share, transformation, parameters,
        release, architecture, priority, cores, memory_mb, disk_mb, work_hs23_s, wall_s, max_attempts, bunch_size,
        n_jobs, outputs, ddm_mode, cloud, stage, needs_id)
    VALUES ('mc.bulk', 'atlas', 'prodmanager', 'managed', 'prod', 'evgen', 'default', 'Generate_tf.py', '', '', '', 500,
        1, 1000, 0, 36000, 0, 3, :bunch, :jobs, '[]', 'none', 'C', 'assigned', 1) RETURNING id
"""
_EXPANDED = (
    "CREATE TABLE limit_bulk_bunch (LIKE bunch INCLUDING ALL)",
    "CREATE TABLE limit_bulk_job (LIKE job INCLUDING ALL)",
    "CREATE TABLE limit_bulk_event (LIKE job_event INCLUDING ALL)",
)
_EXPAND = (
    """INSERT INTO limit_bulk_bunch (task_id, first_ordinal, n_jobs)
       SELECT :task, b, :bunch FROM generate_series(:start, :stop - 1, :bunch) b""",
    """INSERT INTO limit_bulk_event (task_id, bunch_id, n, cores, to_state, why, who)
       SELECT :task, b, :bunch, 1, 'defined', 'expanded', 'expand' FROM generate_series(:start, :stop - 1, :bunch) b""",
    """INSERT INTO limit_bulk_job (task_id, bunch_id, ordinal, needs_id)
       SELECT :task, 1 + o / :bunch, o, 1 FROM generate_series(:start, :stop - 1) o""",
)
_ACTIVATED = ("CREATE TABLE limit_bulk_ready (LIKE ready INCLUDING ALL)",)
_ACTIVATE = (
    """INSERT INTO limit_bulk_ready SELECT id, 1, 500 FROM job
       WHERE task_id = :task AND ordinal >= :start AND ordinal < :stop AND status IS NULL""",
)


def measured(stand: Stand, n: int, work: Callable[[], object]) -> Cost:
    """What it costs, the client's CPU beside."""
    own, database, start = resource.getrusage(resource.RUSAGE_SELF), of_server(stand.address.pid), time.perf_counter()
    work()
    took, database = time.perf_counter() - start, of_server(stand.address.pid) - database
    now = resource.getrusage(resource.RUSAGE_SELF)
    return Cost(n, took, database, now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime)


def run(stand: Stand, statements: tuple[str, ...], **values: object) -> None:
    """Execute statements in one transaction."""
    with stand.engine.begin() as connection:
        for one in statements:
            connection.execute(text(one), values)


def raw(stand: Stand, tables: tuple[str, ...], statements: tuple[str, ...], task: int, jobs: int, chunk: int) -> Cost:
    """Measure the limit, and take its tables away."""
    run(stand, tables)

    def work() -> None:
        for start in range(0, jobs, chunk):
            run(stand, statements, task=task, start=start, stop=min(jobs, start + chunk), bunch=BUNCH)

    cost = measured(stand, jobs, work)
    for one in tables:
        run(stand, (f"DROP TABLE {one.split()[2]}",))
    return cost


def expand(stand: Stand, ctx: Context, jobs: int) -> tuple[Cost, int, float]:
    """Expand a new task; its cost, its id, and bytes per job with bunches, events and indexes."""
    with stand.engine.begin() as connection:
        task = int(connection.execute(text(_TASK), {"jobs": jobs, "bunch": BUNCH}).scalar_one())
    lease = story.claim(ctx, task)
    if lease is None:
        raise RuntimeError("nobody else can tell this task")
    before = size(stand, "job")
    cost = measured(stand, jobs, lambda: _expanded(ctx, lease, jobs))
    grown = size(stand, "job") - before
    story.release(ctx, lease, None)
    return cost, task, grown / jobs


def _expanded(ctx: Context, lease: Lease, jobs: int) -> None:
    made = prepare.expand(ctx, lease).jobs
    if made != jobs:
        raise RuntimeError(f"{made} jobs were made of {jobs}")


def size(stand: Stand, table: str) -> int:
    """Bytes of a table with its indexes."""
    return int(stand.value(f"SELECT pg_total_relation_size('{table}')"))


def activate(stand: Stand, task: int, jobs: int) -> Cost:
    """Activate so many jobs of a task, whose bunches are assigned and need nothing, in the service's chunks."""
    values = {"task": task, "jobs": jobs}
    run(stand, ("""UPDATE bunch SET state = 'assigned', staged = true, site_id = 1
                   WHERE task_id = :task AND first_ordinal < :jobs""",
                "UPDATE production_task SET stage = 'running' WHERE id = :task"), **values)  # fmt: skip
    with stand.engine.connect() as connection:
        query = text("SELECT id FROM bunch WHERE task_id = :task AND state = 'assigned' ORDER BY id")
        bunches = list(connection.execute(query, values).scalars())
    stand.settle()

    def work() -> None:
        for start in range(0, len(bunches), AT_ONCE):
            with stand.engine.begin() as connection:
                queue.activate(connection, bunches[start : start + AT_ONCE], why="all blocks arrived", who="ddm")

    before = stand.value("SELECT count(*) FROM ready")
    cost = measured(stand, jobs, work)
    found = stand.value("SELECT count(*) FROM ready") - before
    if found != jobs:
        raise RuntimeError(f"{found} jobs are ready, not {jobs}")
    return cost


def forget(stand: Stand, task: int) -> None:
    """Take the task's rows away again, so that each round finds the same sizes."""
    run(stand, ("DELETE FROM ready WHERE job_id IN (SELECT id FROM job WHERE task_id = :task)",
                "DELETE FROM job WHERE task_id = :task", "DELETE FROM job_event WHERE task_id = :task",
                "DELETE FROM production_task WHERE id = :task"), task=task)  # fmt: skip
    with stand.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM job, job_event, bunch, ready")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--activated", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    expanding, activating, bytes_each = [], [], 0.0
    with standing(10, 1000) as stand, context(stand) as ctx:
        for turn in range(options.rounds):
            limit = raw(stand, _EXPANDED, _EXPAND, 1, options.jobs, CHUNK)
            mine, task, grown = expand(stand, ctx, options.jobs)
            bytes_each = grown if turn == 0 else bytes_each
            ready = raw(stand, _ACTIVATED, _ACTIVATE, task, options.activated, AT_ONCE * BUNCH)
            activated = activate(stand, task, options.activated)
            for cost, name in ((limit, "raw INSERT .. SELECT"), (mine, "expansion"), (ready, "raw INSERT into ready"),
                               (activated, "activation")):  # fmt: skip
                print(cost.line(name))
            expanding.append(mine.each_us / limit.each_us)
            activating.append(activated.each_us / ready.each_us)
            forget(stand, task)
    print(f"{options.jobs} jobs expanded, {options.activated} activated, CPU pressure {pressure():.0f} %")
    print(f"RATIO expansion-cpu: {spread(expanding)}  our CPU for a job / raw INSERT .. SELECT of the same rows")
    print(f"BYTES expansion: {bytes_each:.0f} bytes of table and indexes for a job")
    print(f"RATIO activation-cpu: {spread(activating)}  our CPU for a job / raw INSERT .. SELECT into ready")


if __name__ == "__main__":
    main()
