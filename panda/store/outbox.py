"""What PanDA has to tell ProdDB: which jobs changed since a place in the events, and what they look like now.

Theory. Events carry the id of the transaction that wrote them. Transactions below the xmin of a snapshot have all
ended, so an event below it can neither be missing nor come later; the next reading begins there. Numbers alone would
skip an event that commits late. An event only says *that* something changed; what is told is the row as it is now,
which makes order and repetition harmless.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from panda.domain.mirror import JobImage, Position, TaskImage
from panda.domain.prodstates import prod_job_state
from panda.domain.states import FINAL_JOB, JobStatus, TaskStage


@dataclass(frozen=True, slots=True)
class Change:
    """An event of a job, or of all the jobs of a bunch whose state that still is; `n` jobs."""

    place: Position
    at: datetime
    taskid: int
    job_id: int | None
    bunch_id: int | None
    n: int
    old: JobStatus | None
    new: JobStatus | None
    why: str | None

    @property
    def shows(self) -> bool:
        """Whether ProdDB has different words for the two states; a bunch's own steps often stay one word there."""
        if self.job_id is not None or self.old is None or self.new is None:
            return True
        return prod_job_state(self.old) != prod_job_state(self.new)


_EVENTS = text("""
    SELECT CAST(CAST(e.xid AS text) AS bigint) AS xid, e.id, e.at, t.proddb_task, e.job_id, e.bunch_id, e.n,
           e.from_state, e.to_state, e.why
    FROM job_event e JOIN production_task t ON t.id = e.task_id
    WHERE t.proddb_task IS NOT NULL AND e.xid < CAST(CAST(:horizon AS text) AS xid8)
      AND e.xid >= CAST(CAST(:xid AS text) AS xid8) AND (e.xid > CAST(CAST(:xid AS text) AS xid8) OR e.id > :event)
    ORDER BY e.xid, e.id LIMIT :limit
""")

_JOBS = text("""
    WITH touched AS (
        SELECT id FROM job_all WHERE id = ANY(:jobs) UNION SELECT id FROM job_all WHERE bunch_id = ANY(:bunches)
    )
    SELECT j.id, j.bunch_id, t.proddb_task, j.ordinal, j.attempt, t.max_attempts, j.status IS NOT NULL AS own,
           COALESCE(j.status, CAST(CAST(b.state AS text) AS job_status)) AS status, s.name AS site,
           COALESCE(r.node, h.node) AS node, r.errors, COALESCE(r.started_at, h.since) AS started_at, r.ended_at,
           r.wall_s, r.cpu_s, r.n_events, e.at, e.why,
           NOT EXISTS (SELECT 1 FROM job_all n WHERE n.task_id = j.task_id AND n.ordinal = j.ordinal
                       AND n.attempt > j.attempt) AS newest
    FROM touched JOIN job_all j ON j.id = touched.id
    JOIN bunch b ON b.id = j.bunch_id
    JOIN production_task t ON t.id = j.task_id AND t.proddb_task IS NOT NULL
    LEFT JOIN site s ON s.id = COALESCE(j.site_id, b.site_id)
    LEFT JOIN job_report r ON r.job_id = j.id
    LEFT JOIN in_hand h ON h.job_id = j.id
    LEFT JOIN LATERAL (
        SELECT at, why FROM job_event WHERE job_id = j.id AND j.status IS NOT NULL ORDER BY id + 0 DESC LIMIT 1
    ) e ON true
""")

_TASKS = text("""
    SELECT t.id, t.proddb_task, t.stage, t.cloud, COALESCE(t.error, t.hold, t.waits_for) AS says, t.ended_at
    FROM production_task t WHERE t.proddb_task = ANY(:taskids)
""")

_NEWS = text("""
    SELECT DISTINCT e.task_id FROM job_event e
    WHERE e.xid >= CAST(CAST(:xid AS text) AS xid8) AND (e.xid > CAST(CAST(:xid AS text) AS xid8) OR e.id > :event)
""")

_KILLABLE = text("""
    SELECT j.id
    FROM unnest(CAST(:taskids AS bigint[]), CAST(:ordinals AS int[])) AS w (taskid, ordinal)
    JOIN production_task t ON t.proddb_task = w.taskid
    JOIN job j ON j.task_id = t.id AND j.ordinal = w.ordinal
    LEFT JOIN in_hand h ON h.job_id = j.id
    WHERE (j.status IS NULL OR j.status <> ALL(CAST(:final AS job_status[])))
      AND h.command IS DISTINCT FROM :kill
    ORDER BY j.id
""")


