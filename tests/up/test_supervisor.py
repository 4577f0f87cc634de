"""The supervisor with small commands: order, restarts, failing steps, ports, and that nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import psutil
import pytest

from panda.cli.processes import Event, Part, State, Supervisor, Wave
from panda.cli.runs import Trace, left_behind
from panda.embedded import EmbeddedCluster
from panda.errors import BadSettings, Conflict, Unavailable
from panda.settings import Settings, load

SLEEP = (sys.executable, "-c", "import time; print('sleeping', flush=True); time.sleep(600)")
PARENT = (
    *(sys.executable, "-c"),
    "import subprocess, sys; subprocess.run(['sleep', '600'], start_new_session=True, stdin=subprocess.DEVNULL)",
)
DEAF = (sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)")
LIMIT_S = 60.0


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings with a data folder of this test's own."""
    with tempfile.TemporaryDirectory(prefix="up-") as folder:
        yield load(data_dir=folder)
        assert left_behind(Path(folder)) == []


def written(path: Path) -> Part:
    """A step that notes that it ran."""
    return Part(path.name, (sys.executable, "-c", f"open({str(path)!r}, 'a').write('x')"), step=True)


def test_steps_run_before_what_needs_them_and_users_end_before_servers(settings: Settings, tmp_path: Path) -> None:
    events: list[Event] = []
    step = written(tmp_path / "step")
    parts = [
        Part("user", SLEEP, after=("server",)),
        Part("server", SLEEP, after=("step",), wave=Wave.SERVER, address="http://here"),
        step,
    ]
    with Supervisor(settings, parts, report=events.append) as running:
        running.wait_until_up(LIMIT_S)
        assert running.states() == {"user": State.UP, "server": State.UP, "step": State.DONE}
        assert (tmp_path / "step").read_text() == "x"
    order = [event.part for event in events if event.state in {State.UP, State.DONE}]
    assert order == ["step", "server", "user"]
    assert [event.part for event in events if event.state is State.STOPPED] == ["user", "server"]
    assert Event("server", State.UP, "http://here") in events


def test_a_part_that_is_killed_is_started_again(settings: Settings) -> None:
    events: Queue[Event] = Queue()
    with Supervisor(settings, [Part("one", SLEEP)], report=events.put) as running:
        running.wait_until_up(LIMIT_S)
        first = running.pids()["one"]
        os.kill(first, signal.SIGKILL)
        seen = [events.get(timeout=LIMIT_S) for _ in range(5)]
        assert [event.state for event in seen] == [
            *(State.STARTING, State.UP, State.RESTARTING, State.STARTING, State.UP)
        ]
        assert "was ended by signal 9" in seen[2].text
        assert running.pids()["one"] != first


def test_a_step_that_fails_is_tried_three_times_and_says_why(settings: Settings) -> None:
    failing = Part("tables", (sys.executable, "-c", "raise SystemExit('the tables are newer')"), step=True)
    with (
        Supervisor(settings, [failing, Part("one", SLEEP, after=("tables",))]) as running,
        pytest.raises(Unavailable, match=r"tables is failed .*the tables are newer"),
    ):
        running.wait_until_up(LIMIT_S)
    assert (settings.logs / "tables.log").read_text().count("newer") == 3
    assert not (settings.logs / "one.log").exists()


def test_a_port_that_is_taken_is_named_by_its_setting(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        part = Part("api", SLEEP, ports={"PANDA_API_PORT": port})
        with pytest.raises(BadSettings, match=f"PANDA_API_PORT={port} is taken"):
            Supervisor(settings, [part]).start()
    with Supervisor(settings, [part]):
        pass  # the folder is free again


def test_what_ignores_the_request_to_end_is_killed(settings: Settings) -> None:
    part = Part("deaf", DEAF, grace_s=0.2, says="deaf")
    part_environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    running = Supervisor(settings, [part], environment=part_environment)
    with running:
        running.wait_until_up(LIMIT_S)
        pid = running.pids()["deaf"]
    assert not psutil.pid_exists(pid)


def test_processes_that_a_part_started_in_their_own_session_end_too(settings: Settings) -> None:
    with Supervisor(settings, [Part("parent", PARENT)]) as running:
        running.wait_until_up(LIMIT_S)
        parent = psutil.Process(running.pids()["parent"])
        while not (children := parent.children()):
            os.sched_yield()
    assert not children[0].is_running()


def test_a_second_run_in_the_folder_is_refused(settings: Settings) -> None:
    with (
        Supervisor(settings, [Part("one", SLEEP)]),
        pytest.raises(Conflict, match=f"already runs in .* as process {os.getpid()}"),
    ):
        Supervisor(settings, []).start()


RUN = """
import sys
from panda.cli.processes import Part, Supervisor
from panda.embedded import EmbeddedCluster
from panda.settings import load
settings = load(data_dir=sys.argv[1])
cluster = EmbeddedCluster(settings.data_dir / "postgres", durable=False)
parts = [
    Part("database", cluster=cluster),
    Part("parent", (sys.executable, "-c", sys.argv[2]), after=("database",)),
]
running = Supervisor(settings, parts)
running.start()
running.wait_until_up(60)
print(*running.pids().values(), flush=True)
sys.stdin.read()
"""


def test_the_next_run_ends_what_a_killed_run_left_behind(settings: Settings) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", RUN, str(settings.data_dir), PARENT[2]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.stdout is not None
    orphans = [psutil.Process(int(pid)) for pid in killed.stdout.readline().split()]
    killed.kill()
    killed.communicate()
    assert len(orphans) == 2
    assert all(orphan.is_running() for orphan in orphans)
    cluster = EmbeddedCluster(settings.data_dir / "postgres", durable=False)
    events: list[Event] = []
    with Supervisor(settings, [Part("database", cluster=cluster)], report=events.append) as running:
        running.wait_until_up(LIMIT_S)
        assert not [orphan for orphan in orphans if orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE]
    assert "that a killed run had left behind" in events[0].text


def test_a_process_that_got_the_pid_of_an_old_one_is_not_ours(settings: Settings) -> None:
    with subprocess.Popen(["sleep", "600"]) as innocent:
        started = psutil.Process(innocent.pid).create_time()
        assert left_behind(settings.data_dir, [Trace("one", innocent.pid, started - 100)]) == []
        assert [one.pid for one in left_behind(settings.data_dir, [Trace("one", innocent.pid, started)])] == [
            innocent.pid
        ]
        innocent.kill()


def test_the_database_is_recovered_when_it_is_killed(settings: Settings) -> None:
    cluster = EmbeddedCluster(settings.data_dir / "postgres", durable=False)
    events: Queue[Event] = Queue()
    with Supervisor(settings, [Part("database", cluster=cluster, wave=Wave.DATABASE)], report=events.put) as running:
        running.wait_until_up(LIMIT_S)
        first = running.pids()["database"]
        os.kill(first, signal.SIGKILL)
        states = [events.get(timeout=LIMIT_S).state for _ in range(5)]
        assert states[-1] is State.UP
        assert running.pids()["database"] != first
    assert cluster.address() is None
