"""kill -9 of each process of `panda up`, in the phase where it hurts: every ordinal is there once, as without kills.

One system lives through all kills. Each test runs a campaign of 20 jobs (15 that make, 5 that join what those made),
kills one process in its phase, and compares what the closed datasets hold with what the payload has to write.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import requests
from sqlalchemy import text

from panda.embedded import database_url
from panda.errors import Unavailable
from panda.proddb.submit import add_task
from panda.services import review
from tests.support.invariants import Reader
from tests.support.system import System, running_system
from tests.support.trivial import a_joining, a_making, sums_in_catalogue, sums_of_joining, sums_of_making

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

MADE, JOINED_OF = 15, 3
LIMIT_S = 300.0

PAYLOADS_RUN = "SELECT count(*) >= 3 FROM job WHERE task_id = ANY(:tasks) AND status = 'running'"
REPORTS_COME = "SELECT count(*) > 0 FROM job WHERE task_id = ANY(:tasks) AND status IN ('holding', 'transferring')"
STORY_IS_TOLD = "SELECT count(*) > 0 FROM production_task WHERE id = ANY(:tasks) AND lease_until > now()"
FILES_MOVE = """
    SELECT count(*) > 0 FROM job j WHERE j.task_id = ANY(:tasks) AND j.status = 'transferring'
    OR EXISTS (SELECT 1 FROM block k WHERE k.task_id = ANY(:tasks) AND k.kind = 'dis' AND k.state = 'requested')
"""


@dataclass(frozen=True, slots=True)
class Kill:
    """Which process is killed, and the phase as a question to the database (empty: Bamboo's flow run is under way)."""

    name: str
    phase: str
    question: str = ""


KILLS = (
    Kill("api", "payloads run", PAYLOADS_RUN),
    Kill("api", "reports come", REPORTS_COME),
    Kill("conductor", "a story is told", STORY_IS_TOLD),
    Kill("conductor", "reports come", REPORTS_COME),
    Kill("agent", "files move", FILES_MOVE),
    Kill("factory", "payloads run", PAYLOADS_RUN),
    Kill("pilot", "its payload runs", PAYLOADS_RUN),
    Kill("prefect", "a story is told", STORY_IS_TOLD),
    Kill("worker", "Bamboo runs"),
    Kill("database", "payloads run", PAYLOADS_RUN),
    Kill("supervisor", "payloads run", PAYLOADS_RUN),
)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One system for all kills."""
    with running_system() as made:
        yield made


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill.name}-while-{kill.phase.replace(' ', '-')}")
def test_every_ordinal_is_there_once_as_without_kills(system: System, kill: Kill) -> None:
    name = f"{kill.name}.{kill.phase.replace(' ', '_')}"
    making = a_making(f"made.{name}", MADE, "--work 2")
    joining = a_joining(f"joined.{name}", making, JOINED_OF, "--work 1")
    with Reader(database_url(system.settings)) as reader:
        parent = add_task(system.proddb, making)
        taskids = [parent, add_task(system.proddb, joining, parent=parent)]
        run = system.trigger_bamboo()
        if kill.question:
            tasks = _taken(system, taskids)
            system.until(_asked(system, kill.question, tasks), LIMIT_S, kill.phase)
        else:
            system.until(_bamboo_runs(system, run), LIMIT_S, kill.phase)
        pid = _pid_of(system, kill.name)
        system.kill(pid)
        if kill.name == "supervisor":
            system.start()
        else:
            system.until(lambda: _is_back(system, kill.name, pid), LIMIT_S, f"{kill.name} to be there again")
        tasks = _taken(system, taskids)

        assert system.wait_for_ends(tasks, LIMIT_S) == ["done", "done"]
    assert sums_in_catalogue(system.ctx, tasks[0]) == list(sums_of_making(MADE).items())
    assert sums_in_catalogue(system.ctx, tasks[1]) == list(sums_of_joining(MADE, JOINED_OF).items())
    assert review.verify(system.ctx, tasks).problems == ()
    assert reader.seen.violations == ()


def _taken(system: System, taskids: list[int]) -> list[int]:
    """Wait until Bamboo has taken the tasks; it is called again now and then, as its schedule would do it."""
    looks = 0

    def taken() -> list[int] | None:
        nonlocal looks
        looks += 1
        tasks = system.panda_ids(taskids)
        if len(tasks) < len(taskids) and looks % 100 == 0:
            _call_again(system)
        return tasks if len(tasks) == len(taskids) else None

    return system.until(taken, LIMIT_S, "Bamboo to take the tasks")


def _call_again(system: System) -> None:
    try:
        system.trigger_bamboo()
    except Unavailable:
        return  # Prefect is on its way up


def _asked(system: System, question: str, tasks: list[int]) -> Callable[[], bool]:
    def ask() -> bool:
        with system.ctx.engine.connect() as connection:
            return bool(connection.scalar(text(question), {"tasks": tasks}))

    return ask


def _bamboo_runs(system: System, run: str) -> Callable[[], bool]:
    """Ask whether a run of Bamboo is under way; one that was over before anybody looked is ordered again."""

    def ask() -> bool:
        nonlocal run
        answer = requests.get(f"{system.settings.prefect_api_url}/flow_runs/{run}", timeout=30).json()
        state = answer["state"]["type"]
        if state in {"COMPLETED", "FAILED", "CRASHED"}:
            run = system.trigger_bamboo()
        return bool(state == "RUNNING")

    return ask


def _pid_of(system: System, name: str) -> int:
    if name != "pilot":
        return system.pid(name)
    busy = [pid for pid, jobs in system.pilots().items() if jobs]
    assert busy, "no pilot has a job"
    return busy[0]


def _is_back(system: System, name: str, old: int) -> bool:
    """Tell whether the supervisor (or for a pilot the factory) has put another process in its place."""
    try:
        if name == "pilot":
            return old not in system.pilots()
        return system.pid(name) != old
    except KeyError:
        return False
