"""The pop: waiting pilots of many queues get the best jobs of their classes together (performance.md 3, 4).

Theory. A statement asks a class once for as many rows as pilots want of it, and the rows are dealt out by their number:
a second look by the same statement would find the rows that it locked itself. SKIP LOCKED keeps two batches apart.
The row in `ready` is the mutex; only after it is gone are hold, site and status looked at. A row that may not go is
deleted (its job keeps its state) and its pilot asks again in the next round of the same transaction. A class is read
from the spot on that its want says: what lies before was taken, but stays in the index while an old snapshot is open.
Where jobs are lacking, a second statement looks for the rest and tells what may not go. The last one writes down who
holds the jobs: so the server can make their descriptions while the database writes.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from panda.store.prepared import Prepared, numbers, texts
from panda.store.queue import EMPTY

Given = TypeVar("Given")

# `top` are the rows that were chosen: their job, priority, site and the slot of the first who wants of their class.
_BEST_OF_CLASSES = """
    WITH wanted AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:classes AS int[]), CAST(:sites AS int[]), CAST(:counts AS int[]),
                             CAST(:firsts AS int[]), CAST(:falls AS int[]), CAST(:behind AS bigint[]))
                      AS u (class_id, site_id, n, first, falls, behind)
    ), top AS MATERIALIZED (
        SELECT r.job_id, r.priority, w.site_id, w.first
        FROM wanted w CROSS JOIN LATERAL (
            SELECT job_id, priority FROM ready WHERE class_id = w.class_id AND (-priority, job_id) > (w.falls, w.behind)
            ORDER BY -priority, job_id LIMIT w.n FOR UPDATE SKIP LOCKED) r
    ), """
_BEST_OF_TASK = """
    WITH top AS MATERIALIZED (
        SELECT r.job_id, r.priority, b.site_id, 1 AS first
        FROM bunch b JOIN job j ON j.bunch_id = b.id JOIN ready r ON r.job_id = j.id
        WHERE b.task_id = CAST(:task AS bigint) AND b.open AND b.state = 'activated'
          AND b.site_id = CAST(:site AS int) AND r.class_id = ANY(CAST(:classes AS int[]))
        ORDER BY -r.priority, r.job_id LIMIT CAST(:count AS int) FOR UPDATE OF r SKIP LOCKED
    ), """
_GONE = """gone AS (
        DELETE FROM ready r USING top WHERE r.job_id = top.job_id
    )"""
_TAKEN = """
        UPDATE job j SET status = 'sent', site_id = b.site_id, lease = j.lease + 1
        FROM top g, bunch b, production_task t, site s
        WHERE j.id = g.job_id AND j.status IS NULL
          AND b.id = j.bunch_id AND b.state = 'activated' AND b.site_id = g.site_id
          AND t.id = j.task_id AND t.hold IS NULL AND t.stage IN ('assigned', 'running')
          AND s.id = b.site_id AND s.status <> 'offline'
        RETURNING g.first, j.id, j.task_id, j.ordinal, j.attempt, j.lease, j.first_event, j.n_events, j.input_first,
                  COALESCE(j.explicit_input, false), j.parameters, t.priority + COALESCE(j.priority_offset, 0), t.cloud,
                  extract(epoch FROM t.stage_since)::float8, g.priority, t.cores"""
_TOLD = f""", taken (first, job_id, {", ".join(f"c{place}" for place in range(14))}) AS ({_TAKEN}
    )
    SELECT * FROM taken
  UNION ALL
    SELECT g.first, NULL, 0, 0, 0, 0, NULL, NULL, NULL, false, NULL, 0, NULL, 0, g.priority, 0
    FROM top g WHERE g.job_id NOT IN (SELECT job_id FROM taken)
"""  # noqa: S608 - constants of this file
# What was thrown out is not told where nothing is lacking: to tell it costs an eighth of the statement.
_TAKE = Prepared("panda_take", _BEST_OF_CLASSES + _GONE + _TAKEN)
_TAKE_TOLD = Prepared("panda_take_told", _BEST_OF_CLASSES + _GONE + _TOLD)
_TAKE_OF_TASK = Prepared("panda_take_of_task", _BEST_OF_TASK + _GONE + _TOLD)

_HAND = Prepared(
    "panda_hand",
    """
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:leases AS int[]), CAST(:tasks AS bigint[]),
                             CAST(:cores AS int[]), CAST(:sites AS int[]), CAST(:queues AS text[]),
                             CAST(:factories AS text[]), CAST(:workers AS bigint[]), CAST(:batches AS text[]),
                             CAST(:nodes AS text[]), CAST(:pilots AS text[]))
                      AS u (job_id, lease, task_id, cores, site_id, queue, factory, worker_id, batch_id, node, pilot)
    ), hand AS (
        INSERT INTO in_hand (job_id, lease, site_id, queue, factory, worker_id, batch_id, node)
        SELECT job_id, lease, site_id, queue, factory, worker_id, batch_id, node FROM given
    ), event AS (
        INSERT INTO job_event (task_id, job_id, cores, from_site, from_state, to_site, to_state, why, who)
        SELECT task_id, job_id, cores, site_id, 'activated', site_id, 'sent', 'handed to a pilot', pilot FROM given
    )
    SELECT
