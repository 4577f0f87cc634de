"""Each asynchronous call answers before its work is done, and its work survives a kill -9 right after the answer.

Nothing works anything off while the API runs, so whatever the answer waited for would be visible in the rows.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from panda.domain.names import file_path
from panda.services import control, read, upkeep
from panda.services.context import Context
from panda.store import schema
from panda_api.app import build
from panda_api.context import ASYNCHRONOUS
from panda_api.security import every_route
from tests.api.conftest import load_grid
from tests.api.openapi import an_app
from tests.api.requests_of import a_task_form, an_ask
from tests.support.api_process import api_process
from tests.support.builders import a_context
from tests.support.serving import Caller, serving
from tests.support.telling import tell

V1 = "/api/v1"
CONTENT = b"events"


@dataclass(frozen=True)
class World:
    """What a case starts from: a running task of three jobs, the first of them in a pilot's hand."""

    ctx: Context
    task_id: int
    job: dict[str, Any]

    def counts(self, task_id: int | None = None) -> dict[str, int]:
        """Jobs by state."""
        return read.counts(self.ctx, task_id or self.task_id)

    def orders(self) -> list[str]:
        """Kinds of the orders that are not carried out."""
        with self.ctx.engine.connect() as connection:
            open_ones = select(schema.pending_action.c.kind).where(schema.pending_action.c.done_at.is_(None))
            return list(connection.scalars(open_ones))

    def is_due(self, task_id: int | None = None) -> bool:
        """Whether the task's story is due."""
        return (task_id or self.task_id) in upkeep.due_tasks(self.ctx)

    def ready_priorities(self) -> set[int]:
        """Priorities of the jobs in the pilots' reach."""
        with self.ctx.engine.connect() as connection:
            return set(connection.scalars(select(schema.ready.c.priority)))


@pytest.fixture
def world(engine: Engine, database: str, tmp_path: Path) -> World:
    """The world of a case."""
    ctx = a_context(engine, tmp_path, database_url=database)
    load_grid(ctx, tmp_path)
    with serving(build(ctx)) as address:
        caller = Caller(address)
        for queue in ("ALPHA", "BETA"):
            caller.post(f"{V1}/pilot/acquire_jobs", an_ask(queue))
        answer = caller.post(f"{V1}/task/submit", {"request": a_task_form(site="ALPHA", n_jobs=3)}).json()
        tell(ctx, answer["data"])
        (job,) = caller.post(f"{V1}/pilot/acquire_jobs", an_ask()).json()["data"]["jobs"]
    upkeep.fold_and_wake(ctx)
    engine.dispose()
    return World(ctx, answer["data"], job)


def final_report(world: World) -> dict[str, Any]:
    """The final update of the job in hand, its outputs lying where it says."""
    job, report = world.job, {}
    scopes = dict.fromkeys(job["outFiles"].split(","), "mc")
    for lfn in scopes:
        path = world.ctx.settings.data_dir / "storage" / "ALPHA_DATADISK" / file_path("mc", lfn)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
        report[lfn] = {"guid": "", "fsize": len(CONTENT), "adler32": f"{zlib.adler32(CONTENT):08x}",
                       "endpoint": "ALPHA_DATADISK"}  # fmt: skip
    return {
        "job_id": job["PandaID"],
        "attempt_nr": job["attemptNr"],
        "lease": job["lease"],
        "job_status": "finished",
        "job_output_report": report,
    }


def legacy_report(world: World) -> dict[str, Any]:
    """The same in the words of a stock pilot."""
    report = final_report(world)
    xml = json.dumps(report["job_output_report"])
    return {"jobId": str(report["job_id"]), "attemptNr": report["attempt_nr"], "state": "finished", "xml": xml}


@dataclass(frozen=True)
class Case:
    """A call: its body, what is true at the answer (recorded, not done), and what is true when it was worked off."""

    body: Callable[[World], dict[str, Any]]
    recorded: Callable[[World, Any], bool]
    done: Callable[[World, Any], bool]
    before: Callable[[Caller, World], object] = lambda _caller, _world: None


def work_off(world: World) -> None:
    """What conductor or Bamboo do, until nothing is left: every duty, then every due story."""
    for _ in range(4):
        upkeep.round_once(world.ctx)
        for task_id in upkeep.due_tasks(world.ctx):
            tell(world.ctx, task_id)


def a_failed_task(_caller: Caller, world: World) -> None:
    """One job fails for good."""
    with world.ctx.engine.begin() as connection:
        connection.execute(schema.production_task.update().values(max_attempts=1))
    failed = final_report(world) | {"job_status": "failed", "trans_exit_code": 3, "job_output_report": ""}
    assert _caller.post(f"{V1}/pilot/update_job", failed).json()["success"]
    upkeep.round_once(world.ctx)
    assert world.counts()["failed"] == 1


def paused(caller: Caller, world: World) -> None:
    """The task is held, and its jobs are out of reach."""
    caller.post(f"{V1}/task/pause", {"task_id": world.task_id})
    while world.orders():
        with world.ctx.engine.begin() as connection:
            connection.execute(schema.pending_action.update().values(repeat_at=schema.NOW))
        control.work_off(world.ctx)
    assert not world.ready_priorities()


def of_task(world: World) -> dict[str, Any]:
    return {"task_id": world.task_id}


NEW = a_task_form("mc.t2", n_jobs=2)
RUNS = {"activated": 2, "sent": 1}

