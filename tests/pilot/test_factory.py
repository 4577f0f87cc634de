"""The factory: real pilots as real processes, supplied by demand, found again after a crash."""

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from pilot.client import Server
from pilot.factory import Factory, FactorySettings
from pilot.processes import ProcessIdentity, is_alive, send_signal
from pilot.submitters import BatchState, LocalSubmitter, PilotSpec
from pilot.workers import Worker, WorkerBook, WorkerState
from tests.pilot.conftest import Grid

QUICK = "--patience 0.3 --check-interval 0.1 --grace 0.5"


def demand(grid: Grid, **more: Any) -> None:
    grid.server.state.demand = [
        {
            "queue": "SITE_Q",
            "site": "SITE",
            "status": "online",
            "label": "managed",
            "activated": 0,
            "running": 0,
            "pilots_submitted": 0,
            "pilots_running": 0,
            "nqueue": 0,
            "max_pilots": 4,
            "max_per_cycle": 4,
            "max_time_s": 600,
        }
        | more
    ]


def start_factory(grid: Grid, *options: str, pilot_options: str = QUICK) -> "subprocess.Popen[str]":
    folder = grid.folder / "factory"
    arguments = ["--server", grid.server.url, "--name", "fab", "--workdir", str(folder), "--cycle", "0.1"]
    return grid.run_module("pilot.factory", *arguments, "--pilot-options", pilot_options, *options)


def book(grid: Grid) -> WorkerBook:
    return WorkerBook.open(grid.folder / "factory" / "factory.json")


def end_pilots(grid: Grid) -> None:
    for worker in book(grid).workers.values():
        if worker.native_id:
            send_signal(ProcessIdentity.parse(worker.native_id), signal.SIGKILL)


def last_states(grid: Grid) -> dict[int, str]:
    return {update["workerID"]: update["status"] for update in grid.server.state.worker_updates}


def test_pilots_come_by_demand_do_the_work_and_end(grid: Grid) -> None:
    for name in ("a", "b"):
        grid.job("make", name, name)
    grid.server.state.last_worker_id = 40
    demand(grid, activated=2, max_pilots=2)
    factory = start_factory(grid)
    grid.server.wait_for(lambda state: state.worker_updates)
    demand(grid, activated=0)
    grid.server.wait_for(lambda _: last_states(grid) == {41: "finished", 42: "finished"})
    factory.terminate()
    _, log = factory.communicate(timeout=20)
    assert factory.returncode == 0, log
    assert [grid.final(n)["job_status"] for n in (100, 101)] == ["finished", "finished"]
    done = {u["workerID"]: u["pandaid_list"] for u in grid.server.state.worker_updates if u["status"] == "finished"}
    assert sorted(job for jobs in done.values() for job in jobs) == [100, 101]
    batch_ids = {u["batchID"] for u in grid.server.state.worker_updates}
    assert {update["batch_id"] for update in grid.server.state.updates} <= batch_ids
    assert {ask["worker_id"] for ask in grid.server.state.asks} == {41, 42}
    assert {ask["harvester_id"] for ask in grid.server.state.asks} == {"fab"}


def test_a_factory_killed_by_9_finds_its_pilots_again(grid: Grid) -> None:
    grid.job("hang")
    demand(grid, activated=1, max_pilots=1)
    try:
        first = start_factory(grid)
        grid.server.wait_for(lambda state: "running" in [u["job_status"] for u in state.updates])
        demand(grid, activated=0)
        grid.server.wait_for(lambda _: last_states(grid) == {1: "running"})
        first.kill()
        first.communicate(timeout=10)
        (worker,) = book(grid).workers.values()
        assert is_alive(ProcessIdentity.parse(worker.native_id)), "pilots outlive their factory"

        grid.server.state.worker_updates.clear()
        demand(grid, activated=1, max_pilots=1)
        second = start_factory(grid, "--stop-pilots-on-exit")
        asked = len(grid.server.state.headers)
        grid.server.wait_for(lambda state: len(state.headers) > asked + 10)
        assert [w.worker_id for w in book(grid).workers.values()] == [1], "no second pilot is started"
        second.terminate()
        _, log = second.communicate(timeout=30)
        assert "knows 1 living pilots" in log
        assert not is_alive(ProcessIdentity.parse(worker.native_id))
        assert grid.final(100)["pilot_error_code"] == 1201, "the pilot could report"
        assert last_states(grid) == {1: "finished"}
    finally:
        end_pilots(grid)


def test_the_factory_keeps_its_pilots_while_the_server_is_away(grid: Grid) -> None:
    demand(grid, nqueue=1)
    try:
        factory = start_factory(grid, "--stop-pilots-on-exit", pilot_options="--patience 100")
        grid.server.wait_for(lambda _: "idle" in last_states(grid).values())
        away = len(grid.server.state.headers)
        grid.server.state.away = lambda path, _body: "harvester" in path
        grid.server.wait_for(lambda state: len(state.headers) > away + 4)
        grid.server.state.away = lambda _path, _body: False
        back = len(grid.server.state.headers)
        grid.server.wait_for(lambda state: len(state.headers) > back + 10)
        factory.terminate()
        _, log = factory.communicate(timeout=30)
        assert "no cycle" in log
        assert last_states(grid) == {1: "finished"}
    finally:
        end_pilots(grid)


def test_one_workdir_is_one_factory(grid: Grid) -> None:
    first = start_factory(grid)
    grid.server.wait_for(lambda state: state.headers)
    second = start_factory(grid)
    _, log = second.communicate(timeout=20)
    assert second.returncode == 2
    assert "another factory works in" in log
    first.terminate()
    first.communicate(timeout=20)


