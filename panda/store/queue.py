"""The hot statements: activation puts jobs into `ready`, a pop takes them out.

`ready` is derived: the jobs with null status of activated bunches whose task is not held and whose site serves. A row
that should not be there is deleted by the pop, one that is missing is put back by the sweep.
Lock order: production_task, bunch, ready, job.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

READY_CHANNEL = "panda_ready"
EMPTY = -(2**31)
"""The bound of a class without jobs; every priority lies above it, those below zero too."""

_LOCK = text("""
    SELECT id FROM bunch WHERE id = ANY(:bunches) AND state = 'assigned' AND staged ORDER BY id FOR UPDATE
""")

# A new statement after the locks: two blocks that complete at once must not each see the other missing.
_COMPLETE = text("""
    SELECT b.id FROM bunch b
    WHERE b.id = ANY(:bunches) AND b.state = 'assigned' AND b.staged
      AND NOT EXISTS (
        SELECT 1 FROM bunch_block bb JOIN block k ON k.id = bb.block_id
        WHERE bb.bunch_id = b.id AND bb.generation = b.generation AND k.kind = 'dis' AND k.state <> 'complete')
""")

_MARK = text("""
    WITH a AS (
        UPDATE bunch SET state = 'activated', since = now(), waits_for = NULL
        WHERE id = ANY(:bunches) AND state = 'assigned'
        RETURNING id, task_id, site_id
    )
    INSERT INTO job_event (task_id, bunch_id, n, cores, from_site, from_state, to_site, to_state, why, who)
    SELECT a.task_id, a.id, count(j.id), t.cores, a.site_id, 'assigned', a.site_id, 'activated', :why, :who
    FROM a JOIN production_task t ON t.id = a.task_id JOIN job j ON j.bunch_id = a.id AND j.status IS NULL
    GROUP BY a.id, a.task_id, a.site_id, t.cores
""")

_CLASSES = text("""
    INSERT INTO requirement_class (site_id, needs_id, max_priority, gen)
    SELECT b.site_id, j.needs_id, max(t.priority + COALESCE(j.priority_offset, 0)), 1
    FROM bunch b JOIN job j ON j.bunch_id = b.id AND j.status IS NULL JOIN production_task t ON t.id = b.task_id
    WHERE b.id = ANY(:bunches) AND b.state = 'activated'
    GROUP BY b.site_id, j.needs_id ORDER BY b.site_id, j.needs_id
    ON CONFLICT (site_id, needs_id) DO UPDATE
    SET max_priority = GREATEST(requirement_class.max_priority, excluded.max_priority), gen = requirement_class.gen + 1
""")

_FILL = text("""
    INSERT INTO ready (job_id, class_id, priority)
    SELECT j.id, c.id, t.priority + COALESCE(j.priority_offset, 0)
    FROM bunch b JOIN production_task t ON t.id = b.task_id
    JOIN site s ON s.id = b.site_id
    JOIN job j ON j.bunch_id = b.id AND j.status IS NULL
    JOIN requirement_class c ON c.site_id = b.site_id AND c.needs_id = j.needs_id
    WHERE b.id = ANY(:bunches) AND b.state = 'activated'
      AND t.hold IS NULL AND t.stage IN ('assigned', 'running') AND s.status <> 'offline'
    ORDER BY j.id
    ON CONFLICT (job_id) DO NOTHING
