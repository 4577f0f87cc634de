"""Which chapters of a task's story have something to tell now; the others need not be opened at all."""

from dataclasses import dataclass

from panda.domain.lease import Lease
from panda.domain.states import FINAL_TASK, TaskStage
from panda.services.complete import still_live
from panda.services.context import Context
from panda.store import chapters as store


@dataclass(frozen=True, slots=True)
class Chapters:
    """What a task lacks: a cloud, jobs, sites for bunches, inputs at sites; `live` says which jobs are not final yet.

    Nothing lacking and nothing live means that the task can end.
    """

    cloud: bool
    jobs: bool
    sites: bool
    inputs: bool
    live: str | None


def look(ctx: Context, lease: Lease) -> Chapters:
    """Look at a task as it is at this moment; changes nothing. Raises NotFound."""
    with ctx.engine.begin() as connection:
        row = store.open_ends(connection, lease.task_id)
        stage = TaskStage(row["stage"])
        return Chapters(
            cloud=stage is TaskStage.REGISTERED,
            jobs=stage in {TaskStage.REGISTERED, TaskStage.ASSIGNED},
            sites=row["homeless"],
            inputs=row["unstaged"],
            live=None if stage in FINAL_TASK else still_live(connection, lease.task_id, stage),
        )
