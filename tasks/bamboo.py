"""Bamboo's steps: one duty each, all of them repeatable (issue text: duties 1 to 5)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Engine

from panda import wiring
from panda.services import bamboo, intake, upkeep
from tasks.world import world


@lru_cache(maxsize=1)
def production_database() -> Engine:
    """Connect to ProdDB once per process."""
    return wiring.production_database(world().settings)


@contextmanager
def only_bamboo() -> Iterator[bool]:
    """Be the only Bamboo as long as the block runs; False when another one is at work."""
    with bamboo.single(world()) as alone:
        yield alone


@task(name="take work", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE)
def take_work() -> intake.Taken:
    """Duty 1: new task requests and ready job definitions become production tasks."""
    taken = intake.take_tasks(world(), production_database()) + intake.take_job_definitions(
        world(), production_database()
    )
    get_run_logger().info("%d taken, %d refused, %d wait for a parent", taken.submitted, taken.refused, taken.waiting)
    return taken


@task(name="write back", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE)
def write_back() -> bamboo.WrittenBack:
    """Duty 3: states of jobs and tasks, in the order of their changes."""
    written = bamboo.write_back(world(), production_database())
    get_run_logger().info("%d events, %d attempts and %d tasks written", written.events, written.jobs, written.tasks)
    return written


@task(name="kill TOBEABORTED", retries=2, retry_delay_seconds=2, cache_policy=NO_CACHE)
def kill_to_be_aborted() -> intake.Aborts:
    """Duty 4: what is marked TOBEABORTED ends; running jobs hear it with their next heartbeat."""
    aborts = intake.kill_to_be_aborted(world(), production_database())
    get_run_logger().info("%d tasks and %d jobs to be aborted", aborts.tasks, aborts.jobs)
    return aborts


@task(name="keep up", retries=1, retry_delay_seconds=2, cache_policy=NO_CACHE)
def keep_up() -> upkeep.Round:
    """Do once what the conductor does all the time, so that work ends without one."""
    done = upkeep.round_once(world())
    get_run_logger().info(
        "%d events folded, %d jobs finished, %d failed, %d bunches activated",
        done.events,
        done.collected.finished,
        done.collected.failed + done.failed,
        done.activated,
    )
    return done


def due_tasks(limit: int = 200) -> list[int]:
    """Which production tasks should be told further now?"""
    return upkeep.due_tasks(world(), limit)
