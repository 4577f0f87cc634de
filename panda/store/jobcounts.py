"""SQL of live jobs by site or queue, label and needs, for factories that ask for numbers instead of jobs."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from panda.store.counters import EXACT, ensure_watermark


@dataclass(frozen=True, slots=True)
class LiveJobs:
    """So many jobs with equal label, cores and memory (MB of the whole job) in one state.

    `queue` is set for jobs in pilots' hands, `site_id` for the others.
    """

    site_id: int | None
    queue: str | None
    label: str
    cores: int
    memory_mb: int
    status: str
    n: int


_IN_HAND = text("""
    SELECT NULL::smallint AS site_id, h.queue, t.label, t.cores, t.memory_mb, j.status::text AS status, count(*) AS n
    FROM in_hand h JOIN job j ON j.id = h.job_id JOIN production_task t ON t.id = j.task_id
    WHERE j.status IN ('sent', 'starting', 'running')
    GROUP BY h.queue, t.label, t.cores, t.memory_mb, j.status
""")

# Jobs in hand are counted by their rows, which know the queue; the counters know the sites of all others.
_ELSEWHERE = text(f"""
    SELECT c.site_id, NULL AS queue, t.label, t.cores, t.memory_mb, c.status::text AS status, sum(c.n)::bigint AS n
    FROM ({EXACT.format(where="true")}) c JOIN production_task t ON t.id = c.task_id
    WHERE c.site_id <> 0 AND c.status IN ('assigned', 'activated', 'holding', 'transferring', 'merging')
    GROUP BY c.site_id, t.label, t.cores, t.memory_mb, c.status HAVING sum(c.n) > 0
""")  # noqa: S608 - a constant of another file


def live_jobs(connection: Connection) -> Iterator[LiveJobs]:
    """Count the live jobs that have a site."""
    ensure_watermark(connection)
    for query in (_IN_HAND, _ELSEWHERE):
        for row in connection.execute(query).mappings():
            yield LiveJobs(**row)
