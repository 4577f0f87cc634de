"""What went wrong with jobs that ended in a span, by what it was and where; several errors of a job each count.

The jobs are looked at once for all that a page asks: one statement, whose answers are of one set of jobs.
"""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Connection

from panda.domain.pattern import Pattern
from panda.store.monitor.snapshot import Clauses, Row, Span, rows

ATTRIBUTES: Mapping[str, str] = {
    "cloud": "COALESCE(s.cloud, t.cloud, '')",
    "site": "COALESCE(s.name, '')",
    "task": "t.id::text",
    "user": "t.owner",
    "vo": "t.vo",
    "label": "t.label",
    "type": "t.task_type",
    "transformation": "t.transformation",
    "node": "COALESCE(r.node, '')",
}
SAMPLES = 3
WORST = 2
OUTLIER_LEAST = 5
# Variable text is stripped before grouping (domain.md 4): times, numbers, hexadecimal ids, paths, line ends. That
# costs most of all here, and texts mostly differ in their digits, which are all alike to it: each kind of text is
# stripped once, with 0 for every digit. Braces are doubled for format.
_DIGITS = "translate(x.text, '123456789', '000000000')"
_PRINT = r"""regexp_replace(regexp_replace(regexp_replace(kind, '\s+', ' ', 'g'),
    '(/[^ ]+)|([0-9a-f]{{8,}})|( at [0-9:. TZ-]+$)', '…', 'g'), '[0-9]+([.:][0-9]+)*', '#', 'g')"""
# What a failed job failed with; without a report that is `none:0`, with what the event says.
FAILED_WITH = """COALESCE(NULLIF(r.errors, '[]'), jsonb_build_array(jsonb_build_object(
    'component', 'none', 'code', 0, 'text', COALESCE({why}, ''))))"""
WORDS = "(x ->> 'component') || ':' || (x ->> 'code')"
_ENDED = f"""
    WITH ended AS MATERIALIZED (
        SELECT * FROM (
            SELECT e.job_id AS id, e.at, e.to_state AS status, t.id AS task_id, t.name AS task_name, t.owner, t.cores,
                   COALESCE(s.name, '') AS site, COALESCE(r.node, '') AS node, COALESCE(r.wall_s, 0) AS wall_s,
                   {FAILED_WITH.format(why="e.why")} AS errors, 1 AS n
            FROM job_event e JOIN production_task t ON t.id = e.task_id
            LEFT JOIN site s ON s.id = e.to_site
            LEFT JOIN LATERAL (SELECT * FROM job_report r WHERE r.job_id = e.job_id LIMIT 1) r ON true
            WHERE e.at >= :since AND e.at < :until AND e.to_state = 'failed' AND {{where}}
        ) u WHERE {{some}}
      UNION ALL
        SELECT NULL, NULL, 'finished', t.id, t.name, t.owner, t.cores, COALESCE(s.name, ''), {{node}}, 0, NULL, e.n
        FROM {{finished}} e JOIN production_task t ON t.id = e.task_id LEFT JOIN site s ON s.id = e.to_site {{report}}
        WHERE {{where}}
    ), told AS MATERIALIZED (
        SELECT n.*, x.component, x.code, x.text, {_DIGITS} AS kind
        FROM ended n CROSS JOIN LATERAL (
            SELECT x ->> 'component' AS component, (x ->> 'code')::int AS code, COALESCE(x ->> 'text', '') AS text
            FROM jsonb_array_elements(n.errors) x WHERE {{which}}
        ) x WHERE n.status = 'failed'
    ), prints AS MATERIALIZED (
        SELECT kind, {_PRINT} AS print FROM (SELECT DISTINCT kind FROM told) k
    ), found AS (
        SELECT * FROM told JOIN prints USING (kind)
    )"""
