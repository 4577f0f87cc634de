"""Which jobs does a filter let through, how many are there by attribute, and what does a page of them look like?

Live jobs are found by what holds them (open bunches, pilots' hands, the collector's list), ended ones by the event of
their end: no query walks over the jobs of the past. A filter that names tasks or jobs lifts the time limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from panda.domain.pattern import Pattern
from panda.domain.states import FINAL_JOB, IN_HAND, JobStatus
from panda.store.monitor import many
from panda.store.monitor.errors import FAILED_WITH, WORDS
from panda.store.monitor.snapshot import Clauses, Row, Span, rows

# What can be filtered by, and what it is of the rows of `_CHOSEN`; never null.
ATTRIBUTES: Mapping[str, str] = {
    "status": "p.status::text",
    "cloud": "COALESCE(s.cloud, t.cloud, '')",
    "site": "COALESCE(s.name, '')",
    "task": "p.task_id::text",
    "taskname": "t.name",
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
    "attempt": "p.attempt::text",
    "queue": "COALESCE(h.queue, '')",
    "node": "COALESCE(h.node, r.node, '')",
    "factory": "COALESCE(h.factory, '')",
}
SUMMARISED = (
    "status", "cloud", "site", "task", "user", "vo", "label", "type", "processing", "share", "transformation",
    "attempt", "node",
)  # fmt: skip
_COUNTED = {name: column for name, column in ATTRIBUTES.items() if name not in many.FINE}
SORTS: Mapping[str, str] = {
    "id": "p.id",
    "task": "p.task_id",
    "status": "p.status",
    "site": "s.name",
    "priority": "t.priority + COALESCE(p.priority_offset, 0)",
    "attempt": "p.attempt",
    "wall": "r.wall_s",
}
MOST_LOOKED_AT = 10_000
"""More jobs are not looked at one by one to be summed up: a quarter of a second of the database's time."""

_COLUMNS = "j.id, j.task_id, j.bunch_id, j.attempt, j.ordinal, j.priority_offset"
_LIVE = {
    "waits": f"""
        SELECT {_COLUMNS}, b.state::text::job_status AS status, b.site_id
        FROM bunch b JOIN job j ON j.bunch_id = b.id AND j.status IS NULL WHERE b.open""",
    "held": f"""
        SELECT {_COLUMNS}, j.status, j.site_id FROM in_hand i JOIN job j ON j.id = i.job_id
        WHERE j.status IN ('sent', 'starting', 'running')""",
    "collected": f"""
        SELECT {_COLUMNS}, j.status, j.site_id FROM to_collect c JOIN job j ON j.id = c.job_id
        WHERE j.status IN ('holding', 'transferring', 'merging')""",
}
_ENDED = f"""
        SELECT {_COLUMNS}, e.to_state AS status, j.site_id FROM job_event e JOIN job_all j ON j.id = e.job_id
        WHERE e.at >= :since AND e.at < :until AND e.to_state IN ({{states}})"""
# Where each of them says at which site a job is; a job ends where the event of its end says.
_SITE = {"waits": "b.site_id", "held": "i.site_id", "collected": "j.site_id"}
_ENDED_AT = "e.to_site"
# `LIMIT 1`: of very many the planner would rather read every job there ever was than look up those that ended.
_LOOKED_UP = _ENDED.replace(
    "JOIN job_all j ON j.id = e.job_id",
    "CROSS JOIN LATERAL (SELECT * FROM job_all j WHERE j.id = e.job_id LIMIT 1) j",
)
_NAMED = f"""
        SELECT {_COLUMNS}, COALESCE(j.status, b.state::text::job_status) AS status,
               CASE WHEN j.status IS NULL THEN b.site_id ELSE j.site_id END AS site_id
        FROM job_all j JOIN bunch b ON b.id = j.bunch_id WHERE {{which}}"""
