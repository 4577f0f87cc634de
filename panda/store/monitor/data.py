"""Which datasets are there, what is in them, who made and who reads them, and which blocks are under way?"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from panda.domain.pattern import Pattern
from panda.store.files import CONTENTS
from panda.store.monitor.snapshot import Clauses, Row, Span, rows

ATTRIBUTES: Mapping[str, str] = {
    "name": "d.name",
    "scope": "d.scope",
    "type": "d.kind",
    "status": "d.state",
    "task": "COALESCE(d.task_id::text, '')",
    "vo": "COALESCE(t.vo, '')",
    "user": "COALESCE(t.owner, '')",
    "cloud": "COALESCE(t.cloud, '')",
}
SORTS: Mapping[str, str] = {
    "id": "d.id",
    "name": "d.name",
    "files": "d.n_files",
    "size": "d.bytes",
    "made": "d.created_at",
}
BLOCK_ATTRIBUTES: Mapping[str, str] = {
    "status": "k.state",
    "type": "k.kind",
    "site": "COALESCE(s.name, '')",
    "rse": "k.rse",
    "task": "k.task_id::text",
    "name": "k.name",
}
_FROM = "dataset d LEFT JOIN production_task t ON t.id = d.task_id"
_COLUMNS = """
    d.id, d.scope, d.name, d.kind, d.state, d.task_id, d.created_at, d.closed_at, d.continues,
    GREATEST(d.n_files, grown.n) AS n_files, GREATEST(d.bytes, grown.bytes) AS bytes,
    (SELECT count(DISTINCT i.task_id) FROM task_input i WHERE i.dataset = d.name) AS readers
"""
# An open dataset is counted as it grows; a closed one knows its numbers.
_GROWN = """
    LEFT JOIN LATERAL (
        SELECT count(*) AS n, COALESCE(sum(o.bytes), 0)::bigint AS bytes FROM job_output o
        WHERE d.state = 'open' AND o.dataset_id = d.id AND o.state IN ('ready', 'attached')
    ) grown ON true
