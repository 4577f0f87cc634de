"""How many jobs does a filter let through, and which are the newest, where there are too many to look at each?

Counts come from the folded counters and the events of ends, the page of a list from the best of each kind of job: no
statement walks over all of them. Only what is a job's own (attempt, node, error) cannot be summed up in this way.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from panda.domain.pattern import Pattern
from panda.store import counters
from panda.store.monitor.snapshot import Clauses, Row, Span, rows

VALUES_SHOWN = 40
FINE = frozenset({"attempt", "queue", "node", "factory", "error"})
_FINAL = "('finished', 'failed', 'cancelled', 'closed')"
_IN_SPAN = f"""
        SELECT task_id, site_id, status, n FROM ({counters.EXACT.format(where="true")}) live
        WHERE status NOT IN {_FINAL}
      UNION ALL
        SELECT task_id, COALESCE(to_site, 0), to_state, sum(n) FROM job_event
        WHERE at >= :since AND at < :until AND to_state IN {_FINAL} GROUP BY 1, 2, 3"""
_OF_TASKS = counters.EXACT.format(where="task_id = ANY(:tasks)")


def countable(filters: Mapping[str, Pattern]) -> bool:
    """Whether counters know all that is filtered by: task, site, state, and what is the same for a task's jobs."""
    return not FINE.intersection(filters)


def tally(
    connection: Connection, attributes: Mapping[str, str], span: Span, filters: Mapping[str, Pattern],
    tasks: Sequence[int] | None,
) -> list[Row]:  # fmt: skip
    """How many jobs are there by attribute? `attributes` are expressions over p (task_id, status), t and s.

    With `tasks` those of any time, without them those that live or ended in the span. The first row is the total.
    """
    clauses = Clauses()
    clauses.those_of(attributes, filters)
    columns = ", ".join(f"{column} AS a_{name}" for name, column in attributes.items())
    parts = " UNION ALL ".join(
        f"SELECT '{name}' AS attribute, a_{name} AS value, sum(n)::bigint AS n FROM wide GROUP BY 2"
        for name in attributes
    )
    times: dict[str, object] = {"since": span.since, "until": span.until}
    values = clauses.values | (times if tasks is None else {"tasks": list(tasks)})
    return rows(
        connection,
        f"""
        WITH wide AS MATERIALIZED (
            SELECT p.n, {columns} FROM ({_IN_SPAN if tasks is None else _OF_TASKS}) p
            JOIN production_task t ON t.id = p.task_id LEFT JOIN site s ON s.id = p.site_id WHERE {clauses.both}
        ), counted AS ({parts}), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY attribute ORDER BY n DESC, value) AS place,
                   count(*) OVER (PARTITION BY attribute) AS "values" FROM counted WHERE n > 0
        )
        SELECT '' AS attribute, '' AS value, COALESCE(sum(n), 0)::bigint AS n, 1 AS "values", 0 AS place FROM wide
      UNION ALL
        SELECT attribute, value, n, "values", place FROM ranked WHERE place <= {VALUES_SHOWN}
        ORDER BY attribute, place""",
        values,
    )


def newest(
    connection: Connection, branches: Sequence[str], where: str, values: Mapping[str, object],
    *, ascending: bool, limit: int, offset: int,
) -> list[int]:  # fmt: skip
    """Which are the jobs of a page by number? Each branch gives its best, and the best of these are the page's."""
    direction = "ASC" if ascending else "DESC"
    best = " UNION ALL ".join(
        f"""(SELECT p.id FROM ({one}) p JOIN production_task t ON t.id = p.task_id
             LEFT JOIN site s ON s.id = p.site_id WHERE {where} ORDER BY p.id {direction} LIMIT :best)"""
        for one in branches
    )
    found = rows(
        connection,
        f"SELECT id FROM ({best}) b ORDER BY id {direction} LIMIT :limit OFFSET :offset",
        {**values, "best": limit + offset, "limit": limit, "offset": offset},
    )
    return [row["id"] for row in found]