_JOINED = """
    picked p JOIN production_task t ON t.id = p.task_id LEFT JOIN site s ON s.id = p.site_id
    LEFT JOIN in_hand h ON h.job_id = p.id LEFT JOIN job_report r ON r.job_id = p.id
"""
_CHOSEN = _JOINED.replace("picked p", "chosen p")
PAGE, TOTAL = "#page", "#total"
"""What stands in the place of an attribute's name: the numbers of a page's jobs, and how many there are."""
_ERRORS = f"CASE WHEN p.status = 'failed' THEN {FAILED_WITH.format(why='NULL')} ELSE r.errors END"
_ERROR = f"EXISTS (SELECT 1 FROM jsonb_array_elements({_ERRORS}) x WHERE {{condition}})"
_LIVE_AT = {
    **dict.fromkeys((JobStatus.DEFINED, JobStatus.WAITING, JobStatus.ASSIGNED, JobStatus.ACTIVATED), "waits"),
    **dict.fromkeys(IN_HAND, "held"),
    **dict.fromkeys((JobStatus.HOLDING, JobStatus.TRANSFERRING, JobStatus.MERGING), "collected"),
}


@dataclass(frozen=True, slots=True)
class JobsWanted:
    """Which jobs: those of the span that every filter lets through. `ids` and filters on `task` lift the span."""

    span: Span
    filters: Mapping[str, Pattern] = field(default_factory=dict)
    ids: tuple[int, ...] | None = None

    @property
    def timeless(self) -> bool:
        """Whether jobs that ended at any time are meant."""
        return self.ids is not None or self.tasks is not None

    @property
    def tasks(self) -> tuple[int, ...] | None:
        """The tasks that are asked for by number."""
        return self.filters["task"].numbers if "task" in self.filters else None


@dataclass(frozen=True, slots=True)
class JobsFound:
    """A page of jobs, how many there are in all, and how many per value of each attribute."""

    total: int
    jobs: list[Row]
    summary: list[Row]
    whole: bool = True


def found(
    connection: Connection, wanted: JobsWanted, *, sort: str, limit: int, offset: int, most: int = MOST_LOOKED_AT
) -> JobsFound:
    """Which jobs does the filter let through? `sort` is a name of SORTS, with `-` for the largest first.

    More than `most` are counted by counters: the summary is then not `whole`, what is a job's own is missing in it.
    """
    if wanted.ids is None and many.countable(wanted.filters):
        counted = many.tally(connection, _COUNTED, wanted.span, wanted.filters, wanted.tasks)
        total = counted[0]["n"]
        if total > most:
            ids = _newest(connection, wanted, sort, limit, offset)
            return JobsFound(total, described(connection, ids), counted[1:], whole=False)
    return _looked_at(connection, wanted, sort=sort, limit=limit, offset=offset)


def _newest(connection: Connection, wanted: JobsWanted, sort: str, limit: int, offset: int) -> list[int]:
    """Read the numbers of a page's jobs without looking at all of them, if it is sorted by number."""
    if wanted.tasks is not None or sort not in {"id", "-id"}:
        picked, values = _picked(connection, wanted)
        return _page(connection, picked, values, sort=sort, limit=limit, offset=offset)
    clauses = Clauses()
    clauses.those_of(ATTRIBUTES, wanted.filters)
    branches = _branches(wanted.filters.get("status", Pattern()), _ENDED)
    values = clauses.values | {"since": wanted.span.since, "until": wanted.span.until}
    return many.newest(
        connection, branches, clauses.both, values, ascending=sort == "id", limit=limit, offset=offset
    )  # fmt: skip


def _looked_at(connection: Connection, wanted: JobsWanted, *, sort: str, limit: int, offset: int) -> JobsFound:
    """Look at every job that the filter lets through."""
    picked, values = _picked(connection, wanted)
    asked = rows(connection, picked + _summary(_order(sort)), {**values, "limit": limit, "offset": offset})
    ids = [int(one["value"]) for one in asked if one["attribute"] == PAGE]
    (total,) = (one["n"] for one in asked if one["attribute"] == TOTAL)
    summary = [one for one in asked if one["attribute"] not in {PAGE, TOTAL}]
    return JobsFound(total, described(connection, ids), summary)