""",
)

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
    """One class of one site and how many jobs of it are wanted.

    Rows up to `after` are not looked at.
    """

    class_id: int
    site_id: int
    n: int
    after: Spot = HEAD


class Popped(NamedTuple):
    """A row of `ready` that a pop took: the place of who wants it (from 1), and its job unless that may not go."""

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
    cores: int


class Handing(NamedTuple):
    """A job that goes to a pilot of a site."""

    job: Popped
    site_id: int
    holder: Holder


def take(connection: Connection, wants: Sequence[Want]) -> list[Popped]:
    """Take the best row of each class for each job wanted. Slots number those through all the wants, from 1.

    A slot without a row found its class empty (or its rows in somebody else's hands); one whose row has no job
    may ask the same class again. What was taken has to be handed over in the same transaction (`hand`).
    """
    firsts = list(accumulate((want.n for want in wants), initial=1))
    found = _taken(_TAKE, connection, wants, firsts)
    if len(found) < firsts[-1] - 1:
        got = Counter(bisect_right(firsts, one.slot) - 1 for one in found)
        rest = [
            (replace(want, n=want.n - got[place]), firsts[place] + got[place])
            for place, want in enumerate(wants)
            if got[place] < want.n
        ]
        lacking, slots = zip(*rest, strict=True)
        found += _taken(_TAKE_TOLD, connection, lacking, slots)
    return found


def _taken(statement: Prepared, connection: Connection, wants: Sequence[Want], firsts: Sequence[int]) -> list[Popped]:
    """What a statement gives for these wants, whose jobs have the slots from these numbers on."""
    rows = statement.run(
        connection,
        classes=numbers(want.class_id for want in wants),
        sites=numbers(want.site_id for want in wants),
        counts=numbers(want.n for want in wants),
        firsts=numbers(firsts[: len(wants)]),
        falls=numbers(want.after.falls for want in wants),
        behind=numbers(want.after.job_id for want in wants),
    )
    return _dealt(rows, each_alone=all(want.n == 1 for want in wants))


def take_of_task(
    connection: Connection, task_id: int, classes: Sequence[int], site_id: int, count: int
) -> list[Popped]:
    """Take the best rows of one task at a site, in these classes, so many; otherwise as `take`.

    It looks at all jobs of the task that are ready there: few pilots ask so.
    """
    return _dealt(
        _TAKE_OF_TASK.run(connection, task=task_id, site=site_id, classes=numbers(classes), count=count),
        each_alone=count == 1,
    )


def _dealt(rows: Sequence[Sequence[Any]], *, each_alone: bool) -> list[Popped]:
    """Rows in the order of their slots: those of one class by priority, then by job; what has no job comes last."""
    found = [Popped._make(row) for row in rows]
    if each_alone:
        return sorted(found)
    found.sort(key=lambda one: (one.slot, one.job_id is None, -one.waited_at, one.job_id))
    places: Counter[int] = Counter()
    for number, one in enumerate(found):
        found[number] = one._replace(slot=one.slot + places[one.slot])
        places[one.slot] += 1
    return found


def hand(connection: Connection, handings: Sequence[Handing], meanwhile: Callable[[], Given]) -> Given:
    """Note who holds the jobs that were taken, and that in their history, and commit; returns what `meanwhile` gives.

    That is called while the database writes (a third of what a pop costs), so it must not use this connection.
    """
    jobs, sites, holders = zip(*handings, strict=True)
    return _HAND.run_last(
        connection,
        meanwhile,
        jobs=numbers(one.job_id for one in jobs),
        leases=numbers(one.lease for one in jobs),
        tasks=numbers(one.task_id for one in jobs),
        cores=numbers(one.cores for one in jobs),
        sites=numbers(sites),
        queues=texts(one.queue for one in holders),
        factories=texts(one.factory for one in holders),
        workers=numbers(one.worker_id for one in holders),
        batches=texts(one.batch_id for one in holders),
        nodes=texts(one.node for one in holders),
        pilots=texts(one.who for one in holders),
    )


def lower(connection: Connection, gens: dict[int, int]) -> dict[int, int]:
    """Lower the bounds of classes that a pop found empty, unless jobs came since they were read at that generation.

    Returns the bounds now; a class that somebody else is changing is left alone.
    """
    if not gens:
        return {}
    rows = _LOWER.run(connection, classes=numbers(gens), gens=numbers(gens.values()), empty=EMPTY)
    return {row[0]: row[1] for row in rows}
