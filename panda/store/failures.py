"""SQL of failures: which errors ended jobs, where, and which worker nodes fail; changes nothing and locks nothing."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text


@dataclass(frozen=True, slots=True)
class FailureFilter:
    """Which failures to look at: those since a time, and every condition that is set."""

    since: datetime
    task_id: int | None = None
    site: str | None = None
    node: str | None = None

    def values(self) -> dict[str, object]:
        """Give the parameters of the statements of this file."""
        return {"since": self.since, "task": self.task_id, "site": self.site, "node": self.node}


# Jobs that ended in a window (index ix_job_event_ended), with their reports, which are looked up (`LIMIT 1`).
_ENDED = """
    ended AS (
        SELECT e.job_id, e.at, e.to_state, s.name AS site, e.task_id, r.node, r.wall_s, r.errors
        FROM job_event e LEFT JOIN site s ON s.id = e.to_site
        LEFT JOIN LATERAL (SELECT * FROM job_report r WHERE r.job_id = e.job_id LIMIT 1) r ON true
        WHERE e.to_state IN ('failed', 'finished') AND e.job_id IS NOT NULL AND e.at >= :since
          AND (CAST(:task AS bigint) IS NULL OR e.task_id = :task)
          AND (CAST(:site AS text) IS NULL OR s.name = :site)
          AND (CAST(:node AS text) IS NULL OR r.node = :node)
    )
"""

# Numbers, long hexadecimal words and paths vary from job to job; without them equal errors look equal.
_ERRORS = rf"""
    WITH {_ENDED}, told AS (
        SELECT e.*, COALESCE(p.error ->> 'component', 'unknown') AS component,
               COALESCE((p.error ->> 'code')::int, 0) AS code, COALESCE(p.error ->> 'text', '') AS words
        FROM ended e LEFT JOIN LATERAL jsonb_array_elements(e.errors) AS p(error) ON true
        WHERE e.to_state = 'failed'
    )
    SELECT component, code,
           regexp_replace(words, '(/[^ /]+)+|\m[0-9a-f]*[0-9][0-9a-f]{{7,}}\M|[0-9]+', '#', 'g') AS fingerprint,
           count(DISTINCT job_id) AS jobs, COALESCE(sum(wall_s), 0)::float AS wall_s, min(at) AS first, max(at) AS last,
           array_agg(DISTINCT site) FILTER (WHERE site IS NOT NULL) AS sites,
           array_agg(DISTINCT node) FILTER (WHERE node IS NOT NULL) AS nodes, array_agg(DISTINCT task_id) AS tasks,
           max(job_id) AS sample, (array_agg(words ORDER BY job_id DESC))[1] AS words
    FROM told GROUP BY 1, 2, 3 ORDER BY count(DISTINCT job_id) DESC, max(at) DESC LIMIT :limit OFFSET :offset
"""  # noqa: S608 - a constant of this file

_TALLY = """
    count(*) FILTER (WHERE to_state = 'failed') AS failed, count(*) FILTER (WHERE to_state = 'finished') AS finished
"""
_NODES = f"""
    WITH {_ENDED}
    SELECT site, node, {_TALLY},
           percentile_cont(0.5) WITHIN GROUP (ORDER BY wall_s) FILTER (WHERE to_state = 'failed') AS failed_wall_s,
           max(at) AS last
    FROM ended WHERE node IS NOT NULL GROUP BY site, node ORDER BY 3 DESC, node
"""  # noqa: S608 - constants of this file
_SITES = f"WITH {_ENDED} SELECT site, {_TALLY} FROM ended GROUP BY site ORDER BY 2 DESC, 1"  # noqa: S608


def errors(connection: Connection, wanted: FailureFilter, limit: int | None, offset: int) -> list[RowMapping]:
    """Tell which errors failed jobs had, equal ones together, the commonest first."""
    values = wanted.values() | {"limit": limit, "offset": offset}
    return list(connection.execute(text(_ERRORS), values).mappings())


def nodes(connection: Connection, wanted: FailureFilter) -> list[RowMapping]:
    """Tell how many jobs failed and finished at each worker node, the worst first."""
    return list(connection.execute(text(_NODES), wanted.values()).mappings())


def sites(connection: Connection, wanted: FailureFilter) -> list[RowMapping]:
    """Tell how many jobs failed and finished at each site, the worst first."""
    return list(connection.execute(text(_SITES), wanted.values()).mappings())