def _order(sort: str) -> str:
    direction = "DESC" if sort.startswith("-") else "ASC"
    return f"{SORTS[sort.removeprefix('-')]} {direction} NULLS LAST, p.id DESC"


def _page(
    connection: Connection, picked: str, values: Mapping[str, object], *, sort: str, limit: int, offset: int
) -> list[int]:
    found = rows(
        connection,
        f"{picked} SELECT p.id FROM {_CHOSEN} ORDER BY {_order(sort)} LIMIT :limit OFFSET :offset",
        {**values, "limit": limit, "offset": offset},
    )
    return [one["id"] for one in found]


def described(connection: Connection, ids: Sequence[int]) -> list[Row]:
    """What are these jobs doing? In the order given."""
    return rows(connection, _DESCRIBED, {"ids": list(ids)})


def _sites(connection: Connection, wanted: JobsWanted) -> list[int] | None:
    """Which sites does the filter name? None if it lets through jobs without a site too, or there is none."""
    pattern = wanted.filters.get("site")
    if pattern is None or pattern.matches(""):
        return None
    return [one["id"] for one in rows(connection, "SELECT id, name FROM site") if pattern.matches(one["name"])]


def _picked(connection: Connection, wanted: JobsWanted) -> tuple[str, dict[str, object]]:
    """Write the CTEs `picked` (by state, time and site) and `chosen` (by the filters), with their values."""
    sites = None if wanted.timeless else _sites(connection, wanted)
    inner, outer = Clauses(), Clauses()
    if wanted.timeless:
        if wanted.ids is not None:
            inner.among("j.id", wanted.ids)
        if wanted.tasks is not None:
            inner.among("j.task_id", wanted.tasks)
        branches = [_NAMED.format(which=inner.both)]
    else:
        branches = _branches(wanted.filters.get("status", Pattern()), _LOOKED_UP, at_sites=sites is not None)
    outer.values.update({f"x_{name}": value for name, value in inner.values.items()})
    outer.those_of(ATTRIBUTES, wanted.filters)
    if "error" in wanted.filters:
        errors = Clauses(values=outer.values)
        errors.like(WORDS, wanted.filters["error"])
        outer.sql.append(_ERROR.format(condition=errors.both))
    picked = " UNION ALL ".join(branches).replace(":clause_", ":x_clause_")
    statement = f"""
        WITH picked AS MATERIALIZED ({picked}), chosen AS MATERIALIZED (
            SELECT p.* FROM {_JOINED} WHERE {outer.both}
        )"""
    times = {} if wanted.timeless else {"since": wanted.span.since, "until": wanted.span.until}
    return statement, {**outer.values, **times, **({} if sites is None else {"sites": sites})}


def _branches(status: Pattern, form: str, *, at_sites: bool = False) -> list[str]:
    live = {_LIVE_AT[one] for one in JobStatus if one in _LIVE_AT and status.matches(one.value)}
    branches = [_LIVE[name] + (_among_sites(_SITE[name]) if at_sites else "") for name in sorted(live)]
    states = [f"'{one.value}'" for one in JobStatus if one in FINAL_JOB and status.matches(one.value)]
    # A filter that no state passes finds nothing; the statement still needs the values of the time.
    ended = form.format(states=", ".join(states) or "NULL") + (_among_sites(_ENDED_AT) if at_sites else "")
    return [*branches, ended] if states or not branches else [*branches, f"{ended} AND false"]


def _among_sites(column: str) -> str:
    return f" AND {column} = ANY(:sites)"