def a_factory(grid: Grid, workdir: Path) -> Factory:
    settings = FactorySettings(server=grid.server.url, name="fab", workdir=workdir)
    return Factory(settings, Server(grid.server.url), LocalSubmitter(), WorkerBook.open(workdir / "factory.json"))


def test_a_start_that_was_never_noted_is_found_by_its_name(grid: Grid, tmp_path: Path) -> None:
    """The crash comes between writing the intention and noting the native id; one pilot was started, one was not."""
    old = WorkerBook(tmp_path / "factory.json")
    old.keep(Worker(number, "SITE_Q", WorkerState.SUBMITTING, time.time()) for number in (1, 2))
    old.save(durable=True)
    (tmp_path / "SITE_Q").mkdir()
    mark = ("--factory", "fab", "--worker-id", "1", "--workdir", str(tmp_path / "SITE_Q"))
    options = ("--server", grid.server.url, "--queue", "SITE_Q", "--patience", "100")
    submitter = LocalSubmitter()
    native_id = submitter.submit([PilotSpec(1, mark, options, tmp_path / "log")])[1]
    try:
        grid.server.wait_for(lambda state: state.asks)
        factory = a_factory(grid, tmp_path)
        factory.adopt(time.time())
        found = WorkerBook.open(tmp_path / "factory.json").workers
        assert (found[1].state, found[1].native_id) == (WorkerState.SUBMITTED, native_id)
        assert found[2].state == WorkerState.MISSED
    finally:
        submitter.cancel([native_id], force=True)
        while submitter.poll([native_id])[native_id] != BatchState.GONE:
            time.sleep(0.01)
    factory.poll(time.time())
    assert WorkerBook.open(tmp_path / "factory.json").workers[1].state == WorkerState.FAILED


def test_the_server_hears_of_living_pilots_again_and_again(grid: Grid, tmp_path: Path) -> None:
    old = WorkerBook(tmp_path / "factory.json")
    old.keep([Worker(1, "SITE_Q", WorkerState.RUNNING, 1000.0, "1.1", told=True)])
    old.keep([Worker(2, "SITE_Q", WorkerState.FAILED, 1000.0, "1.2", ended_at=1001.0, told=True)])
    old.save(durable=True)
    factory = a_factory(grid, tmp_path)
    for now in (2000.0, 2030.0, 2061.0):
        factory.report(now)
    assert [update["workerID"] for update in grid.server.state.worker_updates] == [1, 1]


class Crash(BaseException):
    """The end of the factory at a chosen place."""


class CrashingSubmitter(LocalSubmitter):
    """Starts the pilots, and that is the last thing the factory does."""

    @override
    def submit(self, specs: Sequence[PilotSpec]) -> dict[int, str]:
        super().submit(specs)
        raise Crash


def test_a_crash_right_after_the_start_neither_loses_nor_doubles_a_pilot(grid: Grid, tmp_path: Path) -> None:
    demand(grid, activated=1)
    workdir = tmp_path / "factory"
    workdir.mkdir()
    settings = FactorySettings(server=grid.server.url, name="fab", workdir=workdir, pilot_options=("--patience", "100"))
    book_file = workdir / "factory.json"
    with pytest.raises(Crash):
        Factory(settings, Server(grid.server.url), CrashingSubmitter(), WorkerBook.open(book_file)).cycle(time.time())
    try:
        grid.server.wait_for(lambda state: state.asks)
        after = a_factory(grid, workdir)
        after.adopt(time.time())
        after.cycle(time.time())
        assert [worker.worker_id for worker in WorkerBook.open(book_file).workers.values()] == [1]
        after.stop_pilots(time.sleep)
        (worker,) = WorkerBook.open(book_file).workers.values()
        assert worker.state == WorkerState.FINISHED
    finally:
        end_pilots(grid)


@pytest.mark.parametrize("lost", ["", "{", '{"last_id": 3'])
def test_a_book_that_cannot_be_read_starts_a_new_one(tmp_path: Path, lost: str) -> None:
    (tmp_path / "factory.json").write_text(lost)
    assert WorkerBook.open(tmp_path / "factory.json").workers == {}


def test_what_makes_a_black_hole(tmp_path: Path) -> None:
    now = 10_000.0
    fresh = WorkerBook(tmp_path / "book.json")

    def ended(number: int, state: WorkerState, jobs: tuple[int, ...] = (), failed: int = 0) -> Worker:
        return Worker(number, "Q", state, now - 20, ended_at=now - 15, jobs=jobs, failed=failed)

    fresh.keep(
        [
            ended(1, WorkerState.FAILED),
            ended(2, WorkerState.FINISHED, (5,), 1),
            ended(3, WorkerState.FINISHED, (5, 6), 1),
            ended(4, WorkerState.FINISHED),
            Worker(5, "Q", WorkerState.FAILED, submitted_at=now - 20, ended_at=now - 5),
            Worker(6, "Q", WorkerState.FAILED, submitted_at=0.0, ended_at=1.0),
            Worker(7, "Q", WorkerState.IDLE, submitted_at=now - 100),
            Worker(8, "Q", WorkerState.SUBMITTING, submitted_at=now - 2),
            Worker(9, "OTHER", WorkerState.RUNNING, submitted_at=now - 1),
        ]
    )
    stock = fresh.stock("Q", now)
    assert (stock.ended_recently, stock.failed_quickly) == (5, 2)
    assert (stock.pending, stock.idle, stock.busy, stock.seconds_since_submission) == (1, 1, 0, 2)
    fresh.save(durable=False)
    assert json.loads((tmp_path / "book.json").read_text())["last_id"] == 9
    assert WorkerBook.open(tmp_path / "book.json") == fresh
