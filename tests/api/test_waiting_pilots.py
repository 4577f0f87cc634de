"""Our own pilot waits for work in the real server: through a kill -9 of it, until activation or a signal comes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from panda.services import read
from panda.services.context import Context
from tests.api.conftest import load_grid
from tests.api.requests_of import a_task_form, an_ask
from tests.support.api_process import ApiProcess
from tests.support.builders import a_context
from tests.support.telling import tell

ROOT = Path(__file__).parents[2]


class Place:
    """A queue whose pilots, once sent away, would come back long after the test: only who waits gets something."""

    def __init__(self, ctx: Context, folder: Path, end: ExitStack) -> None:
        self.ctx = ctx
        self._folder = folder
        self._end = end
        self.api = self.start_api(0)

    def start_api(self, port: int) -> ApiProcess:
        """A server that hears of jobs that become ready."""
        self.api = ApiProcess(self.ctx.settings.model_copy(update={"api_port": port}))
        self._end.callback(self.api.kill)
        listening = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN %%' AND datname = current_database()"
        self.until(listening, "the server to listen")
        return self.api

    def start_pilot(self) -> "subprocess.Popen[str]":
        """A pilot that has asked the server and waits for its answer."""
        words = ["--server", self.api.caller.address, "--queue", "ALPHA", "--workdir", str(self._folder / "work")]
        pilot = subprocess.Popen(
            [sys.executable, "-m", "pilot", *words, "--patience", "1000"],
            cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._end.callback(pilot.communicate)
        self._end.callback(pilot.kill)
        self.await_ask()
        return pilot

    def await_ask(self) -> None:
        """Return when a pilot has asked after the last time that this was called."""
        self.until("UPDATE pilot_activity SET last_get_job = now() - interval '1 hour'"
                   " WHERE last_get_job > now() - interval '10 min' RETURNING 1", "a pilot to ask")  # fmt: skip

    def until(self, query: str, what: str) -> None:
        """Look again and again; nothing tells a test what a process of its own does."""
        end = time.monotonic() + 30
        while True:
            with self.ctx.engine.begin() as connection:
                if connection.exec_driver_sql(query).first() is not None:
                    return
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.02)

    def activate(self) -> int:
        """Make a job ready at ALPHA; returns its task."""
        task = self.api.caller.post("/api/v1/task/submit", {"request": a_task_form(site="ALPHA")}).json()["data"]
        tell(self.ctx, task)
        return int(task)


@pytest.fixture
def place(engine: Engine, database: str, tmp_path: Path) -> Iterator[Place]:
    """A queue without pilots, and its server."""
    ctx = a_context(engine, tmp_path, database_url=database, pilot={"retry_after_s": 3600})
    load_grid(ctx, tmp_path)
    with ExitStack() as end:
        yield Place(ctx, tmp_path, end)


def test_a_waiting_pilot_outlives_its_server_and_is_woken_by_activation(place: Place) -> None:
    pilot = place.start_pilot()
    place.api.kill()
    place.start_api(urlsplit(place.api.caller.address).port or 0)
    place.await_ask()
    task = place.activate()
    place.until("SELECT 1 FROM job WHERE status IS NOT NULL", "the pilot to get the job")
    (job,) = read.jobs_of(place.ctx, task)
    assert (job.attempt, job.queue) == (1, "ALPHA")
    assert pilot.poll() is None


def test_a_waiting_pilot_obeys_a_signal_at_once_and_takes_no_job_with_it(place: Place) -> None:
    pilot = place.start_pilot()
    pilot.terminate()
    _, log = pilot.communicate(timeout=20)  # the server would answer after 55 s
    assert (pilot.returncode, "ends after 0 jobs" in log) == (0, True), log
    task = place.activate()
    said = place.api.caller.post("/api/v1/pilot/acquire_jobs", an_ask()).json()
    assert [one["taskID"] for one in said["data"]["jobs"]] == [task]


def test_a_server_that_is_told_to_end_keeps_nobody_waiting(place: Place) -> None:
    with ThreadPoolExecutor(1) as pool:
        parked = pool.submit(place.api.caller.post, "/api/v1/pilot/acquire_jobs", an_ask(wait_time=60))
        place.await_ask()
        place.api.end()  # in good order; whoever waits would hold it up for 20 s
        assert parked.result(10).json()["data"]["StatusCode"] == 20
