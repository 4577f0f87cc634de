"""How many jobs are in which state where, which pilots are there for them, and how did it come to this?"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from panda.domain.pattern import Pattern
from panda.store import counters
from panda.store.monitor.snapshot import Clauses, Row, Span, rows

# What a dashboard can be narrowed to; `s` is the site (none: left join), `t` the task.
ATTRIBUTES: Mapping[str, str] = {
    "cloud": "COALESCE(s.cloud, t.cloud, '')",
    "site": "COALESCE(s.name, '')",
    "task": "t.id::text",
    "user": "t.owner",
    "vo": "t.vo",
    "label": "t.label",
    "type": "t.task_type",
    "processing": "t.processing_type",
    "campaign": "COALESCE(t.campaign, '')",
    "share": "t.share",
    "transformation": "t.transformation",
}
_FINAL = "('finished', 'failed', 'cancelled', 'closed')"


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a dashboard shows: jobs that every filter lets through; what ended, as far as it ended in the span."""

    span: Span
    filters: Mapping[str, Pattern] = field(default_factory=dict)


def counts(connection: Connection, wanted: Narrowed) -> list[Row]:
    """How many jobs (and cores) are in each state per cloud and site; final states: how many ended in the span?

    Jobs without a site stand under their task's cloud; both names are empty where there is none.
    """
    return _counted(connection, wanted, {"cloud": ATTRIBUTES["cloud"], "site": ATTRIBUTES["site"]})


def counts_of_users(connection: Connection, wanted: Narrowed) -> list[Row]:
    """How many jobs (and cores) of each user are in each state; final states: how many ended in the span?"""
    return _counted(connection, wanted, {"user": ATTRIBUTES["user"]})


def _counted(connection: Connection, wanted: Narrowed, by: Mapping[str, str]) -> list[Row]:
    clauses = Clauses()
    clauses.those_of(ATTRIBUTES, wanted.filters)
    places = ", ".join(str(place + 1) for place in range(len(by) + 1))
    columns = ", ".join(f'{column} AS "{name}"' for name, column in by.items())
    return rows(
        connection,
        f"""
        SELECT {columns}, u.status::text AS status, sum(u.n)::bigint AS n, sum(u.cores)::bigint AS cores
        FROM (
            SELECT task_id, site_id, status, n, cores FROM ({counters.EXACT.format(where="true")}) live
            WHERE status NOT IN {_FINAL}
          UNION ALL
            SELECT task_id, COALESCE(to_site, 0), to_state, sum(n), sum(n * cores) FROM job_event
            WHERE at >= :since AND at < :until AND to_state IN {_FINAL} GROUP BY task_id, to_site, to_state
        ) u JOIN production_task t ON t.id = u.task_id LEFT JOIN site s ON s.id = u.site_id
        WHERE {clauses.both}
        GROUP BY {places} ORDER BY {places}""",
        clauses.values | {"since": wanted.span.since, "until": wanted.span.until},
    )


_SITES = """
    SELECT s.id, s.name, s.cloud, s.tier, s.status, s.status_since, s.comment, s.rse, s.cores, s.corepower,
           s.name = c.tier1 AS is_tier1, c.status AS cloud_status, st.space_gb, st.used_gb, seen.nodes,
           seen.working, seen.last_seen
    FROM site s JOIN cloud c ON c.name = s.cloud LEFT JOIN storage st ON st.rse = s.rse
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE GREATEST(last_get_job, last_update_job) > now() - interval '3 h') AS nodes,
               count(*) FILTER (WHERE last_update_job > now() - interval '3 h') AS working,
               max(GREATEST(last_get_job, last_update_job)) AS last_seen
        FROM pilot_activity a WHERE a.site_id = s.id
    ) seen
    ORDER BY s.cloud, s.tier, s.name
"""


def sites(connection: Connection) -> list[Row]:
    """Which sites are there, and which worker nodes were seen at them in 3 hours (domain.md 2.2)?"""
    return rows(connection, _SITES)


_QUEUES = """
    SELECT q.name, s.name AS site, s.cloud, q.status, q.labels, q.vos, q.memory_mb, q.cores, q.max_time_s, q.nqueue,
           q.max_pilots, COALESCE(w.submitted, 0) AS submitted, COALESCE(w.running, 0) AS running,
           COALESCE(w.running_cores, 0) AS running_cores, COALESCE(h.n, 0) AS jobs, w.last_seen
    FROM queue q JOIN site s ON s.id = q.site_id
    LEFT JOIN (
        SELECT queue, count(*) FILTER (WHERE status IN ('submitted', 'ready')) AS submitted,
               count(*) FILTER (WHERE status IN ('running', 'idle')) AS running,
               sum(cores) FILTER (WHERE status IN ('running', 'idle')) AS running_cores, max(seen_at) AS last_seen
        FROM worker WHERE ended_at IS NULL GROUP BY queue
    ) w ON w.queue = q.name
    LEFT JOIN (SELECT queue, count(*) AS n FROM in_hand GROUP BY queue) h ON h.queue = q.name
    ORDER BY s.cloud, s.name, q.name
"""


