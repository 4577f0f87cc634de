"""What people see in the Prefect UI of a production task: its progress, its brokerage, what it waits for."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from panda.errors import PandaError
from panda.services import narrate
from tasks.world import world


@task(name="report", timeout_seconds=120, cache_policy=NO_CACHE)
def report(task_id: int, waits_for: str | None) -> None:
    """Write the artifacts of a task: progress, jobs by site and state, the last brokerage decision."""
    try:
        told = narrate.narrate(world(), task_id)
    except PandaError as error:
        get_run_logger().warning("no report: %s", error)
        return
    create_progress_artifact(
        progress=told.percent, key=f"task-{task_id}-progress", description=f"{told.name}: {told.words}"
    )
    if told.table:
        create_table_artifact(table=told.table, key=f"task-{task_id}-jobs", description="Jobs by site and state")
    create_markdown_artifact(
        markdown=told.markdown(waits_for),
        key=f"task-{task_id}",
        description=f"Where {told.name} stands, and why its jobs are where they are",
    )
