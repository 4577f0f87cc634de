"""SQL of the files of tasks and of many jobs at once, for clients; changes nothing and locks nothing."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text

from panda.store.inputs import files_of_jobs_ever


def inputs(connection: Connection, task_id: int) -> list[RowMapping]:
    """What became of each file of a task's primary input? One pass over its jobs, however many files they share."""
    query = text("""
        WITH used AS (
            SELECT o AS ordinal, bool_or(j.status = 'finished') AS finished,
                   bool_or(j.status IS NULL OR j.status NOT IN ('finished', 'failed', 'cancelled', 'closed')) AS live
            FROM job_all j CROSS JOIN LATERAL generate_series(j.input_first, j.input_first + j.input_count - 1) AS o
            WHERE j.task_id = :task AND j.input_first IS NOT NULL GROUP BY o
        )
        SELECT i.dataset_id, i.dataset, f.scope, f.lfn, i.first_ordinal + f.ordinal AS number,
               CASE WHEN u.ordinal IS NULL THEN 'ready' WHEN u.finished THEN 'finished' WHEN u.live THEN 'running'
                    ELSE 'failed' END AS status
        FROM task_input i JOIN dataset_file f ON f.dataset_id = i.dataset_id
        LEFT JOIN used u ON u.ordinal = i.first_ordinal + f.ordinal
        WHERE i.task_id = :task AND i.role = 'primary' ORDER BY 5
    """)
    return list(connection.execute(query, {"task": task_id}).mappings())


def outputs(connection: Connection, task_id: int, kinds: Sequence[str]) -> list[RowMapping]:
    """Which files did a task's jobs leave in its datasets of these kinds?"""
    query = text("""
        SELECT d.id AS dataset_id, d.name AS dataset, o.scope, o.lfn, j.ordinal AS number,
               CASE WHEN o.state = 'attached' THEN 'finished' ELSE o.state END AS status
        FROM dataset d JOIN job_output o ON o.dataset_id = d.id JOIN job_all j ON j.id = o.job_id
        WHERE d.task_id = :task AND d.kind = ANY(:kinds) ORDER BY d.id, j.ordinal, o.lfn
    """)
    return list(connection.execute(query, {"task": task_id, "kinds": list(kinds)}).mappings())


def inputs_of_jobs(connection: Connection, job_ids: Sequence[int]) -> list[RowMapping]:
    """Which input files do these jobs have?"""
    return files_of_jobs_ever(connection, job_ids)


def outputs_of_jobs(connection: Connection, job_ids: Sequence[int]) -> list[RowMapping]:
    """What became of the outputs of these jobs?"""
    query = text("""
        SELECT o.job_id, o.place, d.name AS dataset, d.kind, o.scope, o.lfn, o.guid, o.bytes, o.adler32, o.events,
               o.rse, o.state
        FROM job_output o JOIN dataset d ON d.id = o.dataset_id WHERE o.job_id = ANY(:jobs) ORDER BY o.job_id, o.place
    """)
    return list(connection.execute(query, {"jobs": list(job_ids)}).mappings())


def output_scope(connection: Connection, task_id: int, lfn: str) -> str | None:
    """In which scope is an output of this task that is in its dataset? None if the task has no such output."""
    query = text("""
        SELECT o.scope FROM dataset d JOIN job_output o ON o.dataset_id = d.id
        WHERE d.task_id = :task AND o.lfn = :lfn AND o.state = 'attached' LIMIT 1
    """)
    scope: str | None = connection.scalar(query, {"task": task_id, "lfn": lfn})
    return scope