def _summary(order: str) -> str:
    """Write what is asked of the chosen: values by attribute, how many there are, and the numbers of the page's jobs.

    One statement, so that the jobs are looked for once.
    """
    columns = ", ".join(f"{ATTRIBUTES[name]} AS {_safe(name)}" for name in SUMMARISED)
    parts = [f"SELECT '{name}' AS attribute, {_safe(name)} AS value, count(*) AS n FROM wide GROUP BY 2"
             for name in SUMMARISED]  # fmt: skip
    parts.append(
        f"""SELECT 'error', {WORDS}, count(DISTINCT p.id) FROM chosen p LEFT JOIN job_report r ON r.job_id = p.id
            CROSS JOIN LATERAL jsonb_array_elements({_ERRORS}) x GROUP BY 2"""
    )
    return f""", wide AS MATERIALIZED (
            SELECT p.id, {columns} FROM {_CHOSEN}
        ), page AS (
            SELECT p.id, row_number() OVER (ORDER BY {order}) AS place FROM {_CHOSEN}
            ORDER BY {order} LIMIT :limit OFFSET :offset
        ), counted AS ({" UNION ALL ".join(parts)}), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY attribute ORDER BY n DESC, value) AS place,
                   count(*) OVER (PARTITION BY attribute) AS "values" FROM counted
        )
        SELECT attribute, value, n, "values", place FROM ranked WHERE place <= {many.VALUES_SHOWN}
      UNION ALL SELECT '{PAGE}', id::text, 0, 0, place FROM page
      UNION ALL SELECT '{TOTAL}', '', count(*), 0, 1 FROM chosen ORDER BY attribute, place"""


def _safe(name: str) -> str:
    return f"a_{name}"


# `+ 0`: the newest event of a job or bunch is found by its index, never by walking back over all events until one fits.
# `LIMIT 1`: reports are looked up; how many rows a view of two tables gives is guessed far too high.
_DESCRIBED = """
    SELECT j.id, j.task_id, t.name AS task_name, j.ordinal, j.attempt, j.parent_id, j.bunch_id,
           COALESCE(j.status, b.state::text::job_status) AS status, s.name AS site, COALESCE(s.cloud, t.cloud) AS cloud,
           t.owner, t.vo, t.label, t.transformation, t.priority + COALESCE(j.priority_offset, 0) AS priority,
           COALESCE(h.node, r.node) AS node, h.queue, h.factory, h.worker_id, r.wall_s, r.cpu_s, r.max_rss_kb,
           COALESCE(r.errors, '[]') AS errors, last.at AS since, last.why, born.at AS created_at
    FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS i (id, place)
    JOIN job_all j ON j.id = i.id JOIN bunch b ON b.id = j.bunch_id JOIN production_task t ON t.id = j.task_id
    LEFT JOIN site s ON s.id = CASE WHEN j.status IS NULL THEN b.site_id ELSE j.site_id END
    LEFT JOIN in_hand h ON h.job_id = j.id
    LEFT JOIN LATERAL (SELECT * FROM job_report r WHERE r.job_id = j.id LIMIT 1) r ON true
    LEFT JOIN LATERAL (
        SELECT at, why FROM job_event e WHERE e.job_id = j.id AND e.to_state IS NOT NULL ORDER BY e.id + 0 DESC LIMIT 1
    ) own ON true
    LEFT JOIN LATERAL (
        SELECT at, why FROM job_event e WHERE e.bunch_id = j.bunch_id AND j.status IS NULL
        ORDER BY e.id + 0 DESC LIMIT 1
    ) common ON true
    LEFT JOIN LATERAL (SELECT at FROM job_event e WHERE e.bunch_id = j.bunch_id ORDER BY e.id + 0 LIMIT 1) born ON true
    CROSS JOIN LATERAL (SELECT COALESCE(own.at, common.at) AS at, COALESCE(own.why, common.why) AS why) last
    ORDER BY i.place
"""
