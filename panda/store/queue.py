"""What waits for pilots: activation puts jobs into `ready`, `panda.store.pop` takes them out.

`ready` is derived: the jobs with null status of activated bunches whose task is not held and whose site serves. A row
that should not be there is deleted by the pop, one that is missing is put back by the sweep.
Lock order: production_task, bunch, ready, job.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, text

from panda.store.prepared import Prepared, numbers, texts

READY_CHANNEL = "panda_ready"
SITES_TOLD = 400
"""Sites in one notification, which may have 8,000 bytes."""

EMPTY = -(2**31)
"""The bound of a class without jobs; every priority lies above it, those below zero too."""

_LOCK = text("""
    SELECT id FROM bunch WHERE id = ANY(:bunches) AND state = 'assigned' AND staged ORDER BY id FOR UPDATE
""")

# Jobs of a bunch that is assigned are never in `ready` (whoever takes a bunch back deletes them under its lock), so
# that activation looks for no conflict: a third of the CPU of an insert. The jobs are added up bunch by bunch, for
# classes and events, and read again to go into `ready`: to keep them meanwhile costs more than their pages, which are
# at hand. In the order of their ids they go to the indexes' end.
_FILL_OF = """
    , serving AS MATERIALIZED (
        SELECT a.id, a.task_id, a.site_id, t.priority, t.cores,
               t.hold IS NULL AND t.stage IN ('assigned', 'running') AND s.status <> 'offline' AS serves
        FROM a JOIN production_task t ON t.id = a.task_id JOIN site s ON s.id = a.site_id
    ), sums AS MATERIALIZED (
        SELECT a.id AS bunch_id, a.site_id, w.needs_id, a.priority AS base, a.priority + w.most AS priority, w.n,
               a.serves
        FROM serving a CROSS JOIN LATERAL (
            SELECT needs_id, max(COALESCE(priority_offset, 0)) AS most, count(*) AS n
            FROM job WHERE bunch_id = a.id AND status IS NULL GROUP BY needs_id) w
    ), class AS (
        INSERT INTO requirement_class (site_id, needs_id, max_priority, gen)
        SELECT * FROM (SELECT site_id, needs_id, max(priority), 1 FROM sums GROUP BY 1, 2 OFFSET 0) w ORDER BY 1, 2
        ON CONFLICT (site_id, needs_id) DO UPDATE
        SET max_priority = GREATEST(requirement_class.max_priority, excluded.max_priority),
            gen = requirement_class.gen + 1
        RETURNING id, site_id, needs_id
    ), made AS (
        INSERT INTO ready (job_id, class_id, priority)
        SELECT j.id, c.id, u.base + COALESCE(j.priority_offset, 0)
        FROM sums u JOIN class c USING (site_id, needs_id)
        JOIN job j ON j.bunch_id = u.bunch_id AND j.needs_id = u.needs_id AND j.status IS NULL
        WHERE u.serves ORDER BY j.id
        {conflict}
    )
"""
# A new statement after the locks: two blocks that complete at once must not each see the other missing.
_ACTIVATE = text(f"""
    WITH a AS (
        UPDATE bunch b SET state = 'activated', since = now(), waits_for = NULL
        WHERE b.id = ANY(:bunches) AND b.state = 'assigned' AND b.staged
          AND NOT EXISTS (
            SELECT 1 FROM bunch_block bb JOIN block k ON k.id = bb.block_id
            WHERE bb.bunch_id = b.id AND bb.generation = b.generation AND k.kind = 'dis' AND k.state <> 'complete')
        RETURNING b.id, b.task_id, b.site_id
    ) {_FILL_OF.format(conflict="")}, counted AS MATERIALIZED (
        SELECT a.id, a.task_id, a.site_id, a.cores, a.serves, sum(s.n) AS n
        FROM serving a LEFT JOIN sums s ON s.bunch_id = a.id GROUP BY 1, 2, 3, 4, 5 ORDER BY 1
    ), event AS (
        INSERT INTO job_event (task_id, bunch_id, n, cores, from_site, from_state, to_site, to_state, why, who)
        SELECT task_id, id, n, cores, site_id, 'assigned', site_id, 'activated', :why, :who FROM counted WHERE n > 0
    )
    SELECT id, site_id, CASE WHEN serves THEN COALESCE(n, 0) ELSE 0 END::int FROM counted ORDER BY id
