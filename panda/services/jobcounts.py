"""How many jobs are in which state at each queue, as factories ask for it (wire-protocol.md 8, get_job_stats)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from panda.domain.resource_types import resource_type_of
from panda.services.context import Context
from panda.store import jobcounts as store
from panda.store import supply


@dataclass(frozen=True, slots=True)
class Kind:
    """What jobs are counted by, beside their queue and state."""

    resource_type: str
    label: str


def by_queue(ctx: Context) -> dict[str, dict[Kind, Counter[str]]]:
    """Live jobs of every queue by kind and state; a queue without jobs has no kind.

    A job that no pilot holds belongs to a site: it is counted at the site's first queue (by name) whose slot it fits,
    so that a sum over queues counts it once.
    """
    with ctx.engine.begin() as connection:
        limits = supply.queue_limits(connection)
        found = list(store.live_jobs(connection))
    queues: dict[int, list[supply.QueueLimits]] = defaultdict(list)
    for limit in limits:
        queues[limit.site_id].append(limit)
    counted: dict[str, dict[Kind, Counter[str]]] = {limit.name: defaultdict(Counter) for limit in limits}
    for one in found:
        name = one.queue or _first_that_fits(queues, one)
        if name in counted:
            kind = Kind(resource_type_of(one.cores, one.memory_mb), one.label)
            counted[name][kind][one.status] += one.n
    return counted


def _first_that_fits(queues: Mapping[int, Iterable[supply.QueueLimits]], jobs: store.LiveJobs) -> str | None:
    at_site = list(queues.get(jobs.site_id or 0, ()))
    fits = (
        one.name
        for one in at_site
        if jobs.label in one.labels and jobs.cores <= one.cores and jobs.memory_mb <= (one.memory_mb or jobs.memory_mb)
    )
    return next(fits, at_site[0].name if at_site else None)
