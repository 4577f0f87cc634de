"""SQL of files: which files a dataset holds, which job made each, which jobs of a task read or wrote what."""

from sqlalchemy import Connection, RowMapping, text

# An output's job is known by job_output; what a dataset brought from outside lies in dataset_file only.
_FILES = text("""
    SELECT d.name AS dataset, d.kind, o.scope, o.lfn, o.guid, o.bytes, o.adler32, o.events, o.rse, o.state,
           o.job_id, j.ordinal
    FROM job_output o JOIN dataset d ON d.id = o.dataset_id JOIN job_all j ON j.id = o.job_id
    WHERE (CAST(:dataset AS text) IS NULL OR d.name = :dataset) AND (CAST(:task AS bigint) IS NULL OR j.task_id = :task)
      AND (CAST(:lfn AS text) IS NULL OR o.lfn LIKE :lfn)
    UNION ALL
    SELECT d.name, d.kind, f.scope, f.lfn, f.guid, f.bytes, f.adler32, f.events, NULL, 'input', NULL, f.ordinal
    FROM dataset_file f JOIN dataset d ON d.id = f.dataset_id
    WHERE d.kind IN ('input', 'selection')
      AND (CAST(:dataset AS text) IS NULL OR d.name = :dataset)
      AND (CAST(:task AS bigint) IS NULL OR d.id IN (SELECT dataset_id FROM task_input WHERE task_id = :task))
      AND (CAST(:lfn AS text) IS NULL OR f.lfn LIKE :lfn)
    ORDER BY dataset, ordinal, lfn LIMIT :limit OFFSET :offset
""")


def files(
    connection: Connection, dataset: str | None, task_id: int | None, lfn: str | None, limit: int | None, offset: int
) -> list[RowMapping]:
    """Read the files of a dataset, or those a task reads from outside and writes, by dataset and place."""
    values = {"dataset": dataset, "task": task_id, "lfn": lfn, "limit": limit, "offset": offset}
    return list(connection.execute(_FILES, values).mappings())


# A `_dis` block is made with its files; a `_sub` block holds what was collected into it: the outputs of its bunch at
# its site.
CONTENTS = """
    CROSS JOIN LATERAL (
        SELECT k.n_files, k.bytes WHERE k.kind = 'dis'
        UNION ALL
        SELECT count(o.job_id), COALESCE(sum(o.bytes), 0)::bigint
        FROM job_all j JOIN job_output o ON o.job_id = j.id
        WHERE k.kind = 'sub' AND j.bunch_id = k.bunch_id AND j.site_id = k.site_id
        HAVING k.kind = 'sub'
    ) contents
"""

_BLOCKS = text(f"""
    SELECT k.id, k.name, k.kind, k.task_id, s.name AS site, k.rse, k.state, k.transfer_id, contents.n_files,
           contents.bytes, k.created_at, k.since, k.error
    FROM block k LEFT JOIN site s ON s.id = k.site_id {CONTENTS}
    WHERE (CAST(:task AS bigint) IS NULL OR k.task_id = :task) AND (CAST(:site AS text) IS NULL OR s.name = :site)
      AND (NOT :live OR k.state IN ('planned', 'requested', 'stuck'))
    ORDER BY k.id LIMIT :limit OFFSET :offset
""")  # noqa: S608 - a constant of this file


def blocks(
    connection: Connection, task_id: int | None, site: str | None, live: bool, limit: int | None, offset: int
) -> list[RowMapping]:
    """Read blocks of files on their way (or all of them), the oldest first."""
    values = {"task": task_id, "site": site, "live": live, "limit": limit, "offset": offset}
    return list(connection.execute(_BLOCKS, values).mappings())