""")


def activate(connection: Connection, bunches: list[int], *, why: str, who: str) -> list[int]:
    """Activate those of the bunches whose every input is at their site, and put their jobs into `ready`.

    Early, late, twice or never called: the end is the same (design.md section 5, "A notification of the DDM").
    """
    wanted = {"bunches": sorted(set(bunches))}
    if not wanted["bunches"] or not connection.execute(_LOCK, wanted).all():
        return []
    complete = list(connection.execute(_COMPLETE, wanted).scalars())
    if complete:
        connection.execute(_MARK, {"bunches": complete, "why": why, "who": who})
        fill_ready(connection, complete)
    return complete


def fill_ready(connection: Connection, bunches: list[int]) -> int:
    """Put the jobs of activated bunches into `ready` whose transaction has locked them; wakes waiting pilots once."""
    connection.execute(_CLASSES, {"bunches": bunches})
    made = connection.execute(_FILL, {"bunches": bunches}).rowcount
    if made:
        connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": READY_CHANNEL})
    return made


def refill_ready(connection: Connection, bunches: list[int]) -> int:
    """Put what `ready` lacks of these bunches back (after resume, site on, or a pop that threw rows out).

    The bunches are locked, so that none moves meanwhile. A job that a pop was just handing out got its row back only
    after that pop had ended; the last statement sees that and takes the row away again.
    """
    if not bunches:
        return 0
    wanted = {"bunches": sorted(bunches)}
    connection.execute(text("SELECT id FROM bunch WHERE id = ANY(:bunches) ORDER BY id FOR NO KEY UPDATE"), wanted)
    made = fill_ready(connection, wanted["bunches"])
    gone = connection.execute(
        text("""
            DELETE FROM ready r USING job j
            WHERE j.bunch_id = ANY(:bunches) AND r.job_id = j.id AND j.status IS NOT NULL
        """),
        wanted,
    )
    return max(0, made - gone.rowcount)


def bunches_missing_in_ready(connection: Connection, limit: int, task_id: int | None = None) -> list[int]:
    """Which activated bunches have jobs that no pilot can get because `ready` lacks them (after resume, site on)?"""
    rows = connection.execute(
        text("""
            SELECT b.id FROM bunch b JOIN production_task t ON t.id = b.task_id JOIN site s ON s.id = b.site_id
            WHERE b.open AND b.state = 'activated' AND (CAST(:task AS bigint) IS NULL OR b.task_id = :task)
              AND t.hold IS NULL AND t.stage IN ('assigned', 'running') AND s.status <> 'offline'
              AND EXISTS (SELECT 1 FROM job j WHERE j.bunch_id = b.id AND j.status IS NULL
                          AND NOT EXISTS (SELECT 1 FROM ready r WHERE r.job_id = j.id))
            ORDER BY b.id LIMIT :limit
        """),
        {"limit": limit, "task": task_id},
    )
    return list(rows.scalars())


# --- the pop --------------------------------------------------------------------------------------------------------
_CLASSES_OF_SITE = text("""
    SELECT c.id, c.site_id, c.max_priority, c.gen, n.label, n.share, n.vo, n.owner, n.working_group,
           n.processing_type, n.architecture, n.release, n.memory_mb, n.disk_mb, n.cores, n.work_hs23_s, n.wall_s
    FROM requirement_class c JOIN needs n ON n.id = c.needs_id
    WHERE c.site_id = :site AND c.max_priority > :empty
""")

_POP = text("""
    WITH top AS (
        SELECT job_id FROM ready WHERE class_id = :class
        ORDER BY priority DESC, job_id LIMIT :n FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM ready r USING top WHERE r.job_id = top.job_id RETURNING r.job_id, r.priority
    ), taken AS (
        UPDATE job j SET status = 'sent', site_id = b.site_id, lease = j.lease + 1
        FROM gone g, bunch b, production_task t, site s
        WHERE j.id = g.job_id AND j.status IS NULL
          AND b.id = j.bunch_id AND b.state = 'activated' AND b.site_id = :site
          AND t.id = j.task_id AND t.hold IS NULL AND t.stage IN ('assigned', 'running')
          AND s.id = b.site_id AND s.status <> 'offline'
        RETURNING j.id, j.task_id, j.bunch_id, j.site_id, j.lease, t.cores
    ), hand AS (
        INSERT INTO in_hand (job_id, lease, site_id, queue, factory, worker_id, batch_id, node)
        SELECT id, lease, site_id, :queue, :factory, :worker, :batch, :node FROM taken
    ), event AS (
        INSERT INTO job_event (task_id, job_id, cores, from_site, from_state, to_site, to_state, why, who)
        SELECT task_id, id, cores, site_id, 'activated', site_id, 'sent', 'handed to a pilot', :who FROM taken
    )
    SELECT (SELECT count(*) FROM gone) AS seen, ARRAY(SELECT id FROM taken ORDER BY id) AS jobs