_FINISHED = "FROM job_event WHERE at >= :since AND at < :until AND to_state = 'finished'"
# Jobs that finished: each with its node, which its report says; or counted by task and site, a tenth of the work.
_EACH = {
    "finished": f"(SELECT job_id, task_id, to_site, 1 AS n {_FINISHED})",
    "node": "COALESCE(r.node, '')",
    "report": "LEFT JOIN LATERAL (SELECT * FROM job_report r WHERE r.job_id = e.job_id LIMIT 1) r ON true",
}
_TOGETHER = {
    "finished": f"(SELECT task_id, to_site, count(*) AS n {_FINISHED} GROUP BY 1, 2)",
    "node": "''",
    "report": "",
}
_SOME = "EXISTS (SELECT FROM jsonb_array_elements(errors) x WHERE {which})"
NODES_WITHIN = timedelta(days=3)
BY: Mapping[str, str] = {"site": "site", "task": "task_id::text", "user": "owner", "node": "node"}


def _cte(span: Span, filters: Mapping[str, Pattern]) -> tuple[str, dict[str, object]]:
    """Write the CTEs `ended` (finished and failed jobs), `told` (errors of the latter) and `found` (with prints)."""
    clauses = Clauses()
    clauses.those_of(ATTRIBUTES, filters)
    which = Clauses(values=clauses.values)
    if "error" in filters:
        which.like(WORDS, filters["error"])
    values = clauses.values | {"since": span.since, "until": span.until}
    finished = _EACH if tells_nodes(span, filters) else _TOGETHER
    some = _SOME.format(which=which.both) if "error" in filters else "true"
    return _ENDED.format(where=clauses.both, which=which.both, some=some, **finished), values


def tells_nodes(span: Span, filters: Mapping[str, Pattern]) -> bool:
    """Whether jobs that finished are known by their nodes: not all those of many days, which takes too long.

    Then nobody may ask for `outliers`, and `places` has no nodes.
    """
    return span.until - span.since <= NODES_WITHIN or not {"site", "task", "node"}.isdisjoint(filters)


