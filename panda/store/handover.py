"""Jobs in pilots' hands: the row a pilot's job is made from, commands, and giving back."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text

_JOBS = """
    SELECT j.id, j.task_id, j.ordinal, j.attempt, j.lease, j.first_event, j.n_events, j.parameters AS own_parameters,
           t.name, t.cloud, t.label, t.vo, t.owner, t.working_group, t.processing_type, t.transformation, t.parameters,
           t.release, t.architecture, t.container, t.cores, t.memory_mb, t.disk_mb, t.work_hs23_s, t.wall_s, t.outputs,
           t.seed, t.use_secrets, t.priority + COALESCE(j.priority_offset, 0) AS priority,
           extract(epoch FROM t.stage_since)::float8 AS task_version,
           CASE WHEN t.events_per_job IS NOT NULL AND j.input_first > 0 THEN j.first_event - (
               SELECT COALESCE(sum(f.events), 0) FROM task_input i JOIN dataset_file f ON f.dataset_id = i.dataset_id
               WHERE i.task_id = j.task_id AND i.role = 'primary' AND i.first_ordinal + f.ordinal < j.input_first)
           ELSE CASE WHEN t.events_per_job IS NOT NULL AND j.input_first = 0 THEN j.first_event END END AS skip_events
    FROM {jobs} j JOIN production_task t ON t.id = j.task_id
    WHERE j.id = ANY(:jobs) ORDER BY j.id
"""
_IN_HAND, _EVER = text(_JOBS.format(jobs="job")), text(_JOBS.format(jobs="job_all"))


def jobs_in_hand(connection: Connection, jobs: Sequence[int]) -> list[RowMapping]:
    """What does a pilot need to know of these jobs (their task's common part and their own numbers)?"""
    return list(connection.execute(_IN_HAND, {"jobs": list(jobs)}).mappings())


def jobs_ever(connection: Connection, jobs: Sequence[int]) -> list[RowMapping]:
    """The same of jobs wherever they are kept: their pilots may be gone long since."""
    return list(connection.execute(_EVER, {"jobs": list(jobs)}).mappings())


_COMMON = text("""
    SELECT t.id, extract(epoch FROM t.stage_since)::float8 AS version, t.name, t.label, t.vo, t.owner, t.working_group,
           t.processing_type, t.transformation, t.parameters, t.release, t.architecture, t.container, t.cores,
           t.memory_mb, t.disk_mb, t.work_hs23_s, t.wall_s, t.outputs, t.seed, t.events_per_job, t.share,
           t.use_secrets,
           EXISTS (SELECT 1 FROM task_input i WHERE i.task_id = t.id) AS has_input
    FROM production_task t WHERE t.id = ANY(:tasks)
""")


def common_parts(connection: Connection, tasks: Sequence[int]) -> list[RowMapping]:
    """What is the same in all jobs of these tasks? It changes only with a task's stage; its `version` says which."""
    return list(connection.execute(_COMMON, {"tasks": list(tasks)}).mappings())


def set_command(connection: Connection, jobs: Sequence[int], command: str, who: str) -> int:
    """Leave a command for the pilots that hold these jobs; returns how many do."""
    connection.execute(
        text("""
            INSERT INTO job_event (task_id, job_id, n, why, who)
            SELECT j.task_id, j.id, 0, 'command ' || :command, :who FROM job j JOIN in_hand h ON h.job_id = j.id
            WHERE j.id = ANY(:jobs)
        """),
        {"jobs": list(jobs), "command": command, "who": who[:200]},
    )
    return connection.execute(
        text("UPDATE in_hand SET command = :command WHERE job_id = ANY(:jobs)"),
        {"jobs": list(jobs), "command": command},
    ).rowcount


def set_debug(connection: Connection, job_id: int, command: str | None, who: str) -> str | None:
    """Leave a command for the pilot of a job, or take it back; an order to end the job stays.

    Returns what the pilot will hear now, `NULL` for nothing; None: no pilot has the job.
    """
    why = "debug mode off" if command is None else "debug mode on" if command == "debug" else f"command {command}"
    connection.execute(
        text("""
            INSERT INTO job_event (task_id, job_id, n, why, who)
            SELECT j.task_id, j.id, 0, :why, :who FROM job j JOIN in_hand h ON h.job_id = j.id WHERE j.id = :job
        """),
        {"job": job_id, "why": why, "who": who[:200]},
    )
    heard: str | None = connection.scalar(
        text("""
            UPDATE in_hand SET command = CASE WHEN command = 'tobekilled' THEN command ELSE CAST(:command AS text) END
            WHERE job_id = :job RETURNING COALESCE(command, 'NULL')
        """),
        {"job": job_id, "command": command},
    )
    return heard


def secrets_of_another(connection: Connection, job_id: int, who: str) -> bool:
    """Does this job run with the secrets of somebody else?"""
    query = text("""
        SELECT true FROM job j JOIN production_task t ON t.id = j.task_id
        WHERE j.id = :job AND t.use_secrets AND t.owner <> :who
    """)
    return bool(connection.scalar(query, {"job": job_id, "who": who}))