"""


MOST_JOBS = 2_000
"""Jobs of a task that are looked at one by one for the files of its secondary inputs."""


def datasets(
    connection: Connection, filters: Mapping[str, Pattern], *, sort: str, limit: int, offset: int
) -> tuple[int, list[Row], list[Row]]:
    """Which datasets does the filter let through: how many, a page of them, and how many by attribute?"""
    clauses = Clauses()
    clauses.those_of(ATTRIBUTES, filters)
    total = rows(connection, f"SELECT count(*) AS n FROM {_FROM} WHERE {clauses.both}", clauses.values)[0]["n"]
    direction = "DESC" if sort.startswith("-") else "ASC"
    page = rows(
        connection,
        f"""WITH page AS (SELECT d.*, row_number() OVER () AS place FROM (
                SELECT d.* FROM {_FROM} WHERE {clauses.both}
                ORDER BY {SORTS[sort.removeprefix("-")]} {direction}, d.id DESC LIMIT :limit OFFSET :offset) d)
            SELECT {_COLUMNS} FROM page d {_GROWN} ORDER BY d.place""",
        clauses.values | {"limit": limit, "offset": offset},
    )
    parts = " UNION ALL ".join(
        f"""SELECT '{name}' AS attribute, {ATTRIBUTES[name]} AS value, count(*) AS n
            FROM {_FROM} WHERE {clauses.both} GROUP BY 2"""
        for name in ("type", "status", "scope", "user")
    )
    summary = rows(
        connection,
        f"""SELECT *, count(*) OVER (PARTITION BY attribute) AS "values"
            FROM ({parts}) u ORDER BY attribute, n DESC, value""",
        clauses.values,
    )
    return total, page, summary


def dataset(connection: Connection, name: str) -> Row | None:
    """What is known of the dataset of this name?"""
    found = rows(connection, f"SELECT {_COLUMNS} FROM dataset d {_GROWN} WHERE d.name = :name", {"name": name})
    return found[0] if found else None


def files(connection: Connection, dataset_id: int, limit: int, offset: int) -> tuple[int, list[Row]]:
    """Which files has a dataset: those of its snapshot, and what jobs have written into it; by which jobs?"""
    query = """
        SELECT f.ordinal, f.scope, f.lfn, f.guid, f.bytes, f.adler32, f.events, o.job_id, 'in the dataset' AS state
        FROM dataset_file f LEFT JOIN job_output o ON o.dataset_id = f.dataset_id AND o.lfn = f.lfn
        WHERE f.dataset_id = :id
      UNION ALL
        SELECT NULL, o.scope, o.lfn, o.guid, o.bytes, o.adler32, o.events, o.job_id, o.state FROM job_output o
        WHERE o.dataset_id = :id AND NOT EXISTS (
            SELECT 1 FROM dataset_file f WHERE f.dataset_id = o.dataset_id AND f.lfn = o.lfn)
    """
    total = rows(connection, f"SELECT count(*) AS n FROM ({query}) u", {"id": dataset_id})[0]["n"]
    page = rows(
        connection,
        f"{query} ORDER BY 1 NULLS LAST, 3 LIMIT :limit OFFSET :offset",
        {"id": dataset_id, "limit": limit, "offset": offset},
    )
    return total, page


def jobs_that_read(connection: Connection, dataset_id: int, ordinals: Sequence[int]) -> list[Row]:
    """Which jobs have these files of a dataset as an input? Every attempt is one row per file.

    Jobs without any of them are left out before the files are compared: a task may have a million. Of a secondary input
    every job takes some files in turn (see store/inputs.py); the jobs of a task with more than `most` jobs are left out
    there: each file would be read by thousands.
    """
    if not ordinals:
        return []
    return rows(
        connection,
        """
        WITH near AS MATERIALIZED (
            SELECT j.id, i.stream, i.first_ordinal, j.input_first, j.input_count,
                   COALESCE(j.explicit_input, false) AS explicit
            FROM task_input i JOIN job_all j ON j.task_id = i.task_id
            WHERE i.dataset_id = :id AND i.role = 'primary' AND (COALESCE(j.explicit_input, false) OR (
                j.input_first <= i.first_ordinal + :last AND j.input_first + j.input_count > i.first_ordinal + :first))
        ), wanted AS (SELECT unnest(CAST(:ordinals AS int[])) AS ordinal)
        SELECT w.ordinal, n.id FROM near n JOIN wanted w ON n.first_ordinal + w.ordinal >= n.input_first
          AND n.first_ordinal + w.ordinal < n.input_first + n.input_count AND NOT n.explicit
      UNION
        SELECT w.ordinal, n.id FROM near n JOIN job_input x ON x.job_id = n.id AND x.stream = n.stream AND n.explicit
          JOIN wanted w ON x.ordinal = n.first_ordinal + w.ordinal
      UNION
        SELECT w.ordinal, j.id
        FROM (SELECT t.*, sum(t.n_files) OVER (PARTITION BY t.task_id, t.stream) AS total,
                     COALESCE(t.files_per_job, 1)::bigint AS each
              FROM task_input t WHERE t.role = 'secondary'
                AND t.task_id IN (SELECT task_id FROM task_input WHERE dataset_id = :id AND role = 'secondary')) i
        CROSS JOIN LATERAL (
            SELECT count(*) AS n FROM (SELECT 1 FROM job_all WHERE task_id = i.task_id LIMIT :most + 1) few) has
        JOIN job_all j ON j.task_id = i.task_id CROSS JOIN wanted w
        WHERE i.dataset_id = :id AND has.n <= :most
          AND mod(mod(i.first_ordinal + w.ordinal - j.ordinal * i.each, i.total) + i.total, i.total) < i.each
        ORDER BY 1, 2
        """,
        {
            "id": dataset_id,
            "most": MOST_JOBS,
            "first": min(ordinals),
            "last": max(ordinals),
            "ordinals": list(ordinals),
        },
    )


def lineage(connection: Connection, task_ids: list[int]) -> list[Row]:
    """Which datasets do these tasks read and write? One row per task, dataset and direction."""
    return rows(
        connection,
        """
        SELECT t.id AS task_id, t.name AS task_name, t.stage::text AS stage, 'in' AS way, i.dataset, d.kind, d.state,
               d.n_files, d.task_id AS made_by
        FROM task_input i JOIN production_task t ON t.id = i.task_id LEFT JOIN dataset d ON d.name = i.dataset
        WHERE i.task_id = ANY(:tasks)
      UNION
        SELECT t.id, t.name, t.stage::text, 'out', d.name, d.kind, d.state, d.n_files, d.task_id
        FROM dataset d JOIN production_task t ON t.id = d.task_id
        WHERE d.task_id = ANY(:tasks) AND d.kind = 'output' ORDER BY 1, 4, 5
        """,
        {"tasks": task_ids},
    )


def readers(connection: Connection, name: str) -> dict[int, str]:
    """Which tasks read a dataset, and as what: their main input, or one of which every job takes some files?"""
    found = rows(
        connection,
        """SELECT task_id, min(role) AS role FROM task_input WHERE dataset = :name GROUP BY task_id ORDER BY 1""",
        {"name": name},
    )
    return {row["task_id"]: row["role"] for row in found}


def blocks(
    connection: Connection, span: Span, filters: Mapping[str, Pattern], limit: int, offset: int
) -> tuple[int, list[Row], list[Row]]:
    """Which blocks are under way or changed in the span: how many, a page of them, and how many by attribute?

    Files of a `_sub` block are what was collected into it.
    """
    clauses = Clauses()
    clauses.those_of(BLOCK_ATTRIBUTES, filters)
    source = f"""
        FROM block k LEFT JOIN site s ON s.id = k.site_id
        WHERE (k.state IN ('planned', 'requested', 'stuck') OR (k.since >= :since AND k.since < :until))
          AND {clauses.both}"""
    values = clauses.values | {"since": span.since, "until": span.until}
    total = rows(connection, f"SELECT count(*) AS n {source}", values)[0]["n"]
    page = rows(
        connection,
        f"""WITH page AS (SELECT k.*, s.name AS site {source}
                ORDER BY (k.state = 'stuck') DESC, k.id DESC LIMIT :limit OFFSET :offset)
            SELECT k.id, k.name, k.kind, k.state, k.task_id, k.site, k.rse, contents.n_files, contents.bytes,
                   k.created_at, k.since, k.transfer_id, k.error FROM page k {CONTENTS}
            ORDER BY (k.state = 'stuck') DESC, k.id DESC""",
        values | {"limit": limit, "offset": offset},
    )
    parts = " UNION ALL ".join(
        f"SELECT '{name}' AS attribute, {column} AS value, count(*) AS n {source} GROUP BY 2"
        for name, column in BLOCK_ATTRIBUTES.items()
        if name in {"status", "type", "site", "rse"}
    )
    summary = rows(
        connection,
        f"""SELECT *, count(*) OVER (PARTITION BY attribute) AS "values"
            FROM ({parts}) u ORDER BY attribute, n DESC, value""",
        values,
    )
    return total, page, summary
