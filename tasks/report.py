"""What people see in the Prefect UI of a production task: its progress, its brokerage, what it waits for."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from panda.errors import PandaError
from panda.services import narrate
from tasks.world import world


@task(name="report", cache_policy=NO_CACHE)
def report(task_id: int, waits_for: str | None, *, whole: bool = True) -> None:
    """Write the artifacts of a task: its progress and, if `whole`, its jobs by state and the page that says why."""
    try:
        told = narrate.narrate(world(), task_id)
    except PandaError as error:
        get_run_logger().warning("no report: %s", error)
        return
    create_progress_artifact(
        progress=told.percent, key=f"task-{task_id}-progress", description=f"{told.name}: {told.words}"
    )
    if not whole:
        return
    if told.table:
        create_table_artifact(table=told.table, key=f"task-{task_id}-jobs", description=f"Jobs of {told.name} by state")
    if told.brokerage:
        create_table_artifact(
            table=told.brokerage,
            key=f"task-{task_id}-brokerage",
            description=f"Candidates of the last brokerage of {told.name}: what was chosen, what was refused and why",
        )
    create_markdown_artifact(
        markdown=told.markdown(waits_for),
        key=f"task-{task_id}",
        description=f"Where {told.name} stands, and why its jobs are where they are",
    )