_ASKED: Mapping[str, str] = {
    "codes": f"""
        SELECT component, code, print, count(DISTINCT id) AS jobs, sum(wall_s * cores) AS lost_s,
               count(DISTINCT site) AS sites, count(DISTINCT task_id) AS tasks, count(DISTINCT node) AS nodes,
               min(text) AS sample, (array_agg(id ORDER BY id DESC))[1:{SAMPLES}] AS samples
        FROM found GROUP BY component, code, print ORDER BY jobs DESC, lost_s DESC, component, code""",
    "worst": f"""
        SELECT task_id, component, code, jobs FROM (
            SELECT task_id, component, code, count(DISTINCT id) AS jobs,
                   row_number() OVER (PARTITION BY task_id ORDER BY count(DISTINCT id) DESC, component, code) AS place
            FROM told GROUP BY task_id, component, code
        ) c WHERE place <= {WORST} ORDER BY task_id, place""",
    "components": """
        SELECT component, count(*) AS jobs, sum(lost_s) AS lost_s, count(DISTINCT site) AS sites,
               count(DISTINCT task_id) AS tasks,
               (SELECT count(DISTINCT code) FROM told f WHERE f.component = each.component) AS codes
        FROM (SELECT DISTINCT id, component, site, task_id, wall_s * cores AS lost_s FROM told) each
        GROUP BY component ORDER BY jobs DESC, component""",
    "bins": """
        SELECT LEAST(1 + floor(date_part('epoch', at - :since) / :width), :bins)::int AS bin,
               errors -> 0 ->> 'component' AS component, count(*) AS n, sum(wall_s * cores) AS lost_s
        FROM ended WHERE status = 'failed' GROUP BY 1, 2 ORDER BY 1, 2""",
    # What most failed with is looked for among the failed alone: that sorts, and nearly all finished.
    "places": "SELECT * FROM ("
    + " UNION ALL ".join(
        f"""SELECT '{name}' AS attribute, value, failed, COALESCE(finished, 0) AS finished, lost_s, mostly
            FROM (
                SELECT {column} AS value, count(*) AS failed, sum(wall_s * cores) AS lost_s,
                       mode() WITHIN GROUP (ORDER BY errors -> 0 ->> 'component' || ':' || (errors -> 0 ->> 'code'))
                       AS mostly
                FROM ended WHERE status = 'failed' GROUP BY 1
            ) f LEFT JOIN (
                SELECT {column} AS value, sum(n)::bigint AS finished FROM ended WHERE status = 'finished' GROUP BY 1
            ) e USING (value)"""
        for name, column in BY.items()
    )
    + ") u ORDER BY attribute, failed DESC, value",
    "matrix": """
        SELECT task_id, task_name, site, COALESCE(sum(n) FILTER (WHERE status = 'failed'), 0)::bigint AS failed,
               COALESCE(sum(n) FILTER (WHERE status = 'finished'), 0)::bigint AS finished,
               COALESCE(sum(wall_s * cores) FILTER (WHERE status = 'failed'), 0) AS lost_s
        FROM ended GROUP BY 1, 2, 3 ORDER BY 1 DESC, 3""",
    # All jobs are looked at for the few nodes alone where so many failed.
    "outliers": f"""
        WITH bad AS (
            SELECT site, node, count(*) AS failed FROM ended WHERE node <> '' AND status = 'failed'
            GROUP BY site, node HAVING count(*) > {OUTLIER_LEAST}
        ), whole AS (
            SELECT site, sum(n) FILTER (WHERE status = 'failed') AS failed, sum(n) AS ended
            FROM ended WHERE node <> '' AND site IN (SELECT site FROM bad) GROUP BY site
        ), counted AS (
            SELECT site, node, b.failed, sum(e.n) AS ended, w.failed AS site_failed, w.ended AS site_ended
            FROM bad b JOIN ended e USING (site, node) JOIN whole w USING (site)
            GROUP BY site, node, b.failed, w.failed, w.ended
        ), rated AS (
            SELECT *, 100.0 * failed / ended AS rate, CASE WHEN site_ended > ended
                   THEN 100.0 * (site_failed - failed) / (site_ended - ended) END AS others
            FROM counted
        )
        SELECT site, node, failed, ended, rate::float8 AS rate, others::float8 AS others,
               CASE WHEN rate > 50 OR rate > 10 * others THEN 'very high' ELSE 'high' END AS grade
        FROM rated WHERE rate > 10 AND (rate > 20 OR rate > 5 * others)
        ORDER BY failed DESC, site, node""",
}


def found(
    connection: Connection, span: Span, filters: Mapping[str, Pattern], *asked: str, bins: int = 1
) -> dict[str, list[Row]]:
    """Answer some of these questions about the ended jobs that the filters let through, in one statement.

    - `codes`: which errors were there, how many jobs had each, and how much wall time (core seconds) was lost?
    - `worst`: which errors had most jobs of each task, two at most?
    - `components`: which part of the system did jobs fail in: payload, pilot, data management and so on?
    - `bins`: how many failed in each of `bins` equal parts of the span (from 1), by the component of the first error?
    - `places`: which site, task, user and node had most failures, of how many ended, and with which error mostly?
    - `matrix`: how many jobs of each task failed and finished at each site, and how long did the failed take?
    - `outliers`: which nodes fail far oftener than their site: above 10 %, more than 5 jobs, and 5 times the site or
      20 %? The rule is BigPanDA's (domain.md 4): `grade` is very high for 10 times the site's rate or 50 %.
    """
    cte, values = _cte(span, filters)
    if "bins" in asked:
        values |= {"bins": bins, "width": (span.until - span.since).total_seconds() / bins}
    answers = ", ".join(f"(SELECT jsonb_agg(to_jsonb(q)) FROM ({_ASKED[one]}) q) AS {one}" for one in asked)
    (row,) = rows(connection, f"{cte} SELECT {answers}", values)
    answered = {one: row[one] or [] for one in asked}
    if "places" in asked and not tells_nodes(span, filters):
        answered["places"] = [one for one in answered["places"] if one["attribute"] != "node"]
    return answered
