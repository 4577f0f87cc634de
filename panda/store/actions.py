"""Orders that touch many rows: what was ordered, and the rows of the next chunk."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB


def order(
    connection: Connection,
    kind: str,
    who: str,
    *,
    task_id: int | None = None,
    site_id: int | None = None,
    arguments: Mapping[str, object] | None = None,
) -> None:
    """Leave an order to be worked off."""
    connection.execute(
        text("""
            INSERT INTO pending_action (kind, task_id, site_id, arguments, who) VALUES (:k, :t, :s, :a, :w)
        """).bindparams(bindparam("a", dict(arguments or {}), type_=JSONB)),
        {"k": kind, "t": task_id, "s": site_id, "w": who},
    )
    connection.execute(text("SELECT pg_notify('panda_action', '')"))


def due(connection: Connection, limit: int) -> list[RowMapping]:
    """Which orders are to be worked off now, oldest first?"""
    query = text("""
        SELECT * FROM pending_action WHERE done_at IS NULL AND repeat_at <= now() ORDER BY id LIMIT :limit
    """)
    return list(connection.execute(query, {"limit": limit}).mappings())


def settled(connection: Connection, order_id: int) -> bool:
    """Tell whether every transaction has ended that may have read its rows before this order was given.

    The first call notes up to which transaction that is; what such a one writes late, a later pass must still see.
    """
    row = connection.execute(
        text("""
            UPDATE pending_action SET arguments = arguments || jsonb_build_object('horizon',
                COALESCE(arguments ->> 'horizon', pg_snapshot_xmax(pg_current_snapshot())::text))
            WHERE id = :id
            RETURNING CAST(arguments ->> 'horizon' AS xid8) <= pg_snapshot_xmin(pg_current_snapshot()) AS settled
        """),
        {"id": order_id},
    )
    return bool(row.scalar_one())


def again(connection: Connection, order_id: int, later_s: float) -> None:
    """Pass over an order's rows once more."""
    connection.execute(
        text("""
            UPDATE pending_action SET passes = passes + 1, repeat_at = now() + make_interval(secs => :later)
            WHERE id = :id AND done_at IS NULL
        """),
        {"id": order_id, "later": later_s},
    )


def done(connection: Connection, order_id: int) -> None:
    """Close an order whose rows are all as ordered."""
    connection.execute(text("UPDATE pending_action SET done_at = now() WHERE id = :id"), {"id": order_id})


def jobs_without_pilot(connection: Connection, task_id: int, limit: int) -> list[int]:
    """Which jobs of a task has no pilot got yet?"""
    query = text("""
        SELECT j.id FROM bunch b JOIN job j ON j.bunch_id = b.id AND j.status IS NULL
        WHERE b.task_id = :task AND b.open ORDER BY b.id, j.id LIMIT :limit
    """)
    return list(connection.execute(query, {"task": task_id, "limit": limit}).scalars())


def jobs_to_cancel(connection: Connection, task_id: int, limit: int) -> list[int]:
    """Which live jobs of a task can be cancelled at once: those without a pilot, or with the collector?"""
    query = text("""
        SELECT j.id FROM bunch b JOIN job j ON j.bunch_id = b.id AND j.status IS NULL
        WHERE b.task_id = :task AND b.open
      UNION ALL
        SELECT j.id FROM to_collect c JOIN job j ON j.id = c.job_id
        WHERE j.task_id = :task AND j.status IN ('holding', 'transferring', 'merging')
        LIMIT :limit
    """)
    return sorted(connection.execute(query, {"task": task_id, "limit": limit}).scalars())


def jobs_to_tell(connection: Connection, task_id: int, limit: int) -> list[int]:
    """Which jobs of a task are in a pilot's hand that has not been told to end yet?"""
    query = text("""
        SELECT h.job_id FROM in_hand h JOIN job j ON j.id = h.job_id
        WHERE j.task_id = :task AND h.command IS DISTINCT FROM 'tobekilled' ORDER BY h.job_id LIMIT :limit
    """)
    return list(connection.execute(query, {"task": task_id, "limit": limit}).scalars())