def source(connection: Connection) -> str:
    """A name for this very database: transaction ids and event numbers mean nothing in another one."""
    found: str = connection.execute(
        text("""
            SELECT s.system_identifier || '/' || d.oid
            FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
        """)
    ).scalar_one()
    return found


def horizon(connection: Connection) -> int:
    """The transaction id below which every transaction has ended, and whose events are all to be seen."""
    query = text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")
    return int(connection.execute(query).scalar_one())


def changes_after(connection: Connection, place: Position, below_xid: int, limit: int) -> list[Change]:
    """What happened to jobs of ProdDB's tasks after `place`, in transactions below `below_xid`? At most `limit`."""
    rows = connection.execute(
        _EVENTS, {"xid": place.xid, "event": place.event_id, "horizon": below_xid, "limit": limit}
    )
    return [
        Change(
            place=Position(row.xid, row.id),
            at=row.at,
            taskid=row.proddb_task,
            job_id=row.job_id,
            bunch_id=row.bunch_id,
            n=row.n,
            old=None if row.from_state is None else JobStatus(row.from_state),
            new=None if row.to_state is None else JobStatus(row.to_state),
            why=row.why,
        )
        for row in rows
    ]


def job_images(connection: Connection, changes: Sequence[Change]) -> list[JobImage]:
    """What do the jobs look like now that these changes are about?"""
    told = [one for one in changes if one.shows]
    by_job = {one.job_id: one for one in told if one.job_id is not None}
    by_bunch = {one.bunch_id: one for one in told if one.job_id is None and one.bunch_id is not None}
    rows = connection.execute(_JOBS, {"jobs": list(by_job), "bunches": list(by_bunch)}).mappings()
    return [_image(row, by_bunch.get(row["bunch_id"]) or by_job[row["id"]]) for row in rows]


def _image(row: RowMapping, change: Change) -> JobImage:
    """Time and reason are those of the state that is told: the last event of the job itself, or else the change."""
    at, why = (row["at"], row["why"]) if row["at"] is not None else (change.at, change.why)
    status = JobStatus(row["status"])
    ended = status in FINAL_JOB
    failed = ended and status != JobStatus.FINISHED
    return JobImage(
        taskid=row["proddb_task"],
        ordinal=row["ordinal"],
        attempt=row["attempt"],
        pandaid=row["id"],
        status=status,
        own=row["own"],
        newest=row["newest"],
        max_attempts=row["max_attempts"],
        changed_at=at,
        site=row["site"],
        node=row["node"],
        error=(_errors(row["errors"]) or why) if failed else None,
        started_at=row["started_at"],
        ended_at=(row["ended_at"] or at) if ended else None,
        wall_s=row["wall_s"],
        cpu_s=row["cpu_s"],
        n_events=row["n_events"],
    )


def _errors(pairs: Sequence[Mapping[str, object]] | None) -> str:
    """One sentence of the error pairs of a pilot's report."""
    return "; ".join(f"{one['component']} {one['code']}: {one['text']}".rstrip(": ") for one in pairs or ())


def task_images(connection: Connection, taskids: Sequence[int], place: Position | None) -> list[TaskImage]:
    """What do these tasks of ProdDB look like now? Those that are not in PanDA are left out.

    News are events after `place`; None: there are some for each. Read the tasks first: an end that is seen has all its
    events behind it, so that the later look at the news cannot miss them.
    """
    rows = connection.execute(_TASKS, {"taskids": list(taskids)}).all()
    news: set[int] | None = None
    if place is not None:
        news = set(connection.scalars(_NEWS, {"xid": place.xid, "event": place.event_id}))
    return [
        TaskImage(
            taskid=row.proddb_task,
            task_id=row.id,
            stage=TaskStage(row.stage),
            cloud=row.cloud,
            says=row.says,
            ended_at=row.ended_at,
            has_news=news is None or row.id in news,
        )
        for row in rows
    ]


def killable_jobs(connection: Connection, jobs: Sequence[tuple[int, int]], *, command: str) -> list[int]:
    """Which live jobs stand behind these (TASKID, ordinal), without those that have got this command already?"""
    rows = connection.execute(
        _KILLABLE,
        {
            "taskids": [taskid for taskid, _ in jobs],
            "ordinals": [ordinal for _, ordinal in jobs],
            "final": sorted(one.value for one in FINAL_JOB),
            "kill": command,
        },
    )
    return list(rows.scalars())
