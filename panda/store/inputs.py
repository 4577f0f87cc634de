"""Which input files a job has: ranges of its task's numbered streams, or explicit rows where that is not enough."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text

# Files are looked up for each job by its range, whatever is known of the sizes of tables: contents were copied a moment
# ago, and a join that reads all of them for each job takes a square of time.
_FILES = """
    WITH mine AS MATERIALIZED (
        SELECT id, task_id, bunch_id, ordinal, input_first, input_count, COALESCE(explicit_input, false) AS explicit
        FROM {jobs} WHERE {which}
    )
    SELECT m.id AS job_id, m.bunch_id, i.stream, i.name AS stream_name, i.first_ordinal + f.ordinal AS ordinal,
           i.dataset, i.dataset_id, f.ordinal AS file, f.scope, f.lfn, f.guid, f.bytes, f.adler32, f.events
    FROM mine m JOIN task_input i ON i.task_id = m.task_id AND i.role = 'primary' AND NOT m.explicit
    CROSS JOIN LATERAL (
        SELECT * FROM dataset_file
        WHERE dataset_id = i.dataset_id AND ordinal >= m.input_first - i.first_ordinal
          AND ordinal < m.input_first + m.input_count - i.first_ordinal OFFSET 0) f
  UNION ALL
    SELECT m.id, m.bunch_id, i.stream, i.name, x.ordinal, i.dataset, i.dataset_id, f.ordinal,
           f.scope, f.lfn, f.guid, f.bytes, f.adler32, f.events
    FROM mine m JOIN job_input x ON x.job_id = m.id AND m.explicit
    JOIN task_input i ON i.task_id = m.task_id AND i.stream = x.stream
    CROSS JOIN LATERAL (
        SELECT * FROM dataset_file
        WHERE dataset_id = i.dataset_id AND ordinal = x.ordinal - i.first_ordinal OFFSET 0) f
  UNION ALL
    SELECT m.id, m.bunch_id, i.stream, i.name, i.first_ordinal + f.ordinal, i.dataset, i.dataset_id, f.ordinal,
           f.scope, f.lfn, f.guid, f.bytes, f.adler32, f.events
    FROM mine m
    JOIN (SELECT t.*, sum(t.n_files) OVER (PARTITION BY t.task_id, t.stream) AS total FROM task_input t
          WHERE t.role = 'secondary' AND t.task_id IN (SELECT task_id FROM mine)) i ON i.task_id = m.task_id
    CROSS JOIN LATERAL generate_series(0, LEAST(COALESCE(i.files_per_job, 1), i.total) - 1) AS r
    CROSS JOIN LATERAL (
        SELECT * FROM dataset_file
        WHERE dataset_id = i.dataset_id
          AND ordinal = (m.ordinal::bigint * COALESCE(i.files_per_job, 1) + r) % i.total - i.first_ordinal OFFSET 0) f
    ORDER BY 1, 3, 5
"""
_OF_BUNCHES = text(_FILES.format(jobs="job", which="bunch_id = ANY(:ids) AND status IS NULL"))
_OF_JOBS = text(_FILES.format(jobs="job", which="id = ANY(:ids)"))
_OF_JOBS_EVER = text(_FILES.format(jobs="job_all", which="id = ANY(:ids)"))


def files_of_bunches(connection: Connection, bunches: Sequence[int]) -> list[RowMapping]:
    """Which input files do the waiting jobs of these bunches need, over all their streams?"""
    return list(connection.execute(_OF_BUNCHES, {"ids": list(bunches)}).mappings())


def files_of_jobs(connection: Connection, jobs: Sequence[int]) -> list[RowMapping]:
    """Which input files do these jobs have, in the order of job, stream and numbering?"""
    return list(connection.execute(_OF_JOBS, {"ids": list(jobs)}).mappings())


def files_of_jobs_ever(connection: Connection, jobs: Sequence[int]) -> list[RowMapping]:
    """The same of jobs wherever they are kept: for those who look, not for those who work."""
    return list(connection.execute(_OF_JOBS_EVER, {"ids": list(jobs)}).mappings())