def remove_held(connection: Connection, bunches: Sequence[int]) -> int:
    """Take jobs of these bunches out of `ready` while their task is held; rows a pop has locked: the next pass."""
    query = text("""
        DELETE FROM ready WHERE job_id IN (
            SELECT r.job_id FROM job j JOIN ready r ON r.job_id = j.id JOIN production_task t ON t.id = j.task_id
            WHERE j.bunch_id = ANY(:bunches) AND t.hold IS NOT NULL FOR UPDATE OF r SKIP LOCKED)
    """)
    return connection.execute(query, {"bunches": list(bunches)}).rowcount


def reprioritise(connection: Connection, bunches: Sequence[int]) -> int:
    """Give waiting jobs of these bunches in `ready` their task's priority, and raise the bound of their classes."""
    query = text("""
        WITH wrong AS (
            SELECT r.job_id, t.priority + COALESCE(j.priority_offset, 0) AS priority
            FROM job j JOIN ready r ON r.job_id = j.id JOIN production_task t ON t.id = j.task_id
            WHERE j.bunch_id = ANY(:bunches) AND r.priority <> t.priority + COALESCE(j.priority_offset, 0)
            FOR UPDATE OF r SKIP LOCKED
        ), moved AS (
            UPDATE ready r SET priority = w.priority FROM wrong w WHERE r.job_id = w.job_id
            RETURNING r.class_id, r.priority
        ), raised AS (
            UPDATE requirement_class c SET max_priority = GREATEST(c.max_priority, m.top), gen = c.gen + 1
            FROM (SELECT class_id, max(priority) AS top FROM moved GROUP BY class_id) m WHERE c.id = m.class_id
        )
        SELECT count(*) FROM moved
    """)
    return connection.scalar(query, {"bunches": list(bunches)}) or 0


def bunches_at_site(connection: Connection, site_id: int, limit: int) -> list[int]:
    """Which bunches wait at a site for data or pilots?"""
    query = text("""
        SELECT b.id FROM bunch b JOIN site s ON s.id = b.site_id
        WHERE b.open AND b.site_id = :site AND b.state IN ('assigned', 'activated') AND s.status = 'offline'
        ORDER BY b.id LIMIT :limit
    """)
    return list(connection.execute(query, {"site": site_id, "limit": limit}).scalars())


def where_jobs_wait(connection: Connection, jobs: Sequence[int]) -> list[RowMapping]:
    """Read the task, the bunch and both states of these jobs; unknown ones are left out."""
    query = text("""
        SELECT j.id, j.task_id, j.bunch_id, j.status::text AS status, b.state::text AS state
        FROM job j JOIN bunch b ON b.id = j.bunch_id WHERE j.id = ANY(:jobs)
    """)
    return list(connection.execute(query, {"jobs": list(jobs)}).mappings())


def tasks_of(connection: Connection, bunches: Sequence[int]) -> list[int]:
    """Which tasks do these bunches belong to?"""
    query = text("SELECT DISTINCT task_id FROM bunch WHERE id = ANY(:bunches)")
    return list(connection.execute(query, {"bunches": list(bunches)}).scalars())


def tasks_waiting_for_site(connection: Connection) -> list[int]:
    """Which tasks have bunches without a site?"""
    query = text("SELECT DISTINCT task_id FROM bunch WHERE open AND state IN ('defined', 'waiting')")
    return list(connection.execute(query).scalars())


def set_site_status(connection: Connection, site: str, status: str, comment: str) -> int | None:
    """Set a site's status with who, when and why; returns its id, None if there is no such site."""
    query = text("""
        UPDATE site SET status = :status, comment = :comment, status_since = now() WHERE name = :site RETURNING id
    """)
    number: int | None = connection.scalar(query, {"site": site, "status": status, "comment": comment})
    return number
