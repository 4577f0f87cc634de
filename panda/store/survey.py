"""SQL of looking over the whole: sites, pilots, datasets, transfers, incidents; changes nothing and locks nothing."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text

from panda.store.files import CONTENTS

_SITES = text("""
    SELECT s.id, s.name, s.cloud, s.tier, s.status, s.status_since, s.comment, s.rse, s.vos, st.space_gb, st.used_gb,
           s.name = c.tier1 AS is_tier1, seen.nodes AS pilots, seen.running AS running_nodes,
           ARRAY(SELECT release FROM site_release r WHERE r.site_id = s.id ORDER BY release) AS releases,
           ARRAY(SELECT name FROM queue q WHERE q.site_id = s.id ORDER BY name) AS queues
    FROM site s JOIN cloud c ON c.name = s.cloud LEFT JOIN storage st ON st.rse = s.rse
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE GREATEST(last_get_job, last_update_job) > now() - interval '3 h') AS nodes,
               count(*) FILTER (WHERE last_update_job > now() - interval '3 h') AS running
        FROM pilot_activity a WHERE a.site_id = s.id
    ) seen
    ORDER BY s.cloud, s.tier, s.name
""")


def sites(connection: Connection) -> list[RowMapping]:
    """Read every site with what was seen of its worker nodes in the last 3 hours (domain.md 2.2)."""
    return list(connection.execute(_SITES).mappings())


def workers(connection: Connection, queue: str | None, live: bool, limit: int | None, offset: int) -> list[RowMapping]:
    """Read pilots as their factories describe them, the newest first."""
    return list(
        connection.execute(
            text("""
                SELECT factory, worker_id, queue, batch_id, status, node, cores, submitted_at, started_at, ended_at,
                       seen_at, n_jobs, diag, computing_element, submission_host, resource_type, details,
                       ARRAY(SELECT job_id FROM in_hand h WHERE h.factory = w.factory AND h.worker_id = w.worker_id
                             ORDER BY job_id) AS jobs
                FROM worker w
                WHERE (CAST(:queue AS text) IS NULL OR queue = :queue) AND (NOT :live OR ended_at IS NULL)
                ORDER BY seen_at DESC, factory, worker_id DESC LIMIT :limit OFFSET :offset
            """),
            {"queue": queue, "live": live, "limit": limit, "offset": offset},
        ).mappings()
    )


# An open dataset is counted as it grows; a closed one knows its numbers.
_DATASETS = text("""
    SELECT d.id, d.scope, d.name, d.kind, d.task_id, d.state, d.created_at, d.closed_at,
           CASE WHEN grown.n > d.n_files THEN grown.n ELSE d.n_files END AS n_files,
           CASE WHEN grown.n > d.n_files THEN grown.bytes ELSE d.bytes END AS bytes
    FROM dataset d
    LEFT JOIN LATERAL (
        SELECT count(*) AS n, COALESCE(sum(o.bytes), 0)::bigint AS bytes FROM job_output o
        WHERE o.dataset_id = d.id AND o.state IN ('ready', 'attached')
    ) grown ON d.state = 'open'
    WHERE (CAST(:name AS text) IS NULL OR d.name LIKE :name)
      AND (CAST(:task AS bigint) IS NULL OR d.task_id = :task OR d.id IN (
            SELECT dataset_id FROM task_input WHERE task_id = :task))
    ORDER BY d.id LIMIT :limit OFFSET :offset
""")


def datasets(
    connection: Connection, name: str | None, task_id: int | None, limit: int | None, offset: int
) -> list[RowMapping]:
    """Read datasets by LIKE pattern, or those a task reads and writes."""
    values = {"name": name, "task": task_id, "limit": limit, "offset": offset}
    return list(connection.execute(_DATASETS, values).mappings())


def task_inputs(connection: Connection, task_ids: Sequence[int]) -> list[RowMapping]:
    """Tell which datasets these tasks read, the ones that PanDA does not know yet included."""
    return list(
        connection.execute(
            text("""
                SELECT i.task_id, i.name AS stream, i.role, i.dataset, i.dataset_id, i.n_files, d.state,
                       d.task_id AS made_by
                FROM task_input i LEFT JOIN dataset d ON d.name = i.dataset
                WHERE i.task_id = ANY(:tasks) ORDER BY i.task_id, i.stream, i.place
            """),
            {"tasks": list(task_ids)},
        ).mappings()
    )


def transfers(connection: Connection, task_id: int | None) -> list[RowMapping]:
    """Sum up blocks by kind, state and site, of one task or of all."""
    return list(
        connection.execute(
            text(f"""
                SELECT k.kind, k.state, s.name AS site, count(*) AS n, sum(contents.n_files)::bigint AS n_files,
                       sum(contents.bytes)::bigint AS bytes, min(k.since) AS oldest
                FROM block k LEFT JOIN site s ON s.id = k.site_id {CONTENTS}
                WHERE CAST(:task AS bigint) IS NULL OR k.task_id = :task
                GROUP BY k.kind, k.state, s.name ORDER BY k.kind, k.state, s.name
            """),  # noqa: S608 - a constant
            {"task": task_id},
        ).mappings()
    )


def incidents(
    connection: Connection, kind: str | None, about: str | None, limit: int | None, offset: int
) -> list[RowMapping]:
    """Read what operators must know, the newest first."""
    return list(
        connection.execute(
            text("""
                SELECT id, at, level, kind, object AS about, text, numbers FROM incident
                WHERE (CAST(:kind AS text) IS NULL OR kind = :kind)
                  AND (CAST(:about AS text) IS NULL OR object = :about)
                ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset
            """),
            {"kind": kind, "about": about, "limit": limit, "offset": offset},
        ).mappings()
    )