CASES: dict[str, Case] = {
    "task/submit": Case(
        body=lambda _world: {"request": NEW},
        recorded=lambda world, data: world.is_due(data) and world.counts(data) == {},
        done=lambda world, data: world.counts(data) == {"activated": 2},
    ),
    "job/submit": Case(
        body=lambda _world: {"request": NEW, "jobs": [{"parameters": "a"}, {"parameters": "b"}]},
        recorded=lambda world, data: (
            world.is_due(data["jediTaskID"]) and "activated" not in world.counts(data["jediTaskID"])
        ),
        done=lambda world, data: world.counts(data["jediTaskID"]) == {"activated": 2},
    ),
    "job/reassign": Case(
        body=lambda world: {"job_ids": read.job_ids(world.ctx, world.task_id)},
        recorded=lambda world, data: (
            sorted(data) == [False, True, True] and world.counts() == {"defined": 2, "sent": 1} and world.is_due()
        ),
        done=lambda world, _data: world.counts() == {"activated": 2, "sent": 1},
    ),
    "job/kill": Case(
        body=lambda world: {"job_ids": [world.job["PandaID"]]},
        recorded=lambda world, data: data == [True] and world.counts() == RUNS,
        done=lambda world, _data: read.job(world.ctx, world.job["PandaID"]).command == "tobekilled",
    ),
    "task/kill": Case(
        body=of_task,
        recorded=lambda world, _data: world.orders() == ["abort"] and world.counts() == RUNS,
        done=lambda world, _data: (
            world.counts() == {"cancelled": 2, "sent": 1}
            and read.job(world.ctx, world.job["PandaID"]).command == "tobekilled"
        ),
    ),
    "task/finish": Case(
        body=of_task,
        recorded=lambda world, _data: world.orders() == ["finish"] and world.counts() == RUNS,
        done=lambda world, _data: world.counts() == {"cancelled": 2, "sent": 1},
    ),
    "task/retry": Case(
        before=a_failed_task,
        body=of_task,
        recorded=lambda world, _data: world.is_due() and world.counts() == {"activated": 2, "defined": 1, "failed": 1},
        done=lambda world, _data: world.counts() == {"activated": 3, "failed": 1},
    ),
    "task/reload_input": Case(
        before=a_failed_task,
        body=of_task,
        recorded=lambda world, _data: world.is_due() and world.counts() == {"activated": 2, "defined": 1, "failed": 1},
        done=lambda world, _data: world.counts() == {"activated": 3, "failed": 1},
    ),
    "task/pause": Case(
        body=of_task,
        recorded=lambda world, _data: world.orders() == ["hold"] and bool(world.ready_priorities()),
        done=lambda world, _data: not world.ready_priorities(),
    ),
    "task/resume": Case(
        before=paused,
        body=of_task,
        recorded=lambda world, _data: world.orders() == ["resume"] and not world.ready_priorities(),
        done=lambda world, _data: world.ready_priorities() == {500},
    ),
    "task/change_priority": Case(
        body=lambda world: of_task(world) | {"priority": 900},
        recorded=lambda world, _data: world.orders() == ["priority"] and world.ready_priorities() == {500},
        done=lambda world, _data: world.ready_priorities() == {900},
    ),
    "site/set_status": Case(
        body=lambda _world: {"site": "ALPHA", "status": "offline", "comment": "power"},
        recorded=lambda world, _data: world.orders() == ["site_off"] and world.counts() == RUNS,
        done=lambda world, _data: not [one for one in read.bunches_of(world.ctx, world.task_id) if one.site == "ALPHA"],
    ),
    "pilot/update_job": Case(
        body=final_report,
        recorded=lambda world, _data: world.counts() == {"activated": 2, "holding": 1},
        done=lambda world, _data: world.counts() == {"activated": 2, "finished": 1},
    ),
    "/server/panda/updateJob": Case(
        body=legacy_report,
        recorded=lambda world, _data: world.counts() == {"activated": 2, "holding": 1},
        done=lambda world, _data: world.counts() == {"activated": 2, "finished": 1},
    ),
    "/server/panda/updateJobsInBulk": Case(
        body=lambda world: {"jobList": [legacy_report(world)]},
        recorded=lambda world, _data: world.counts() == {"activated": 2, "holding": 1},
        done=lambda world, _data: world.counts() == {"activated": 2, "finished": 1},
    ),
    "pilot/update_jobs_bulk": Case(
        body=lambda world: {"job_list": [final_report(world)]},
        recorded=lambda world, _data: world.counts() == {"activated": 2, "holding": 1},
        done=lambda world, _data: world.counts() == {"activated": 2, "finished": 1},
    ),
}


@pytest.mark.parametrize("call", CASES)
def test_the_answer_comes_first_and_the_work_survives(world: World, call: str) -> None:
    case = CASES[call]
    with api_process(world.ctx.settings) as api:
        case.before(api.caller, world)
        path = call if call.startswith("/") else f"{V1}/{call}"
        told = api.caller.post(path, case.body(world)).json()
        api.kill()
    answer = {"success": told[0]} if isinstance(told, list) else told
    assert answer.get("success") or answer.get("StatusCode") == 0, answer
    assert case.recorded(world, answer.get("data"))
    work_off(world)
    assert case.done(world, answer.get("data"))


def test_every_asynchronous_call_is_tried() -> None:
    extras = {getattr(one, "path", ""): getattr(one, "openapi_extra", None) for one in every_route(an_app().routes)}
    marked = {path for path, extra in extras.items() if ASYNCHRONOUS.items() <= (extra or {}).items()}
    assert {path.removeprefix(f"{V1}/") for path in marked} == set(CASES)