""")  # noqa: S608 - constants of this file
_FILL = text(f"""
    WITH a AS (SELECT id, task_id, site_id FROM bunch WHERE id = ANY(:bunches) AND state = 'activated')
    {_FILL_OF.format(conflict="ON CONFLICT (job_id) DO NOTHING RETURNING class_id")}
    SELECT c.site_id, count(*) FROM made m JOIN class c ON c.id = m.class_id GROUP BY c.site_id
""")  # noqa: S608 - constants of this file


def activate(connection: Connection, bunches: list[int], *, why: str, who: str) -> list[int]:
    """Activate those of the bunches whose every input is at their site, and put their jobs into `ready`.

    Early, late, twice or never called: the end is the same (design.md section 5, "A notification of the DDM").
    """
    wanted = {"bunches": sorted(set(bunches))}
    if not wanted["bunches"] or not connection.execute(_LOCK, wanted).rowcount:
        return []
    complete = connection.execute(_ACTIVATE, wanted | {"why": why, "who": who}).all()
    made: Counter[int] = Counter()
    for _, site_id, served in complete:
        made[site_id] += served
    _tell_sites(connection, [(site_id, n) for site_id, n in made.items() if n])
    return [row[0] for row in complete]


def _tell_sites(connection: Connection, made: Sequence[tuple[int, int]]) -> None:
    """Wake the pilots that wait at sites where so many jobs became ready, once for the transaction."""
    for start in range(0, len(made), SITES_TOLD):
        said = ",".join(f"{site_id}:{n}" for site_id, n in made[start : start + SITES_TOLD])
        connection.execute(text("SELECT pg_notify(:channel, :said)"), {"channel": READY_CHANNEL, "said": said})


def refill_ready(connection: Connection, bunches: list[int]) -> int:
    """Put what `ready` lacks of these bunches back (after resume, site on, or a pop that threw rows out).

    The bunches are locked, so that none moves meanwhile. A job that a pop was just handing out got its row back only
    after that pop had ended; the last statement sees that and takes the row away again.
    """
    if not bunches:
        return 0
    wanted = {"bunches": sorted(bunches)}
    connection.execute(text("SELECT id FROM bunch WHERE id = ANY(:bunches) ORDER BY id FOR NO KEY UPDATE"), wanted)
    made = [(row[0], row[1]) for row in connection.execute(_FILL, wanted)]
    _tell_sites(connection, made)
    gone = connection.execute(
        text("""
            DELETE FROM ready r USING job j
            WHERE j.bunch_id = ANY(:bunches) AND r.job_id = j.id AND j.status IS NOT NULL
        """),
        wanted,
    )
    put_back: int = sum(n for _, n in made) - gone.rowcount
    return max(0, put_back)


def activated_bunches(connection: Connection, after: int, limit: int, task_id: int | None = None) -> list[int]:
    """Which are the next activated bunches, of a task or of all, after one by its id?

    Whoever goes over many of them remembers the last: to look for the next from the beginning would cost ever more.
    """
    of_task = "" if task_id is None else "AND task_id = :task"
    query = text(f"""
        SELECT id FROM bunch WHERE open AND state = 'activated' AND id > :after {of_task} ORDER BY id LIMIT :limit
    """)  # noqa: S608 - a constant of this function
    return list(connection.execute(query, {"after": after, "limit": limit, "task": task_id}).scalars())


def missing_in_ready(connection: Connection, bunches: Sequence[int]) -> list[int]:
    """Which of these bunches have jobs that no pilot can get because `ready` lacks them (after resume, site on)?"""
    rows = connection.execute(
        text("""
            SELECT b.id FROM bunch b JOIN production_task t ON t.id = b.task_id JOIN site s ON s.id = b.site_id
            WHERE b.id = ANY(:bunches) AND b.state = 'activated'
              AND t.hold IS NULL AND t.stage IN ('assigned', 'running') AND s.status <> 'offline'
              AND EXISTS (SELECT 1 FROM job j WHERE j.bunch_id = b.id AND j.status IS NULL
                          AND NOT EXISTS (SELECT 1 FROM ready r WHERE r.job_id = j.id))
            ORDER BY b.id
        """),
        {"bunches": list(bunches)},
    )
    return list(rows.scalars())


# --- what a pop needs to know ---------------------------------------------------------------------------------------
_CLASSES_OF_SITES = text("""
    SELECT c.id, c.site_id, c.max_priority, c.gen, n.label, n.share, n.vo, n.owner, n.working_group,
           n.processing_type, n.architecture, n.release, n.memory_mb, n.disk_mb, n.cores, n.work_hs23_s, n.wall_s,
           n.in_container
    FROM requirement_class c JOIN needs n ON n.id = c.needs_id
    WHERE c.site_id = ANY(:sites) AND c.max_priority > :empty
