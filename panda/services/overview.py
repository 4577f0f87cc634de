"""Everything at a glance: tasks, jobs, sites, pilots, transfers, and what operators must know."""

from panda.domain.views.grid import Overview, UnderWay
from panda.services import survey
from panda.services.context import Context
from panda.store import counters
from panda.store import overview as store

INCIDENTS = 10


def overview(ctx: Context, *, incidents: bool = True) -> Overview:
    """The system now; `incidents` may name anybody's work and are left out for who may not see it."""
    jobs: dict[str, int] = {}
    with ctx.engine.begin() as connection:
        for row in counters.counts_by_site(connection):
            jobs[row["status"]] = jobs.get(row["status"], 0) + row["n"]
        tasks, pilots = store.tasks_by_stage(connection), store.pilots_by_status(connection)
        moving = store.blocks_under_way(connection)
    told = [one for one in survey.incidents(ctx, limit=20 * INCIDENTS) if one.level != "info"] if incidents else []
    return Overview(
        ctx.clock(), tasks, jobs, pilots, tuple(survey.sites(ctx)), tuple(UnderWay(**row) for row in moving),
        tuple(told[:INCIDENTS]),
    )  # fmt: skip
