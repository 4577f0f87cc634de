"""Owns a past for the stand: final jobs by the million with their reports, events, outputs, and what operators saw.

All of it is written by set-based statements, as the system would have written it: a task has ten thousand jobs, one in
twenty fails, jobs ended one after the other at so many a day, and the last ended now.
"""

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, Engine

from panda.store.archive import make_months

_PER_TASK = 10_000
_PER_BUNCH = 1000

# The past has its own tasks; ids go on from those of the stand.
_TASKS = """
    INSERT INTO production_task (name, vo, owner, label, task_type, processing_type, share, transformation, parameters,
        release, architecture, priority, cores, memory_mb, disk_mb, work_hs23_s, wall_s, max_attempts, bunch_size,
        n_jobs, outputs, ddm_mode, cloud, stage, stage_since, submitted_at, ended_at, needs_id, seed, due_at,
        next_ordinal, expanded)
    SELECT 'mc.past.' || i, 'atlas', 'user' || i % 50, 'managed', 'prod', (ARRAY['evgen', 'simul', 'recon'])[1 + i % 3],
           'default', 'Generate_tf.py', '--seed ${{SEED}}', 'AthGeneration-23.6.1', 'x86_64-el9-gcc13-opt', 500, 1,
           1000, 0, 36000, 0, 3, {bunch}, {per}, '[]', 'embedded', 'C', 'done', at, at - interval '2 d', at, 1, 0, NULL,
           {per}, true
    FROM generate_series(0, {tasks} - 1) i
    CROSS JOIN LATERAL (SELECT now() - make_interval(secs => ({tasks} - 1 - i) * {per} * 86400.0 / {daily}) AS at) t;
    CREATE TEMP TABLE past AS
    SELECT id, ended_at, row_number() OVER (ORDER BY id) - 1 AS n FROM production_task WHERE name LIKE 'mc.past.%';
    ANALYZE past;
"""
_BUNCHES = """
    INSERT INTO bunch (task_id, state, site_id, since, first_ordinal, n_jobs, open, staged)
    SELECT p.id, 'activated', 1 + (p.n + b) % {queues}, p.ended_at, b * {bunch}, {bunch}, false, true
    FROM past p, generate_series(0, {per} / {bunch} - 1) b;
    INSERT INTO job_event (at, task_id, bunch_id, n, cores, from_state, to_site, to_state, why, who)
    SELECT COALESCE(p.ended_at, now()) - interval '3 h', b.task_id, b.id, b.n_jobs, 1,
           (ARRAY[NULL, 'defined'])[step]::job_status, b.site_id,
           (ARRAY['defined', 'activated']::job_status[])[step], 'expanded', 'expand'
    FROM bunch b LEFT JOIN past p ON p.id = b.task_id, generate_series(1, 2) step;
    INSERT INTO dataset (scope, name, kind, task_id, n_files, bytes, state, created_at, closed_at)
    SELECT 'mc', 'mc.past.' || p.n || '.EVNT', 'output', p.id, {per}, {per}::bigint * 1000000, 'closed', p.ended_at,
           p.ended_at FROM past p;
"""
_JOB = """
    SELECT nextval(pg_get_serial_sequence('job', 'id')), b.task_id, b.id, b.first_ordinal + i, 1, 0, 100,
           CASE WHEN i % 20 = 7 THEN 'failed' ELSE 'finished' END::job_status, b.site_id, 1, 1{ended}
    FROM bunch b JOIN past p ON p.id = b.task_id, generate_series(0, {bunch} - 1) i WHERE {where} ORDER BY b.id, i;
"""
_COLUMNS = "id, task_id, bunch_id, ordinal, needs_id, first_event, n_events, status, site_id, lease, attempt"
_OLD = "p.ended_at < now() - make_interval(days => {kept})"
# Tasks that ended two weeks ago, in a short past the older two thirds of them, are in the archive.
_JOBS = (
    f"INSERT INTO job_archive ({_COLUMNS}, ended_at)"  # noqa: S608 - constants
    + _JOB.replace("{ended}", ", p.ended_at").replace("{where}", _OLD)
    + f"INSERT INTO job ({_COLUMNS}) OVERRIDING SYSTEM VALUE"
    + _JOB.replace("{ended}", "").replace("{where}", f"NOT {_OLD}")
    + f"UPDATE production_task t SET archived_at = now() FROM past p WHERE p.id = t.id AND {_OLD};"  # noqa: S608 - constants
)
_SINCE = "SELECT min(j.id) AS first, max(j.id) AS last FROM job_all j WHERE j.task_id IN (SELECT id FROM past)"
# When a job ended follows from its place among all.
_AT = "now() - make_interval(secs => ({last} - j.id) * 86400.0 / {daily})"
_ENDS = f"""
    INSERT INTO job_event (at, task_id, job_id, n, cores, from_site, from_state, to_site, to_state, why, who)
    SELECT {_AT} - interval '1 h' * (2 - step), j.task_id, j.id, 1, 1, j.site_id,
           (ARRAY['activated', 'running']::job_status[])[step], j.site_id,
           CASE step WHEN 1 THEN 'running' ELSE j.status END, 'reported', 'pilot'
    FROM job_all j, generate_series(1, 2) step WHERE j.id BETWEEN {{first}} AND {{last}};
    INSERT INTO job_report (job_id, at, verdict, errors, wall_s, cpu_s, max_rss_kb, node, started_at, ended_at)
    SELECT j.id, {_AT}, j.status::text,
           CASE j.status WHEN 'failed' THEN jsonb_build_array(jsonb_build_object('component', 'pilot', 'code',
               1300 + j.id % 7, 'text', 'payload ended with ' || j.id % 3 || ' after ' || j.id || ' s')) ELSE '[]' END,
           3600 + j.id % 100, 3500, 1900000, 'wn' || j.id % 997, {_AT} - interval '1 h', {_AT}
    FROM job_all j WHERE j.id BETWEEN {{first}} AND {{last}};
    INSERT INTO job_output (job_id, place, dataset_id, scope, lfn, guid, bytes, adler32, rse, state)
    SELECT j.id, 0, d.id, 'mc', 'EVNT.' || j.id || '.root', NULL, 1000000, '0a0b0c0d', 'R1', 'attached'
    FROM job_all j JOIN dataset d ON d.task_id = j.task_id WHERE j.id BETWEEN {{first}} AND {{last}}
      AND j.status = 'finished';
"""  # noqa: S608 - constants of this file
# The living: some of the stand's ready jobs are in pilots' hands, some are being collected; all are counted.
_NOW = """
    WITH taken AS (DELETE FROM ready WHERE job_id IN (SELECT job_id FROM ready WHERE job_id % 50 = 0) RETURNING job_id),
    run AS (UPDATE job j SET status = 'running', site_id = b.site_id, lease = 1 FROM bunch b, taken
            WHERE j.id = taken.job_id AND b.id = j.bunch_id RETURNING j.id, j.site_id, j.task_id, j.bunch_id)
    INSERT INTO in_hand (job_id, lease, site_id, queue, factory, worker_id, node)
    SELECT id, 1, site_id, 'S' || site_id, 'local', id, 'wn' || id % 997 FROM run;
    INSERT INTO worker (factory, worker_id, queue, status, node, started_at, n_jobs)
    SELECT factory, worker_id, queue, 'running', node, now(), 1 FROM in_hand;
    INSERT INTO pilot_activity (site_id, node, last_get_job, last_update_job)
    SELECT DISTINCT site_id, node, now(), now() FROM in_hand;
    INSERT INTO block (name, kind, task_id, site_id, rse, bunch_id, state, n_files, bytes, created_at, since, error)
    SELECT 'panda.' || b.id || '_dis', 'dis', b.task_id, b.site_id, 'R' || b.site_id, b.id,
           CASE WHEN b.id % 997 = 0 THEN 'stuck' ELSE 'complete' END, 20, 20000000, b.since - interval '5 min', b.since,
           CASE WHEN b.id % 997 = 0 THEN 'no route' END FROM bunch b;
    INSERT INTO job_count (task_id, site_id, status, n, cores)
    SELECT j.task_id, COALESCE(j.site_id, b.site_id), COALESCE(j.status, b.state::text::job_status), count(*), count(*)
    FROM job_all j JOIN bunch b ON b.id = j.bunch_id GROUP BY 1, 2, 3;
    INSERT INTO fold_watermark (name, below_xid) VALUES ('counts', pg_snapshot_xmax(pg_current_snapshot()))
    ON CONFLICT (name) DO UPDATE SET below_xid = excluded.below_xid;
    INSERT INTO brokerage_round (kind, cloud, seed, snapshot, thresholds) VALUES ('site', 'C', 1, '{{}}', '{{}}');
    INSERT INTO brokerage_decision (round_id, task_id, bunch_id, chosen, reason, decision, at)
    SELECT 1, b.task_id, b.id, 'S' || b.site_id, 'lowest load', jsonb_build_object('bunch_id', b.id, 'verdict',
        'placed', 'chosen', b.site_id, 'chosen_name', 'S' || b.site_id, 'candidates', '[]'::jsonb, 'reason',
        'lowest load'),
        b.since
    FROM bunch b;
    INSERT INTO incident (at, level, kind, object, text)
    SELECT now() - make_interval(mins => i), 'info', 'queuecontrol', 'site:S' || 1 + i % {queues}, 'online by operator'
    FROM generate_series(1, 20000) i;
"""
_CHUNK = 1_000_000
# Filling only: a crash costs the stand, not data; autovacuum's CPU is not the pages' (the end is one VACUUM).
_HURRY = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "'16GB'", "checkpoint_timeout": "'1h'"}
_INDEXES = """
    SELECT 'ALTER TABLE ' || c.conrelid::regclass || ' DROP CONSTRAINT ' || c.conname,
           'ALTER TABLE ' || c.conrelid::regclass || ' ADD CONSTRAINT ' || c.conname || ' ' ||
           pg_get_constraintdef(c.oid)
    FROM pg_constraint c WHERE c.conrelid::regclass::text = ANY (%s) AND c.contype IN ('p', 'u')
  UNION ALL
    SELECT 'DROP INDEX ' || indexrelid::regclass, replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ')
    FROM pg_index i
    WHERE indrelid::regclass::text = ANY (%s)
      AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""


def fill(engine: Engine, queues: int, final: int, daily: int) -> None:
    """Write `final` jobs that ended at `daily` a day until now, beside the ready jobs that are there."""
    names = {"queues": queues, "daily": daily, "tasks": final // _PER_TASK, "per": _PER_TASK, "bunch": _PER_BUNCH,
             "kept": min(14, final // daily // 3)}  # fmt: skip
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

        def run(part: str, **more: int) -> None:
            connection.exec_driver_sql(part.format(**names, **more).replace("%", "%%"))

        with _hurried(connection):
            run(_TASKS)
            oldest, newest = connection.exec_driver_sql("SELECT min(ended_at), max(ended_at) FROM past").one()
            make_months(connection, oldest, newest)
            with _indexed_afterwards(connection, "job_archive"):
                for part in (_BUNCHES, _JOBS):
                    run(part)
            first, last = connection.exec_driver_sql(_SINCE).one()
            with _indexed_afterwards(connection, "job_event", "job_report", "job_output"):
                for start in range(first, last + 1, _CHUNK):
                    run(_ENDS.replace("BETWEEN {first} AND {last}", "BETWEEN {first} AND {upto}"),
                        first=start, upto=min(start + _CHUNK - 1, last), last=last)  # fmt: skip
            run(_NOW)
            connection.exec_driver_sql("VACUUM (ANALYZE, FREEZE)")


@contextlib.contextmanager
def _hurried(connection: Connection) -> Iterator[None]:
    """Write without waiting for disks; all is on them afterwards."""
    connection.exec_driver_sql("ALTER SYSTEM SET autovacuum = off")
    for name, value in _HURRY.items():
        connection.exec_driver_sql(f"ALTER SYSTEM SET {name} = {value}")
    connection.exec_driver_sql("SELECT pg_reload_conf()")
    connection.exec_driver_sql("SET synchronous_commit = off; SET work_mem = '256MB'; SET maintenance_work_mem = '1GB'")
    connection.exec_driver_sql("SET session_replication_role = replica")  # the keys are right as they are
    yield
    for name in _HURRY:
        connection.exec_driver_sql(f"ALTER SYSTEM RESET {name}")
    connection.exec_driver_sql("SELECT pg_reload_conf()")
    connection.exec_driver_sql("CHECKPOINT")


@contextlib.contextmanager
def _indexed_afterwards(connection: Connection, *tables: str) -> Iterator[None]:
    """Fill tables without their indexes, which are made when the rows are there."""
    found = connection.exec_driver_sql(_INDEXES, (list(tables), list(tables))).all()
    for drop, _make in found:
        connection.exec_driver_sql(drop)
    yield
    for _drop, make in found:
        connection.exec_driver_sql(make)
    for table in tables:
        connection.exec_driver_sql(f"ANALYZE {table}")
