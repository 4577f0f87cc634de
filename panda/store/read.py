"""SQL of reading tasks, jobs, bunches and their history, for people and programs; changes nothing and locks nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text

_TASKS = """
    SELECT id, name, vo, owner, working_group, label, task_type, processing_type, campaign, share, transformation,
           parameters, release, architecture, priority, cores, memory_mb, disk_mb, work_hs23_s, wall_s, max_attempts,
           bunch_size, ddm_mode, preset_site, sites, excluded_sites, implicit, parent_id, proddb_task, cloud, stage,
           stage_since, hold, waits_for, error, expanded, closed, next_ordinal AS jobs_made, due_at, lease_until,
           submitted_at, ended_at
    FROM production_task
"""


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to read: every condition that is set must hold; `name` may have `*` for any characters."""

    name: str | None = None
    stages: tuple[str, ...] | None = None
    owner: str | None = None
    vo: str | None = None
    campaign: str | None = None
    cloud: str | None = None
    parent_id: int | None = None
    ids: tuple[int, ...] | None = None
    modified_since: object = None
    held: bool | None = None
    request_ids: tuple[int, ...] | None = None
    not_type: str | None = None


_TASK_FILTER = """
    WHERE (CAST(:ids AS bigint[]) IS NULL OR id = ANY(:ids))
      AND (CAST(:name AS text) IS NULL OR rtrim(name, '/') LIKE rtrim(:name, '/'))
      AND (CAST(:stages AS task_stage[]) IS NULL OR stage = ANY(CAST(:stages AS task_stage[])))
      AND (CAST(:owner AS text) IS NULL OR owner = :owner)
      AND (CAST(:vo AS text) IS NULL OR vo = :vo)
      AND (CAST(:campaign AS text) IS NULL OR campaign = :campaign)
      AND (CAST(:cloud AS text) IS NULL OR cloud = :cloud)
      AND (CAST(:parent AS bigint) IS NULL OR parent_id = :parent)
      AND (CAST(:since AS timestamptz) IS NULL OR GREATEST(stage_since, submitted_at, ended_at) >= :since)
      AND (CAST(:held AS boolean) IS NULL OR (hold IS NOT NULL) = :held)
      AND (CAST(:requests AS bigint[]) IS NULL OR COALESCE(proddb_task, id) = ANY(:requests))
      AND (CAST(:not_type AS text) IS NULL OR task_type <> :not_type)
    ORDER BY id DESC LIMIT :limit OFFSET :offset
"""


def tasks(connection: Connection, wanted: TaskFilter, limit: int | None, offset: int) -> list[RowMapping]:
    """Read the tasks that a filter lets through, the newest first."""
    values = {
        "ids": None if wanted.ids is None else list(wanted.ids),
        "name": None if wanted.name is None else like(wanted.name),
        "stages": None if wanted.stages is None else list(wanted.stages),
        "owner": wanted.owner,
        "vo": wanted.vo,
        "campaign": wanted.campaign,
        "cloud": wanted.cloud,
        "parent": wanted.parent_id,
        "since": wanted.modified_since,
        "held": wanted.held,
        "requests": None if wanted.request_ids is None else list(wanted.request_ids),
        "not_type": wanted.not_type,
        "limit": limit,
        "offset": offset,
    }
    return list(connection.execute(text(_TASKS + _TASK_FILTER), values).mappings())


def like(pattern: str) -> str:
    r"""Make `*` the only wildcard of a LIKE pattern."""
    escaped = pattern.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return escaped.replace("*", "%")


def tail(connection: Connection, job_id: int) -> RowMapping | None:
    """What did the payload of a job print last, as far as its pilot told?"""
    rows = connection.execute(text("SELECT at, text FROM job_tail WHERE job_id = :job"), {"job": job_id})
    return rows.mappings().one_or_none()


# A job whose status is null speaks through its bunch (domain/states.py); its `since` and `why` are the last event's.
_JOBS = """
    SELECT j.id, j.task_id, t.name AS task_name, j.bunch_id, j.parent_id, j.ordinal, j.attempt, j.lease,
           COALESCE(j.status, b.state::text::job_status) AS status, s.name AS site, t.cloud, t.owner, t.vo, t.label,
           t.priority + COALESCE(j.priority_offset, 0) AS priority, t.transformation, t.release, t.cores,
           COALESCE(j.parameters, t.parameters) AS parameters, j.first_event, j.n_events, j.input_first,
           j.input_count, h.queue, COALESCE(h.node, r.node) AS node, h.factory, h.worker_id, h.batch_id, h.last_seen,
           h.command, r.verdict, r.wall_s, r.cpu_s, r.max_rss_kb, r.started_at, r.ended_at, r.timing,
           COALESCE(r.errors, '[]') AS errors, last.at AS since, last.why, born.at AS created_at
    FROM job_all j
    JOIN bunch b ON b.id = j.bunch_id
    JOIN production_task t ON t.id = j.task_id
    LEFT JOIN site s ON s.id = COALESCE(j.site_id, b.site_id)
    LEFT JOIN in_hand h ON h.job_id = j.id
    LEFT JOIN job_report r ON r.job_id = j.id
    LEFT JOIN LATERAL (
        SELECT at, why FROM job_event e WHERE e.job_id = j.id ORDER BY e.id + 0 DESC LIMIT 1
    ) own ON true
    LEFT JOIN LATERAL (
        SELECT at, why FROM job_event e WHERE e.bunch_id = j.bunch_id AND j.status IS NULL
        ORDER BY e.id + 0 DESC LIMIT 1
    ) common ON true
    LEFT JOIN LATERAL (SELECT at FROM job_event e WHERE e.bunch_id = j.bunch_id ORDER BY e.id + 0 LIMIT 1) born ON true
    CROSS JOIN LATERAL (SELECT COALESCE(own.at, common.at) AS at, COALESCE(own.why, common.why) AS why) last
"""
_JOBS_OF = (
    _JOBS
    + """
    WHERE j.task_id = :task
      AND (CAST(:statuses AS job_status[]) IS NULL
           OR COALESCE(j.status, b.state::text::job_status) = ANY(CAST(:statuses AS job_status[])))
    ORDER BY j.ordinal, j.attempt LIMIT :limit OFFSET :offset
"""
)
_JOBS_BY_ID = _JOBS + " WHERE j.id = ANY(:ids) ORDER BY j.id"
_ATTEMPTS = _JOBS + " WHERE j.task_id = :task AND j.ordinal = :ordinal ORDER BY j.attempt"