""")

_LOWER = text("""
    UPDATE requirement_class c SET max_priority = COALESCE(
        (SELECT priority FROM ready r WHERE r.class_id = c.id ORDER BY priority DESC LIMIT 1), :empty)
    WHERE c.id IN (SELECT id FROM requirement_class WHERE id = :class AND gen = :gen FOR UPDATE SKIP LOCKED)
""")


@dataclass(frozen=True, slots=True)
class Holder:
    """The pilot that gets the jobs of a pop."""

    queue: str
    node: str
    factory: str | None
    worker_id: int | None
    batch_id: str | None


def classes_of_site(connection: Connection, site_id: int) -> list[RowMapping]:
    """Which requirement classes of a site may have jobs, and what do they ask for?"""
    return list(connection.execute(_CLASSES_OF_SITE, {"site": site_id, "empty": EMPTY}).mappings())


def pop(connection: Connection, class_id: int, gen: int, site_id: int, n: int, holder: Holder) -> list[int]:
    """Hand up to `n` of the best jobs of a class to a pilot; returns their ids.

    Rows whose job may not go (held, aborted, moved) are deleted and the next are looked at; an empty class is marked.
    """
    jobs: list[int] = []
    values = {
        "class": class_id,
        "site": site_id,
        "queue": holder.queue,
        "node": holder.node,
        "factory": holder.factory,
        "worker": holder.worker_id,
        "batch": holder.batch_id,
        "who": f"pilot {holder.factory or '-'}:{holder.worker_id or '-'} on {holder.node}"[:200],
    }
    while len(jobs) < n:
        row = connection.execute(_POP, values | {"n": n - len(jobs)}).one()
        jobs.extend(row.jobs)
        if not row.seen:
            connection.execute(_LOWER, {"class": class_id, "gen": gen, "empty": EMPTY})
            break
    return jobs


def remember_request(connection: Connection, request_id: UUID) -> list[int] | None:
    """Book a pilot's request id; None if it is new, else the jobs it was answered with.

    A retry that overtakes the first waits here for the first one's commit.
    """
    new = connection.execute(
        text("INSERT INTO pilot_request (id, jobs) VALUES (:id, '{}') ON CONFLICT DO NOTHING RETURNING id"),
        {"id": request_id},
    ).scalar_one_or_none()
    if new is not None:
        return None
    found = connection.execute(text("SELECT jobs FROM pilot_request WHERE id = :id"), {"id": request_id})
    return list(found.scalar_one())


def answer_request(connection: Connection, request_id: UUID, jobs: list[int]) -> None:
    """Store the answer to a pilot's request."""
    connection.execute(text("UPDATE pilot_request SET jobs = :jobs WHERE id = :id"), {"id": request_id, "jobs": jobs})


def forget_request(connection: Connection, request_id: UUID) -> None:
    """Drop the booking of a request that got nothing: an idle pilot leaves no rows."""
    connection.execute(text("DELETE FROM pilot_request WHERE id = :id AND jobs = '{}'"), {"id": request_id})


def queue_by_name(connection: Connection, name: str) -> RowMapping | None:
    """Find a queue with its site, for matching."""
    return (
        connection.execute(
            text("""
                SELECT q.*, s.name AS site, s.status AS site_status, s.cloud, s.rse, s.vos AS site_vos,
                       (SELECT array_agg(release) FROM site_release r WHERE r.site_id = s.id) AS releases,
                       (SELECT array_agg(architecture) FROM site_release r WHERE r.site_id = s.id) AS architectures
                FROM queue q JOIN site s ON s.id = q.site_id WHERE q.name = :name
            """),
            {"name": name},
        )
        .mappings()
        .one_or_none()
    )


def note_activity(connection: Connection, site_id: int, node: str, *, update: bool) -> None:
    """Note that a worker node asked for work, or reported on it: at most one write, and one lock, a minute."""
    column = "last_update_job" if update else "last_get_job"
    connection.execute(
        text(f"""
            INSERT INTO pilot_activity (site_id, node, {column})
            SELECT :site, :node, now() WHERE NOT EXISTS (
                SELECT 1 FROM pilot_activity
                WHERE site_id = :site AND node = :node AND {column} > now() - interval '60 s')
            ON CONFLICT (site_id, node) DO UPDATE SET {column} = now()
        """),  # noqa: S608 - the column is one of two constants
        {"site": site_id, "node": node[:200]},
    )
