"""How jobs are ended before their time (limits, orders, signals, kill -9), and that nothing is left of them."""

import os
import signal
import time
from pathlib import Path

import pytest

from pilot.processes import all_processes, command_line
from tests.pilot.conftest import Grid
from tests.pilot.wire_server import WireState


def processes_of(folder: Path) -> list[int]:
    """Living processes that were started from, or work in, a folder."""
    found = []
    for process in all_processes():
        words = " ".join(command_line(process.pid))
        try:
            where = Path(f"/proc/{process.pid}/cwd").readlink()
        except OSError:
            continue
        if process.state != "Z" and (str(folder) in words or where.is_relative_to(folder)):
            found.append(process.pid)
    return found


def wait_until_gone(folder: Path) -> None:
    """Processes that were killed need a moment of the kernel's time."""
    give_up = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert processes_of(folder) == []


def running(state: WireState) -> bool:
    return any(update["job_status"] == "running" for update in state.updates)


@pytest.mark.parametrize(
    ("payload", "limits", "options", "code", "words"),
    [
        ("hang", {"maxWalltime": 1}, (), 1213, "allowed are 1 s"),
        ("fill", {"maxDiskCount": 8}, (), 1104, "allowed are 8 MB"),
        ("eat", {"minRamCount": 20}, (), 1235, "allowed are 40 MB"),
        ("chatter", {}, ("--max-stdout", "3"), 1106, "allowed are 3 MB"),
        ("hang", {"heartbeat": 0.1}, ("--looping-after", "0.5"), 1150, "touched no file"),
        ("hang", {}, ("--min-free", "999999999"), 1098, "are kept free"),
    ],
)
def test_a_limit_ends_the_job(
    grid: Grid, payload: str, limits: dict[str, float], options: tuple[str, ...], code: int, words: str
) -> None:
    grid.job(payload, "", "out", **limits)
    grid.pilot(*options)
    final = grid.final(100)
    assert (final["job_status"], final["pilot_error_code"]) == ("failed", code)
    assert words in final["pilot_error_diag"]
    assert list(final["files"]) == ["job.100.log.tgz"]
    assert processes_of(grid.folder) == []


def test_what_a_payload_leaves_running_ends_with_it(grid: Grid) -> None:
    grid.job("daemon", "out", "out")
    grid.pilot()
    assert grid.final(100)["job_status"] == "finished"
    assert processes_of(grid.folder) == []


def test_the_server_may_kill_a_running_job(grid: Grid) -> None:
    grid.job("hang", heartbeat=0.1)
    pilot = grid.start()
    grid.server.wait_for(running)
    grid.server.state.commands[100] = "tobekilled"
    _, log = pilot.communicate(timeout=30)
    assert grid.final(100)["pilot_error_code"] == 1144, log
    assert processes_of(grid.folder) == []


def test_the_server_may_look_into_the_folder_of_a_running_job(grid: Grid) -> None:
    grid.job("hang", heartbeat=0.1)
    pilot = grid.start()
    grid.server.wait_for(running)
    grid.server.state.commands[100] = "ls -d work"
    grid.server.wait_for(lambda state: any(one.get("stdout") == "work\n" for one in state.updates))
    grid.server.state.commands[100] = "tobekilled"
    pilot.communicate(timeout=30)
    assert grid.final(100)["pilot_error_code"] == 1144


def test_a_job_that_is_not_wanted_any_more_is_not_run(grid: Grid) -> None:
    grid.server.state.commands[100] = "tobekilled"
    grid.job("make", "out", "out")
    grid.pilot()
    assert [update["job_status"] for update in grid.server.state.updates] == ["starting"]
    assert not grid.path("mc", "out").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1201), (signal.SIGINT, 1208), (signal.SIGUSR1, 1207)])
def test_a_signal_ends_pilot_and_job_and_is_reported(grid: Grid, number: int, code: int) -> None:
    grid.job("hang")
    grid.job("make", "never", "never")
    pilot = grid.start()
    grid.server.wait_for(running)
    pilot.send_signal(number)
    _, log = pilot.communicate(timeout=30)
    assert pilot.returncode == 0, log
    assert grid.final(100)["pilot_error_code"] == code
    assert len(grid.server.state.jobs) == 1, "no other job is asked for"
    assert processes_of(grid.folder) == []


def test_an_idle_pilot_obeys_a_signal_at_once(grid: Grid) -> None:
    grid.server.state.retry_after = 100
    pilot = grid.start("--patience", "1000")
    grid.server.wait_for(lambda state: state.asks)
    pilot.terminate()
    pilot.communicate(timeout=20)
    assert pilot.returncode == 0
    assert grid.server.state.asks[0]["wait_time"] == 55, "one request a minute"


def test_kill_9_of_the_pilot_leaves_no_payload_and_the_next_pilot_reports_it(grid: Grid) -> None:
    grid.job("hang")
    pilot = grid.start()
    grid.server.wait_for(running)
    stray = grid.workdir / "jobs" / "100-1" / "work" / "stray"
    give_up = time.monotonic() + 20
    while not stray.exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    pilot.kill()
    pilot.communicate(timeout=10)
    wait_until_gone(grid.folder)

    grid.pilot()
    (final,) = grid.server.finals(100)
    assert (final["job_status"], final["pilot_error_code"], final["lease"]) == ("failed", 1200, 5)
    assert not list((grid.workdir / "jobs").iterdir())


def test_kill_9_of_the_guard_fails_the_job_and_leaves_nothing(grid: Grid) -> None:
    grid.job("hang")
    pilot = grid.start()
    grid.server.wait_for(running)
    stray = grid.workdir / "jobs" / "100-1" / "work" / "stray"
    give_up = time.monotonic() + 20
    while not stray.exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    (guard,) = [p.pid for p in all_processes() if p.parent == pilot.pid]
    os.kill(guard, signal.SIGKILL)
    _, log = pilot.communicate(timeout=30)
    assert grid.final(100)["pilot_error_code"] == 1200, log
    wait_until_gone(grid.folder)


def test_a_job_goes_on_while_the_server_is_away_and_gives_up_in_the_end(grid: Grid) -> None:
    grid.job("hang", heartbeat=0.1)
    away = {"now": False}
    grid.server.state.away = lambda _path, body: away["now"] and body.get("job_status") == "running"
    pilot = grid.start("--lost-after", "1")
    grid.server.wait_for(running)
    away["now"] = True
    _, log = pilot.communicate(timeout=30)
    final = grid.final(100)
    assert final["pilot_error_code"] == 1318, log
    assert "since the last accepted one" in log
