"""Nothing is lost when anything is killed: each process once with -9, at a phase the test names."""

import pytest

from panda.proddb.submit import add_task
from panda.services import read, review
from tests.support.system import System, running_system
from tests.support.trivial import a_joining, a_making, sums_in_catalogue, sums_of_joining, sums_of_making

LIMIT_S = 420.0
N_MAKING, PER_JOINING = 16, 4


def _kill_part(system: System, name: str, phase: str) -> None:
    """Kill a part of `panda up` and wait until the supervisor has started it anew."""
    before = system.pid(name)
    system.kill(before)

    def again() -> bool:
        try:
            return system.pid(name) not in {before, 0}
        except KeyError:
            return False

    system.until(again, 120, f"{name}, killed while {phase}, to be started again")


def _kill_a_pilot_with_a_job(system: System) -> None:
    busy = system.until(lambda: [pid for pid, jobs in system.pilots().items() if jobs], LIMIT_S, "a pilot with a job")
    system.kill(busy[0])


def _jobs(system: System, task_id: int, *states: str) -> int:
    return sum(read.counts(system.ctx, task_id).get(one, 0) for one in states)


@pytest.mark.e2e
@pytest.mark.slow
def test_every_process_is_killed_once_and_every_ordinal_is_there_once_with_its_content() -> None:
    with running_system() as system:
        making = a_making("made", N_MAKING, "--work 3", max_attempts=10)
        parent = add_task(system.proddb, making)
        joining = a_joining("joined", making, PER_JOINING, max_attempts=10)
        taskids = [parent, add_task(system.proddb, joining, parent=parent)]

        _kill_part(system, "worker", "Bamboo is about to be called")
        system.trigger_bamboo()
        tasks = system.until(
            lambda: found if len(found := system.panda_ids(taskids)) == 2 else None, LIMIT_S, "Bamboo to take the tasks"
        )
        made, joined = tasks
        system.until(lambda: _jobs(system, made, "running"), LIMIT_S, "the first job to run")
        _kill_a_pilot_with_a_job(system)
        _kill_part(system, "api", "pilots run payloads and report")
        _kill_part(system, "conductor", "reports are being collected")
        system.until(lambda: _jobs(system, made, "finished", "transferring"), LIMIT_S, "the first outputs to come")
        _kill_part(system, "agent", "outputs move to the tier 1")
        _kill_part(system, "factory", "half of the jobs wait for pilots")
        _kill_part(system, "prefect", "the story of the first task goes on")
        system.kill(system.pid("database"))  # while jobs run, files move and stories are told
        system.until(lambda: _answers(system), 180, "the database to answer again")
        system.until(lambda: _jobs(system, made, "finished") >= N_MAKING // 2, LIMIT_S, "half of the jobs to finish")
        system.kill(system.pid("supervisor"))
        system.start()

        assert system.wait_for_ends(tasks, LIMIT_S) == ["done", "done"]

        assert sums_in_catalogue(system.ctx, made) == list(sums_of_making(N_MAKING).items())
        assert sums_in_catalogue(system.ctx, joined) == list(sums_of_joining(N_MAKING, PER_JOINING).items())
        assert review.verify(system.ctx, tasks).problems == ()


def _answers(system: System) -> bool:
    from sqlalchemy.exc import OperationalError

    try:
        with system.ctx.engine.connect() as connection:
            return bool(connection.exec_driver_sql("SELECT 1").scalar())
    except OperationalError:
        return False
