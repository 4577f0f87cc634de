"""Owns a whole system for end-to-end tests: a real `panda up` with all its processes, in a folder of its own.

Its settings make it quick and its limits short, so that a test sees in seconds what takes hours on a grid. Whatever
happens, nothing of it runs after the context; what a failed test needs to be understood is printed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from panda import wiring
from panda.cli.orders import order_run
from panda.cli.ports import free_port
from panda.cli.runs import RunFile, end_all, left_behind
from panda.cli.up import PART_NAMES
from panda.domain.states import FINAL_TASK
from panda.domain.views.work import TaskView
from panda.embedded import EmbeddedCluster
from panda.proddb import engine as proddb
from panda.services import read
from panda.services.context import Context
from panda.settings import Settings, load

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "tests" / "e2e" / "grids" / "small.yaml"
LOOK_S = 0.2
UP_LIMIT_S = 180.0
LOG_LINES = 15

# A pilot that is killed is missed after seconds, and nothing is looked at less often than every few seconds.
QUICK: Mapping[str, str] = {
    "PANDA_PILOT__RETRY_AFTER_S": "1",
    "PANDA_PILOT__HEARTBEAT_S": "3",
    "PANDA_CONDUCTOR__SWEEP_INTERVAL_S": "3",
    "PANDA_CONDUCTOR__WATCH_INTERVAL_S": "2",
    "PANDA_CONDUCTOR__FEED_INTERVAL_S": "2",
    "PANDA_CONDUCTOR__PROGRESS_INTERVAL_S": "5",
    "PANDA_CONDUCTOR__LEASE_S": "10",
    "PANDA_WATCHER__SENT_S": "15",
    "PANDA_WATCHER__STARTING_S": "15",
    "PANDA_WATCHER__RUNNING_S": "15",
    "PANDA_DDM__BACKOFF_S": "0.5",
    "PANDA_DDM__STUCK_RETRY_S": "5",
    "PANDA_FACTORY__STOP_GRACE_S": "2",
}

Found = TypeVar("Found")


@dataclass(slots=True)
class System:
    """A system that runs, as a test sees it: its addresses, its database, its processes."""

    data: Path
    environment: Mapping[str, str]
    settings: Settings
    without: frozenset[str]
    ctx: Context = field(init=False)
    proddb: Engine = field(init=False)
    lines: list[str] = field(default_factory=list)
    _up: "subprocess.Popen[str]" = field(init=False)
    _reader: threading.Thread = field(init=False)

    @property
    def api_url(self) -> str:
        """Address of the dispatch API."""
        return self.settings.api_url

    # --- life -------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start `panda up` and return when every part is up; after a kill it is started again in the same folder."""
        leave_out = [word for name in sorted(self.without) for word in ("--without", name)]
        self.lines.clear()
        self._up = subprocess.Popen(
            [sys.executable, "-m", "panda.cli", "up", *leave_out],
            env=dict(self.environment), cwd=self.data, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, name="panda up", daemon=True)
        self._reader.start()
        known = {"deployments"} if (self.data / "stamps" / "deployments").exists() else set()
        wanted = set(PART_NAMES) - self.without - known
        self.until(lambda: wanted <= self._came_up(), UP_LIMIT_S, f"{', '.join(sorted(wanted))} to be up")

    def connect(self) -> None:
        """Connect to the database, and to ProdDB."""
        self.ctx = wiring.connect(self.settings, application="panda-test", pool_size=3)
        self.proddb = proddb.connect(self.settings)

    def stop(self) -> None:
        """End everything: asked first, then by pid."""
        if hasattr(self, "ctx"):
            self.ctx.close()
            self.proddb.dispose()
        if hasattr(self, "_up"):
            if self._up.poll() is None:
                self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(60)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
            self._reader.join(10)
        end_all(left_behind(self.data, RunFile(self.data).traces()))
        orphan = EmbeddedCluster(self.data / "postgres").address()
        if orphan is not None:
            end_all([psutil.Process(orphan.pid)])

    def _read(self) -> None:
        assert self._up.stdout is not None
        for line in self._up.stdout:
            self.lines.append(line)

    def _came_up(self) -> set[str]:
        if self._up.poll() is not None:
            raise AssertionError(f"panda up ended with {self._up.returncode}: {''.join(self.lines)}")
        words = [line.split(maxsplit=4) for line in list(self.lines)]
        return {one[2] for one in words if one[3:4] in (["up"], ["done"])}

    # --- processes --------------------------------------------------------------------------------------------------
    def pid(self, name: str) -> int:
        """The process of a part now, of `database`, or of the supervisor; raises KeyError if it does not run."""
        if name == "supervisor":
            return self._up.pid
        if name == "database":
            address = EmbeddedCluster(self.data / "postgres").address()
            if address is None:
                raise KeyError(name)
            return address.pid
        return {one.name: one.pid for one in RunFile(self.data).traces()}[name]

    def pilots(self) -> dict[int, tuple[int, ...]]:
        """The pilots of this folder that run now: pid -> the jobs in its hand."""
        with self.ctx.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT batch_id, job_id FROM in_hand").all()
        hands: dict[int, list[int]] = {}
        for batch_id, job_id in rows:
            hands.setdefault(int(str(batch_id).split(".")[0]), []).append(job_id)
        return {pid: tuple(hands.get(pid, ())) for pid in self._pilot_pids()}

    def _pilot_pids(self) -> Iterator[int]:
        for process in left_behind(self.data):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[1:3] == ["-m", "pilot"]:
                    yield process.pid

    def kill(self, pid: int) -> None:
        """End a process of this folder as the kernel does when memory is short; returns when it is gone."""
        process = psutil.Process(pid)
        process.kill()
        if pid == self._up.pid:
            self._up.wait()
            self._reader.join(10)
        else:
            gone_or_zombie = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            self.until(lambda: not process.is_running() or process.status() in gone_or_zombie, 30, f"{pid} to be gone")

    # --- work -------------------------------------------------------------------------------------------------------
    def trigger_bamboo(self) -> str:
        """Have Bamboo's deployment run now; returns the flow run's id."""
        return order_run(self.settings.prefect_api_url, "bamboo/bamboo")

    def panda_ids(self, taskids: Sequence[int]) -> list[int]:
        """The production tasks that Bamboo made of tasks of ProdDB, in the same order; those not taken are left out."""
        by_taskid = {one.proddb_task: one.id for one in read.tasks(self.ctx)}
        return [by_taskid[one] for one in taskids if one in by_taskid]

    def wait_for_ends(self, tasks: Iterable[int], limit_s: float) -> list[str]:
        """Return the stages of production tasks when all have ended."""
        wanted = list(tasks)

        def ended() -> list[TaskView] | None:
            views = [read.task(self.ctx, one) for one in wanted]
            return views if all(one.stage in FINAL_TASK for one in views) else None

        return [one.stage.value for one in self.until(ended, limit_s, f"tasks {wanted} to end")]

    def until(self, condition: Callable[[], Found | None], limit_s: float, what: str) -> Found:
        """Look again and again until a condition gives something true; AssertionError says what did not come.

        A database that is away for a while (it may be killed and started again) is waited for.
        """
        end = time.monotonic() + limit_s
        while True:
            with contextlib.suppress(OperationalError):
                if found := condition():
                    return found
            if time.monotonic() > end:
                raise AssertionError(f"waited {limit_s:.0f} s in vain for {what}")
            time.sleep(LOOK_S)

    def story(self) -> str:
        """What one needs to know after a failure: what `panda up` said, the tasks, and the end of every log."""
        parts = ["--- panda up", *(line.rstrip() for line in self.lines[-40:])]
        with contextlib.suppress(Exception):
            parts += [
                "--- tasks",
                *(f"{one.id} {one.stage} {one.waits_for} {one.jobs}" for one in read.tasks(self.ctx)),
            ]
        for log in sorted(self.settings.logs.glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            parts += [f"--- {log.name}", *lines[-LOG_LINES:]]
        return "\n".join(parts)


@contextlib.contextmanager
def running_system(
    *, without: Iterable[str] = (), grid: Path = SMALL, settings: Mapping[str, str] | None = None
) -> Iterator[System]:
    """A whole system on free ports in a temporary folder, less the parts in `without`; nothing is left afterwards.

    `settings` are variables on top of QUICK. Raises AssertionError if it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True) as folder:
        data = Path(folder)
        chosen = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PANDA_", "PREFECT_"))},
            **QUICK,
            "PANDA_DATA_DIR": folder,
            "PANDA_GRID_FILE": str(grid),
            "PANDA_API_PORT": str(free_port("127.0.0.1")),
            "PANDA_PREFECT_PORT": str(free_port("127.0.0.1")),
            "PYTHONPATH": str(ROOT),
            **(settings or {}),
        }
        system = System(data, chosen, _settings_of(chosen), frozenset(without))
        try:
            system.start()
            system.connect()
            yield system
        except BaseException:
            print(system.story())
            raise
        finally:
            system.stop()
            assert left_behind(data) == []


def _settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that processes with this environment have."""
    known = {name for name in environment if name.startswith("PANDA_")}
    before = {name: os.environ.get(name) for name in known}
    os.environ.update({name: environment[name] for name in known})
    try:
        return load()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
