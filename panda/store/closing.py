"""The end of a task in the database: what is still open, closing its datasets, its children."""

from collections.abc import Sequence

from sqlalchemy import Connection, text


def outputs_not_attached(connection: Connection, task_id: int) -> int:
    """How many outputs of finished jobs are not in their datasets yet?"""
    query = text("""
        SELECT count(*) FROM job_output o JOIN job j ON j.id = o.job_id
        WHERE j.task_id = :task AND j.status = 'finished' AND o.state <> 'attached'
    """)
    return connection.scalar(query, {"task": task_id}) or 0


def finished_ordinals(connection: Connection, task_id: int) -> int:
    """How many ordinals of a task have a finished job?"""
    query = text("SELECT count(DISTINCT ordinal) FROM job WHERE task_id = :task AND status = 'finished'")
    return connection.scalar(query, {"task": task_id}) or 0


def close_datasets(connection: Connection, task_id: int) -> None:
    """Close the output datasets of a task with the number and size of what they hold."""
    connection.execute(
        text("""
            UPDATE dataset d SET state = 'closed', closed_at = now(), n_files = s.n, bytes = s.bytes
            FROM (
                SELECT d2.id, count(o.job_id) AS n, COALESCE(sum(o.bytes), 0) AS bytes
                FROM dataset d2 LEFT JOIN job_output o ON o.dataset_id = d2.id AND o.state = 'attached'
                WHERE d2.task_id = :task AND d2.kind IN ('output', 'log') GROUP BY d2.id
            ) s
            WHERE d.id = s.id AND d.state = 'open'
        """),
        {"task": task_id},
    )


def children(connection: Connection, task_id: int) -> list[int]:
    """Which tasks read this task's output?"""
    query = text("""
        SELECT DISTINCT t.id FROM production_task t
        LEFT JOIN task_input i ON i.task_id = t.id LEFT JOIN dataset d ON d.name = i.dataset
        WHERE t.parent_id = :task OR d.task_id = :task ORDER BY t.id
    """)
    return list(connection.execute(query, {"task": task_id}).scalars())


def live_builds(connection: Connection, task_id: int) -> list[int]:
    """Which build steps that still work make a library for this task?"""
    query = text("""
        SELECT DISTINCT b.id FROM task_input i JOIN dataset d ON d.name = i.dataset
        JOIN production_task b ON b.id = d.task_id AND b.task_type = 'build'
        WHERE i.task_id = :task AND b.stage IN ('registered', 'assigned', 'running') ORDER BY b.id
    """)
    return list(connection.execute(query, {"task": task_id}).scalars())


def failed_builds(connection: Connection, task_id: int) -> list[int]:
    """Which build steps failed, so that this task failed without ever having a job?"""
    query = text("""
        SELECT DISTINCT b.id FROM production_task t JOIN task_input i ON i.task_id = t.id
        JOIN dataset d ON d.name = i.dataset JOIN production_task b ON b.id = d.task_id AND b.task_type = 'build'
        WHERE t.id = :task AND t.stage = 'failed' AND t.next_ordinal = 0 AND b.stage = 'failed' ORDER BY b.id
    """)
    return list(connection.execute(query, {"task": task_id}).scalars())


def read_continuations(connection: Connection, task_id: int, makers: Sequence[int]) -> None:
    """Let a task read the open continuations of the datasets that these tasks make, instead of the closed ones."""
    connection.execute(
        text("""
            UPDATE task_input i SET dataset = c.name, dataset_id = NULL, first_ordinal = NULL, n_files = NULL
            FROM dataset d JOIN dataset c ON c.continues = COALESCE(d.continues, d.id) AND c.state = 'open'
            WHERE i.task_id = :task AND d.name = i.dataset AND d.task_id = ANY(:makers)
        """),
        {"task": task_id, "makers": list(makers)},
    )


def failed_ordinals(connection: Connection, task_id: int, limit: int) -> list[int]:
    """Which jobs were the last attempt of an ordinal that never finished?"""
    query = text("""
        SELECT DISTINCT ON (ordinal) id FROM job j
        WHERE task_id = :task AND NOT EXISTS (
            SELECT 1 FROM job k WHERE k.task_id = :task AND k.ordinal = j.ordinal
              AND (k.status = 'finished' OR k.status IS NULL
                   OR k.status NOT IN ('failed', 'cancelled', 'closed', 'finished')))
        ORDER BY ordinal, attempt DESC LIMIT :limit
    """)
    return list(connection.execute(query, {"task": task_id, "limit": limit}).scalars())


def forgive(connection: Connection, task_id: int) -> None:
    """Forget the failures of a task's inputs, so that each may be tried again up to the limit."""
    connection.execute(text("UPDATE task_file SET failures = 0 WHERE task_id = :task"), {"task": task_id})


def open_continuations(connection: Connection, task_id: int) -> list[tuple[str, str]]:
    """Make continuation datasets `<name>.r<n>` for a retry after closing; returns (old name, new name) pairs."""
    rows = connection.execute(
        text("""
            INSERT INTO dataset (scope, name, kind, task_id, continues)
            SELECT d.scope, COALESCE(base.name, d.name) || '.r' || (
                       SELECT count(*) + 1 FROM dataset x WHERE x.continues = COALESCE(d.continues, d.id)),
                   d.kind, d.task_id, COALESCE(d.continues, d.id)
            FROM dataset d LEFT JOIN dataset base ON base.id = d.continues
            WHERE d.task_id = :task AND d.kind IN ('output', 'log') AND d.state = 'closed'
              AND d.id = (SELECT max(y.id) FROM dataset y
                          WHERE y.task_id = :task AND COALESCE(y.continues, y.id) = COALESCE(d.continues, d.id))
            RETURNING name, (SELECT name FROM dataset o WHERE o.id = dataset.continues) AS base
        """),
        {"task": task_id},
    )
    return [(row.base, row.name) for row in rows]
