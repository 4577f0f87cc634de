"""The pop: waiting pilots of many queues get the best jobs of their classes in one statement (performance.md 3, 4).

Theory. A class is asked once for as many rows as pilots want of it, and the rows are dealt out by their number:
a second look by the same transaction would find the rows that it locked itself. SKIP LOCKED keeps two batches apart.
The row in `ready` is the mutex; only after it is gone are hold, site and status looked at. A row that may not go is
deleted (its job keeps its state) and its pilot asks again in the next round of the same transaction. A class is read
from the spot on that its want says: what lies before was taken, but stays in the index while an old snapshot is open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from panda.store.prepared import Prepared, numbers, texts
from panda.store.queue import EMPTY

# What becomes of the rows that were chosen: `top` has their job, priority, site and the slot of their pilot.
_TAKEN = """
    ), gone AS (
        DELETE FROM ready r USING top WHERE r.job_id = top.job_id RETURNING r.job_id
    ), taken AS (
        UPDATE job j SET status = 'sent', site_id = b.site_id, lease = j.lease + 1
        FROM top g, bunch b, production_task t, site s
        WHERE j.id = g.job_id AND j.status IS NULL
          AND b.id = j.bunch_id AND b.state = 'activated' AND b.site_id = g.site_id
          AND t.id = j.task_id AND t.hold IS NULL AND t.stage IN ('assigned', 'running')
          AND s.id = b.site_id AND s.status <> 'offline'
        RETURNING j.id, j.task_id, j.ordinal, j.attempt, j.lease, j.first_event, j.n_events, j.input_first,
                  COALESCE(j.explicit_input, false) AS explicit, j.parameters, j.priority_offset, j.site_id, g.slot,
                  g.priority AS waited_at, t.cores, t.priority, t.cloud, t.stage_since
    ), hand AS (
        INSERT INTO in_hand (job_id, lease, site_id, queue, factory, worker_id, batch_id, node)
        SELECT id, lease, site_id, (CAST(:queues AS text[]))[slot], (CAST(:factories AS text[]))[slot],
               (CAST(:workers AS bigint[]))[slot], (CAST(:batches AS text[]))[slot], (CAST(:nodes AS text[]))[slot]
        FROM taken
    ), event AS (
        INSERT INTO job_event (task_id, job_id, cores, from_site, from_state, to_site, to_state, why, who)
        SELECT task_id, id, cores, site_id, 'activated', site_id, 'sent', 'handed to a pilot',
               (CAST(:pilot_names AS text[]))[slot]
        FROM taken
    )
    SELECT k.slot, k.id, k.task_id, k.ordinal, k.attempt, k.lease, k.first_event, k.n_events, k.input_first,
           k.explicit, k.parameters, k.priority + COALESCE(k.priority_offset, 0), k.cloud,
           extract(epoch FROM k.stage_since)::float8, k.waited_at
    FROM taken k
  UNION ALL
    SELECT g.slot, NULL, 0, 0, 0, 0, NULL, NULL, NULL, false, NULL, 0, NULL, 0, 0
    FROM top g WHERE g.slot NOT IN (SELECT slot FROM taken)