def jobs_of(
    connection: Connection, task_id: int, statuses: Sequence[str] | None, limit: int | None, offset: int
) -> list[RowMapping]:
    """Read the jobs of a task in their order, all or those in some states."""
    values = {"task": task_id, "statuses": None if statuses is None else list(statuses)}
    return list(connection.execute(text(_JOBS_OF), values | {"limit": limit, "offset": offset}).mappings())


def jobs(connection: Connection, ids: Sequence[int]) -> list[RowMapping]:
    """Read jobs by id; unknown ones are left out."""
    return list(connection.execute(text(_JOBS_BY_ID), {"ids": list(ids)}).mappings())


def attempts(connection: Connection, task_id: int, ordinal: int) -> list[RowMapping]:
    """Read every attempt at one place of a task."""
    return list(connection.execute(text(_ATTEMPTS), {"task": task_id, "ordinal": ordinal}).mappings())


def job_ids(connection: Connection, task_id: int) -> list[int]:
    """Tell the ids of a task's jobs, every attempt, in order."""
    rows = connection.execute(text("SELECT id FROM job_all WHERE task_id = :task ORDER BY id"), {"task": task_id})
    return list(rows.scalars())


def wire_parameters(connection: Connection, task_id: int) -> str | None:
    """What did a client send as this task's parameters? None if it came in another form."""
    query = text("SELECT wire_parameters FROM production_task WHERE id = :task")
    words: str | None = connection.scalar(query, {"task": task_id})
    return words


def outputs(connection: Connection, job_id: int) -> list[RowMapping]:
    """Read what became of a job's outputs."""
    return list(
        connection.execute(
            text("""
                SELECT o.place, d.name AS dataset, d.kind, o.scope, o.lfn, o.guid, o.bytes, o.adler32, o.events, o.rse,
                       o.state
                FROM job_output o JOIN dataset d ON d.id = o.dataset_id WHERE o.job_id = :job ORDER BY o.place
            """),
            {"job": job_id},
        ).mappings()
    )


_HISTORY = text("""
    WITH mine AS (SELECT id, bunch_id FROM job_all WHERE id = :job),
    own AS (SELECT e.* FROM job_event e JOIN mine m ON e.job_id = m.id),
    common AS (
        SELECT e.* FROM job_event e JOIN mine m ON e.bunch_id = m.bunch_id
        WHERE e.job_id IS NULL AND e.id < COALESCE((SELECT min(id) FROM own), 9223372036854775807)
    )
    SELECT e.id, e.at, e.from_state AS from_status, e.to_state AS to_status, f.name AS from_site, t.name AS to_site,
           e.why, e.who, e.job_id IS NULL AS with_bunch
    FROM (SELECT * FROM own UNION ALL SELECT * FROM common) e
    LEFT JOIN site f ON f.id = e.from_site LEFT JOIN site t ON t.id = e.to_site
    ORDER BY e.id
""")


def history(connection: Connection, job_id: int) -> list[RowMapping]:
    """Read the events of a job: its bunch's until it left the bunch, then its own."""
    return list(connection.execute(_HISTORY, {"job": job_id}).mappings())


_BUNCHES = text("""
    SELECT b.id, b.task_id, b.state, b.since, s.name AS site, b.generation, b.first_ordinal, b.n_jobs, b.open,
           b.staged, b.waits_for, b.decision_id, blocks.n AS blocks, blocks.missing AS blocks_missing
    FROM bunch b LEFT JOIN site s ON s.id = b.site_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, count(*) FILTER (WHERE k.state <> 'complete') AS missing
        FROM bunch_block bb JOIN block k ON k.id = bb.block_id
        WHERE bb.bunch_id = b.id AND bb.generation = b.generation AND k.kind = 'dis'
    ) blocks
    WHERE (CAST(:task AS bigint) IS NULL OR b.task_id = :task) AND (CAST(:bunch AS bigint) IS NULL OR b.id = :bunch)
      AND (NOT :only_open OR b.open)
    ORDER BY b.id LIMIT :limit OFFSET :offset
""")


def bunches(
    connection: Connection,
    *,
    task_id: int | None = None,
    bunch_id: int | None = None,
    only_open: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> list[RowMapping]:
    """Read bunches of a task, or one."""
    values = {"task": task_id, "bunch": bunch_id, "only_open": only_open, "limit": limit, "offset": offset}
    return list(connection.execute(_BUNCHES, values).mappings())
