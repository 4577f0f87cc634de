"""Steps of a production task's story: each is one service call and one log line, and may run again at any time."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from panda.domain.lease import Lease
from panda.services import assign, chapters, complete, place, prepare, stage
from tasks.world import world


def look(lease: Lease) -> chapters.Chapters:
    """Which steps have something to do now? No step itself: a step costs Prefect more than this look costs us."""
    return chapters.look(world(), lease)


@task(name="assign cloud", retries=2, retry_delay_seconds=1, cache_policy=NO_CACHE)
def assign_cloud(lease: Lease) -> assign.Assigned:
    """Choose the task's cloud once (domain.md 2.1) and make its output datasets."""
    result = assign.assign(world(), lease)
    get_run_logger().info("cloud: %s", result.cloud or result.waits_for)
    return result


@task(name="expand", retries=2, retry_delay_seconds=1, cache_policy=NO_CACHE)
def expand(lease: Lease) -> prepare.Expanded:
    """Make the task's jobs and bunches, chunk by chunk."""
    result = prepare.expand(world(), lease)
    get_run_logger().info("%d jobs made; %s", result.jobs, result.failed or result.waits_for or "all there")
    return result


@task(name="place", retries=2, retry_delay_seconds=1, cache_policy=NO_CACHE)
def place_bunches(lease: Lease) -> place.PlacedBunches:
    """Give bunches their sites (domain.md 2.2), up to the sites' windows."""
    result = place.place(world(), lease)
    get_run_logger().info("%d bunches placed, %d wait, %d cannot", result.placed, result.waiting, result.impossible)
    return result


@task(name="stage", retries=2, retry_delay_seconds=1, cache_policy=NO_CACHE)
def stage_inputs(lease: Lease) -> stage.Staged:
    """Ask the DDM for the dispatch blocks of what the sites lack; activate what is local."""
    result = stage.stage(world(), lease)
    get_run_logger().info(
        "%d bunches, %d blocks asked for, %d activated at once", result.bunches, result.blocks, result.activated
    )
    return result


@task(name="complete", retries=2, retry_delay_seconds=1, cache_policy=NO_CACHE)
def complete_task(lease: Lease) -> complete.Completed:
    """Close the datasets and end the task if nothing is live any more."""
    result = complete.complete(world(), lease)
    get_run_logger().info("end: %s", result.stage or result.waits_for)
    return result