"""
_BEST_OF_CLASSES = """
    WITH wanted AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:classes AS int[]), CAST(:sites AS int[]), CAST(:counts AS int[]),
                             CAST(:firsts AS int[]), CAST(:falls AS int[]), CAST(:behind AS bigint[]))
                      AS u (class_id, site_id, n, first, falls, behind)
    ), top AS MATERIALIZED (
        SELECT r.job_id, r.priority, w.site_id,
               w.first + row_number() OVER (PARTITION BY w.first ORDER BY r.priority DESC, r.job_id) AS slot
        FROM wanted w CROSS JOIN LATERAL (
            SELECT job_id, priority FROM ready WHERE class_id = w.class_id AND (-priority, job_id) > (w.falls, w.behind)
            ORDER BY -priority, job_id LIMIT w.n FOR UPDATE SKIP LOCKED) r
"""
_BEST_OF_TASK = """
    WITH top AS MATERIALIZED (
        SELECT w.job_id, w.priority, w.site_id, row_number() OVER (ORDER BY w.priority DESC, w.job_id) AS slot
        FROM (
            SELECT r.job_id, r.priority, b.site_id
            FROM bunch b JOIN job j ON j.bunch_id = b.id JOIN ready r ON r.job_id = j.id
            WHERE b.task_id = CAST(:task AS bigint) AND b.open AND b.state = 'activated'
              AND b.site_id = CAST(:site AS int) AND r.class_id = ANY(CAST(:classes AS int[]))
            ORDER BY -r.priority, r.job_id LIMIT CAST(:count AS int) FOR UPDATE OF r SKIP LOCKED) w
"""
_POP = Prepared("panda_pop", _BEST_OF_CLASSES + _TAKEN)
_POP_OF_TASK = Prepared("panda_pop_of_task", _BEST_OF_TASK + _TAKEN)

_LOWER = Prepared(
    "panda_lower",
    """
    UPDATE requirement_class c SET max_priority = COALESCE(
        (SELECT priority FROM ready r WHERE r.class_id = c.id ORDER BY -priority, job_id LIMIT 1), :empty)
    WHERE c.id IN (
        SELECT q.id FROM requirement_class q
        JOIN unnest(CAST(:classes AS int[]), CAST(:gens AS bigint[])) AS u (id, gen) ON u.id = q.id AND u.gen = q.gen
        FOR UPDATE OF q SKIP LOCKED)
    RETURNING c.id, c.max_priority
""",
)


class Holder(NamedTuple):
    """The pilot that gets a job."""

    queue: str
    node: str
    factory: str | None
    worker_id: int | None
    batch_id: str | None

    @property
    def who(self) -> str:
        """The pilot in the job's history."""
        return f"pilot {self.factory or '-'}:{self.worker_id or '-'} on {self.node}"[:200]


class Spot(NamedTuple):
    """A row's place in the order of its class: the negative of its priority, then its job."""

    falls: int
    job_id: int


HEAD = Spot(EMPTY, 0)
"""Before every row."""


@dataclass(frozen=True, slots=True)
class Want:
    """One class of one site and the pilots that want a job of it, one job each, the first first.

    Rows up to `after` are not looked at.
    """

    class_id: int
    site_id: int
    holders: Sequence[Holder]
    after: Spot = HEAD


class Popped(NamedTuple):
    """A row of `ready` that a pop took: the place of its pilot (from 1), and its job unless that may not go."""

    slot: int
    job_id: int | None
    task_id: int
    ordinal: int
    attempt: int
    lease: int
    first_event: int | None
    n_events: int | None
    input_first: int | None
    explicit: bool
    parameters: str | None
    priority: int
    cloud: str | None
    task_version: float
    """When the task last changed its stage: what else is kept of it is the same as long as this is."""
    waited_at: int
    """The priority of the row in `ready`, which may not have followed its task's yet."""


def pop(connection: Connection, wants: Sequence[Want]) -> list[Popped]:
    """Take the best row of each class for each pilot. Slots number the pilots through all the wants, from 1.

    A pilot without a row found its class empty (or its rows in somebody else's hands); one whose row has no job
    may ask the same class again.
    """
    holders = [holder for want in wants for holder in want.holders]
    firsts, first = [], 0
    for want in wants:
        firsts.append(first)
        first += len(want.holders)
    rows = _POP.run(
        connection,
        classes=numbers(want.class_id for want in wants),
        sites=numbers(want.site_id for want in wants),
        counts=numbers(len(want.holders) for want in wants),
        firsts=numbers(firsts),
        falls=numbers(want.after.falls for want in wants),
        behind=numbers(want.after.job_id for want in wants),
        **_columns(holders),
    )
    return list(map(Popped._make, sorted(rows)))


def pop_of_task(
    connection: Connection, task_id: int, classes: Sequence[int], site_id: int, holders: Sequence[Holder]
) -> list[Popped]:
    """Take the best rows of one task at a site, in these classes, one for each pilot; otherwise as `pop`.

    It looks at all jobs of the task that are ready there: few pilots ask so.
    """
    rows = _POP_OF_TASK.run(
        connection, task=task_id, site=site_id, classes=numbers(classes), count=len(holders), **_columns(holders)
    )
    return sorted(Popped(*row) for row in rows)


def _columns(holders: Sequence[Holder]) -> dict[str, str]:
    return {
        "queues": texts(one.queue for one in holders),
        "factories": texts(one.factory for one in holders),
        "workers": numbers(one.worker_id for one in holders),
        "batches": texts(one.batch_id for one in holders),
        "nodes": texts(one.node for one in holders),
        "pilot_names": texts(one.who for one in holders),
    }


def lower(connection: Connection, gens: dict[int, int]) -> dict[int, int]:
    """Lower the bounds of classes that a pop found empty, unless jobs came since they were read at that generation.

    Returns the bounds now; a class that somebody else is changing is left alone.
    """
    if not gens:
        return {}
    rows = _LOWER.run(connection, classes=numbers(gens), gens=numbers(gens.values()), empty=EMPTY)
    return {row[0]: row[1] for row in rows}