def queues(connection: Connection) -> list[Row]:
    """How many pilots does each queue have, on their way and at work, and how many jobs do they hold?"""
    return rows(connection, _QUEUES)


@dataclass(slots=True)
class Curves:
    """What went on in one cloud: jobs running and waiting for pilots at the end of each bin, jobs that ended in it."""

    cloud: str
    running: list[int]
    activated: list[int]
    finished: list[int]
    failed: list[int]


def curves(connection: Connection, wanted: Narrowed, bins: int) -> list[Curves]:
    """How many jobs ran and waited in each of `bins` equal parts of the span, per cloud, and how many ended?

    Running and waiting are reckoned back from now: what is there, less what came since, plus what left since.
    """
    clauses = Clauses()
    clauses.those_of(ATTRIBUTES, wanted.filters)
    width = (wanted.span.until - wanted.span.since).total_seconds() / bins
    values = clauses.values | {"since": wanted.span.since, "until": wanted.span.until, "bins": bins, "width": width}
    found: dict[str, Curves] = {}
    later: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    events = _EACH if wanted.filters else _TOGETHER
    for row in rows(connection, _CHANGES.format(where=clauses.both, **events), values):
        curve = found.setdefault(row["cloud"], Curves(row["cloud"], *([0] * bins for _ in range(4))))
        if row["bin"] <= bins:
            curve.finished[row["bin"] - 1], curve.failed[row["bin"] - 1] = row["finished"], row["failed"]
        later[row["cloud"]].append((row["bin"], row["running"], row["activated"]))
    for row in rows(connection, _LIVE.format(where=clauses.both, exact=counters.EXACT.format(where="true")), values):
        curve = found.setdefault(row["cloud"], Curves(row["cloud"], *([0] * bins for _ in range(4))))
        changes = {number: (running, activated) for number, running, activated in later[row["cloud"]]}
        running, activated = row["running"], row["activated"]
        for number in range(bins + 1, 0, -1):
            if number <= bins:
                curve.running[number - 1], curve.activated[number - 1] = running, activated
            more, ready = changes.get(number, (0, 0))
            running, activated = running - more, activated - ready
    return sorted(found.values(), key=lambda one: one.cloud)


_NET = "sum(e.n * ((e.to_state IS NOT DISTINCT FROM '{0}')::int - (e.from_state IS NOT DISTINCT FROM '{0}')::int))"
# Without a filter equal events are added up before their tasks and sites are looked at: a third of the time.
_CHANGES = f"""
    SELECT COALESCE(s.cloud, t.cloud, '') AS cloud, LEAST(e.bin, :bins + 1) AS bin,
           COALESCE(sum(e.n) FILTER (WHERE e.to_state = 'finished' AND e.bin <= :bins), 0)::bigint AS finished,
           COALESCE(sum(e.n) FILTER (WHERE e.to_state = 'failed' AND e.bin <= :bins), 0)::bigint AS failed,
           {_NET.format("running")}::bigint AS running, {_NET.format("activated")}::bigint AS activated
    FROM (
        SELECT e.task_id, COALESCE(e.to_site, e.from_site) AS site_id, e.from_state, e.to_state,
               (1 + floor(date_part('epoch', e.at - :since) / :width))::int AS bin, {{n}}
        FROM job_event e WHERE e.at >= :since {{grouped}}
    ) e JOIN production_task t ON t.id = e.task_id LEFT JOIN site s ON s.id = e.site_id
    WHERE {{where}} GROUP BY 1, 2 ORDER BY 1, 2
"""
_EACH, _TOGETHER = {"n": "e.n", "grouped": ""}, {"n": "sum(e.n) AS n", "grouped": "GROUP BY 1, 2, 3, 4, 5"}
_LIVE = """
    SELECT c.cloud, COALESCE(sum(u.n) FILTER (WHERE u.status = 'running'), 0)::bigint AS running,
           COALESCE(sum(u.n) FILTER (WHERE u.status = 'activated'), 0)::bigint AS activated
    FROM ({exact}) u
    JOIN production_task t ON t.id = u.task_id LEFT JOIN site s ON s.id = u.site_id
    CROSS JOIN LATERAL (SELECT COALESCE(s.cloud, t.cloud, '') AS cloud) c
    WHERE {where} GROUP BY c.cloud
"""
