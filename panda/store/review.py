"""Looking back at tasks: payload times, attempts, files and bytes, what their closed datasets hold."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text


def payload_spans(connection: Connection, tasks: Sequence[int]) -> list[RowMapping]:
    """When did each attempt's payload begin and end, by the reports of the pilots (else by our events)?"""
    query = text("""
        SELECT j.task_id, j.id, EXTRACT(epoch FROM e.began) AS began, EXTRACT(epoch FROM e.ended) AS ended, r.timing
        FROM job_all j JOIN LATERAL (
            SELECT min(at) FILTER (WHERE to_state = 'running') AS began,
                   min(at) FILTER (WHERE to_state IN ('holding', 'failed', 'cancelled')) AS ended
            FROM job_event WHERE job_id = j.id) e ON e.began IS NOT NULL AND e.ended IS NOT NULL
        LEFT JOIN job_report r ON r.job_id = j.id
        WHERE j.task_id = ANY(:tasks) ORDER BY e.began
    """)
    return list(connection.execute(query, {"tasks": list(tasks)}).mappings())


def sums(connection: Connection, tasks: Sequence[int]) -> list[RowMapping]:
    """How many jobs, attempts, files and bytes had each task, and how much moved in and out of its sites?"""
    query = text("""
        SELECT t.id, t.name, t.stage, t.cloud, t.parent_id, t.next_ordinal AS jobs,
               EXTRACT(epoch FROM t.submitted_at) AS submitted, EXTRACT(epoch FROM t.ended_at) AS ended,
               (SELECT count(*) FROM job_all j WHERE j.task_id = t.id) AS attempts,
               o.files, o.bytes, o.moved_files, o.moved_bytes, d.dis_files, d.dis_bytes,
               (SELECT bool_and(state = 'closed') FROM dataset x WHERE x.task_id = t.id) AS closed
        FROM production_task t
        LEFT JOIN cloud c ON c.name = t.cloud LEFT JOIN site h ON h.name = c.tier1
        LEFT JOIN LATERAL (
            SELECT count(*) AS files, COALESCE(sum(o.bytes), 0) AS bytes,
                   count(*) FILTER (WHERE o.rse <> h.rse) AS moved_files,
                   COALESCE(sum(o.bytes) FILTER (WHERE o.rse <> h.rse), 0) AS moved_bytes
            FROM job_output o JOIN job_all j ON j.id = o.job_id
            WHERE j.task_id = t.id AND o.state = 'attached' AND j.status = 'finished') o ON true
        LEFT JOIN LATERAL (
            SELECT COALESCE(sum(k.n_files), 0) AS dis_files, COALESCE(sum(k.bytes), 0) AS dis_bytes
            FROM block k WHERE k.task_id = t.id AND k.kind = 'dis' AND k.state = 'complete') d ON true
        WHERE t.id = ANY(:tasks) ORDER BY t.id
    """)
    return list(connection.execute(query, {"tasks": list(tasks)}).mappings())


def outputs(connection: Connection, tasks: Sequence[int]) -> list[RowMapping]:
    """Which files do the output and log datasets of these tasks hold?"""
    query = text("""
        SELECT d.task_id, d.name AS dataset, d.kind, d.state, d.n_files, o.scope, o.lfn, o.bytes, o.adler32, j.ordinal
        FROM dataset d LEFT JOIN job_output o ON o.dataset_id = d.id AND o.state = 'attached'
        LEFT JOIN job_all j ON j.id = o.job_id
        WHERE d.task_id = ANY(:tasks) AND d.kind IN ('output', 'log') ORDER BY d.id, j.ordinal
    """)
    return list(connection.execute(query, {"tasks": list(tasks)}).mappings())
