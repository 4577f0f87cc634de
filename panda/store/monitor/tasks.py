"""Which production tasks does a filter let through, and how far are they?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from panda.domain.pattern import Pattern
from panda.store import counters
from panda.store.monitor.snapshot import Clauses, Row, Span, rows

ATTRIBUTES: Mapping[str, str] = {
    "task": "t.id::text",
    "taskname": "t.name",
    "status": "CASE WHEN t.hold IS NOT NULL AND t.ended_at IS NULL THEN 'paused' ELSE t.stage::text END",
    "cloud": "COALESCE(t.cloud, '')",
    "user": "t.owner",
    "vo": "t.vo",
    "group": "COALESCE(t.working_group, '')",
    "label": "t.label",
    "type": "t.task_type",
    "processing": "t.processing_type",
    "campaign": "COALESCE(t.campaign, '')",
    "share": "t.share",
    "transformation": "t.transformation",
    "release": "t.release",
    "parent": "COALESCE(t.parent_id::text, '')",
}
SUMMARISED = ("status", "cloud", "user", "vo", "label", "type", "processing", "campaign", "share", "transformation")
SORTS: Mapping[str, str] = {
    "id": "t.id",
    "name": "t.name",
    "priority": "t.priority",
    "status": "t.stage",
    "submitted": "t.submitted_at",
    "modified": "GREATEST(t.stage_since, t.submitted_at, t.ended_at)",
}
VALUES_SHOWN = 40


@dataclass(frozen=True, slots=True)
class TasksWanted:
    """Which tasks: those that live or changed in the span, as far as every filter lets them through.

    A filter that names tasks, a parent or a name lifts the span.
    """

    span: Span
    filters: Mapping[str, Pattern] = field(default_factory=dict)

    @property
    def timeless(self) -> bool:
        """Whether tasks of any time are meant."""
        return any(name in self.filters for name in ("task", "parent", "taskname"))


@dataclass(frozen=True, slots=True)
class TasksFound:
    """A page of tasks, how many there are in all, and how many per value of each attribute."""

    total: int
    tasks: list[Row]
    summary: list[Row]


def found(connection: Connection, wanted: TasksWanted, *, sort: str, limit: int, offset: int) -> TasksFound:
    """Which tasks does the filter let through? `sort` is a name of SORTS, with `-` for the largest first."""
    clauses = _those(wanted)
    where = clauses.both
    columns = ", ".join(f"{ATTRIBUTES[name]} AS a_{name}" for name in SUMMARISED)
    parts = " UNION ALL ".join(
        f"SELECT '{name}' AS attribute, a_{name} AS value, count(*) AS n FROM wide GROUP BY 2" for name in SUMMARISED
    )
    summary = rows(
        connection,
        f"""WITH wide AS MATERIALIZED (SELECT {columns} FROM production_task t WHERE {where}), counted AS ({parts}),
            ranked AS (SELECT *, row_number() OVER (PARTITION BY attribute ORDER BY n DESC, value) AS place,
                              count(*) OVER (PARTITION BY attribute) AS "values" FROM counted)
            SELECT attribute, value, n, "values" FROM ranked WHERE place <= {VALUES_SHOWN}
            ORDER BY attribute, place""",
        clauses.values,
    )
    total = rows(connection, f"SELECT count(*) AS n FROM production_task t WHERE {where}", clauses.values)[0]["n"]
    direction = "DESC" if sort.startswith("-") else "ASC"
    ids = rows(
        connection,
        f"""SELECT t.id FROM production_task t WHERE {where}
            ORDER BY {SORTS[sort.removeprefix("-")]} {direction} NULLS LAST, t.id DESC LIMIT :limit OFFSET :offset""",
        clauses.values | {"limit": limit, "offset": offset},
    )
    return TasksFound(total, described(connection, [one["id"] for one in ids]), summary)


def of_users(connection: Connection, wanted: TasksWanted) -> list[Row]:
    """Whose tasks does the filter let through, how many, of which organisations, and when came the newest?"""
    clauses = _those(wanted)
    return rows(
        connection,
        f"""SELECT t.owner AS "user", array_agg(DISTINCT t.vo) AS vos, count(*) AS tasks,
                   count(*) FILTER (WHERE t.ended_at IS NULL) AS live, max(t.submitted_at) AS submitted_at
            FROM production_task t WHERE {clauses.both} GROUP BY t.owner""",
        clauses.values,
    )


def is_user(connection: Connection, name: str) -> bool:
    """Has this user ever had a task?"""
    return bool(rows(connection, "SELECT FROM production_task WHERE owner = :name LIMIT 1", {"name": name}))


def _those(wanted: TasksWanted) -> Clauses:
    clauses = Clauses()
    clauses.those_of(ATTRIBUTES, wanted.filters)
    if not wanted.timeless:
        clauses.sql.append(
            "(t.ended_at IS NULL OR t.ended_at >= :since OR t.stage_since >= :since) AND t.submitted_at < :until"
        )
        clauses.values |= {"since": wanted.span.since, "until": wanted.span.until}
    return clauses


def described(connection: Connection, ids: Sequence[int]) -> list[Row]:
    """How far are these tasks? In the order given; `jobs` counts every row by state, retries among them."""
    exact = counters.EXACT.format(where="task_id = ANY(:ids)")
    return rows(
        connection,
        f"""
        WITH counted AS (SELECT task_id, jsonb_object_agg(status, n) AS jobs
                         FROM (SELECT task_id, status, sum(n) AS n FROM ({exact}) e GROUP BY 1, 2) c GROUP BY 1)
        SELECT t.id, t.name, {ATTRIBUTES["status"]} AS status, t.stage::text AS stage, t.hold, t.waits_for, t.error,
               t.cloud, t.owner, t.vo, t.label, t.task_type, t.processing_type, t.campaign, t.priority, t.share,
               t.transformation, t.parent_id, t.submitted_at, t.stage_since, t.ended_at,
               t.next_ordinal AS made, t.expanded, COALESCE(c.jobs, '{{}}') AS jobs
        FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS i (id, place)
        JOIN production_task t ON t.id = i.id LEFT JOIN counted c ON c.task_id = t.id ORDER BY i.place
        """,
        {"ids": list(ids)},
    )


def inputs(connection: Connection, task_id: int) -> Row:
    """How many input files (of a task without input: places of its numbering) are done, given up, and left?"""
    return rows(
        connection,
        """
        WITH t AS (SELECT * FROM production_task WHERE id = :id),
        files AS (SELECT sum(n_files)::bigint AS n FROM task_input WHERE task_id = :id AND role = 'primary'),
        done AS (
            SELECT COALESCE(sum(CASE WHEN j.input_count IS NULL OR t.events_per_job IS NOT NULL THEN 1
                                     WHEN j.explicit_input THEN (SELECT count(*) FROM job_input i WHERE i.job_id = j.id)
                                     ELSE j.input_count END), 0)::bigint AS n
            FROM job_all j, t WHERE j.task_id = :id AND j.status = 'finished'
        ),
        lost AS (SELECT count(*) AS n FROM task_file f, t
                 WHERE f.task_id = :id AND (f.failures >= t.max_attempts OR f.state <> 'live'))
        SELECT CASE WHEN files.n IS NULL OR t.events_per_job IS NOT NULL
                    THEN GREATEST(t.next_ordinal, COALESCE(t.n_jobs, 0)) ELSE files.n END AS total,
               done.n AS done, lost.n AS lost, files.n IS NOT NULL AND t.events_per_job IS NULL AS by_files
        FROM t, files, done, lost
        """,
        {"id": task_id},
    )[0]


def first_attempts(connection: Connection, task_id: int) -> list[Row]:
    """How many places of a task's numbering are in which state, retries not counted: the last attempt speaks?"""
    return rows(
        connection,
        """
        SELECT status::text AS status, count(*) AS n FROM (
            SELECT DISTINCT ON (j.ordinal) COALESCE(j.status, b.state::text::job_status) AS status
            FROM job_all j JOIN bunch b ON b.id = j.bunch_id WHERE j.task_id = :id ORDER BY j.ordinal, j.attempt DESC
        ) last GROUP BY 1
        """,
        {"id": task_id},
    )


def history(connection: Connection, task_id: int, limit: int) -> list[Row]:
    """What happened to a task: what operators had to know of it, newest first?"""
    return rows(
        connection,
        "SELECT at, level, kind, text FROM incident WHERE object = :about ORDER BY id DESC LIMIT :limit",
        {"about": f"task:{task_id}", "limit": limit},
    )


def family(connection: Connection, task_id: int) -> list[int]:
    """Which tasks belong to the chain of this one: parents upwards, children downwards?"""
    found = rows(
        connection,
        """
        WITH RECURSIVE up AS (
            SELECT id, parent_id FROM production_task WHERE id = :id
          UNION SELECT t.id, t.parent_id FROM production_task t JOIN up ON t.id = up.parent_id
        ), down AS (
            SELECT id FROM production_task WHERE id = :id
          UNION SELECT t.id FROM production_task t JOIN down ON t.parent_id = down.id
        )
        SELECT id FROM up UNION SELECT id FROM down ORDER BY id
        """,
        {"id": task_id},
    )
    return [row["id"] for row in found]