""")


def classes_of_sites(connection: Connection, sites: Sequence[int]) -> list[RowMapping]:
    """Which requirement classes of these sites may have jobs, and what do they ask for?"""
    return list(connection.execute(_CLASSES_OF_SITES, {"sites": list(sites), "empty": EMPTY}).mappings())


_QUEUES = text("""
    SELECT q.*, s.name AS site, s.status AS site_status, s.cloud, s.rse, s.vos AS site_vos, s.container_runtime,
           (SELECT array_agg(release) FROM site_release r WHERE r.site_id = s.id) AS releases,
           (SELECT array_agg(architecture) FROM site_release r WHERE r.site_id = s.id) AS architectures
    FROM queue q JOIN site s ON s.id = q.site_id WHERE q.name = ANY(:names)
""")


def queues(connection: Connection, names: Collection[str]) -> list[RowMapping]:
    """Find queues with their sites, for matching."""
    return list(connection.execute(_QUEUES, {"names": list(names)}).mappings())


_MARKS = Prepared(
    "panda_marks",
    """
    SELECT q.name, q.site_id, q.xmin::text || ':' || s.xmin::text,
           (SELECT COALESCE(sum(c.gen), 0)::bigint FROM requirement_class c WHERE c.site_id = q.site_id)
    FROM unnest(CAST(:names AS text[])) AS u (name) JOIN queue q ON q.name = u.name JOIN site s ON s.id = q.site_id
""",
)


class Mark(NamedTuple):
    """By which one sees that a queue, its site or the classes there changed."""

    site_id: int
    queue: str
    gens: int


def marks(connection: Connection, names: Collection[str]) -> dict[str, Mark]:
    """Which versions of these queues and of their sites' classes are there? An unknown queue is not among them."""
    return {row[0]: Mark(row[1], row[2], row[3]) for row in _MARKS.run(connection, names=texts(names))}


ACTIVITY_S = 300
"""How often a node's sign of life is written down; who reads them thinks in hours (domain.md 2)."""

_ACTIVITY = """
    INSERT INTO pilot_activity (site_id, node, {column})
    SELECT u.site_id, u.node, now() FROM unnest(CAST(:sites AS smallint[]), CAST(:nodes AS text[])) AS u (site_id, node)
    WHERE NOT EXISTS (SELECT 1 FROM pilot_activity p WHERE p.site_id = u.site_id AND p.node = u.node
                      AND p.{column} > now() - interval '{seconds} s')
    ORDER BY u.site_id, u.node
    ON CONFLICT (site_id, node) DO UPDATE SET {column} = now()
"""
_ASKED = Prepared("panda_asked", _ACTIVITY.format(column="last_get_job", seconds=ACTIVITY_S))
_REPORTED = Prepared("panda_reported", _ACTIVITY.format(column="last_update_job", seconds=ACTIVITY_S))
NODE_LENGTH = 200


def note_activity(connection: Connection, nodes: Collection[tuple[int, str]], *, update: bool) -> None:
    """Note that worker nodes (site, name) asked for work, or reported on it: one write, and one lock, a minute each.

    They are locked in order, so that two batches never wait for each other.
    """
    if nodes:
        cut = sorted({(site_id, node[:NODE_LENGTH]) for site_id, node in nodes})
        statement = _REPORTED if update else _ASKED
        statement.run(connection, sites=numbers(one[0] for one in cut), nodes=texts(one[1] for one in cut))
