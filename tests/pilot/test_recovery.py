"""Job recovery: storage or server away at the end, outputs and report are kept and delivered, once, by whoever can."""

import json
from typing import Any

from pilot.workspace import Workspace
from tests.pilot.conftest import Grid


def test_the_server_is_away_at_the_end_and_a_second_pilot_delivers(grid: Grid) -> None:
    grid.server.state.away = lambda _path, body: body.get("job_status") == "finished"
    grid.job("make", "out", "out")
    grid.pilot()
    kept = grid.workdir / "recovery" / "100-1"
    assert (kept / "work" / "out").exists()
    assert not grid.server.finals(100)

    grid.server.state.away = lambda _path, _body: False
    log = grid.pilot()
    assert "job 100-1 of an earlier pilot is delivered now" in log
    final = grid.final(100)
    assert (final["job_status"], final["lease"]) == ("finished", 5)
    assert set(final["files"]) == {"out", "job.100.log.tgz"}
    assert grid.path("mc", "out").exists()
    assert not kept.exists()


def test_the_storage_is_away_the_job_is_held_and_delivered_when_it_is_back(grid: Grid) -> None:
    hidden = grid.folder / "rse-hidden"
    grid.rse.rename(hidden)
    grid.job("make", "out", "out")
    pilot = grid.start("--delivery-patience", "60")
    grid.server.wait_for(lambda state: any(u["job_status"] == "holding" for u in state.updates))
    hidden.rename(grid.rse)
    _, log = pilot.communicate(timeout=60)
    assert grid.final(100)["job_status"] == "finished", log
    held = next(u for u in grid.server.state.updates if u["job_status"] == "holding")
    assert "pilot_error_code" not in held
    assert held["lease"] == 5


def test_what_the_server_gave_up_while_it_was_held_is_thrown_away(grid: Grid) -> None:
    grid.rse.rename(grid.folder / "rse-hidden")

    def give_up(_path: str, body: dict[str, Any]) -> bool:
        if body.get("job_status") == "holding":
            grid.server.state.commands[100] = "tobekilled"
        return False

    grid.server.state.away = give_up
    grid.job("make", "out", "out")
    grid.pilot("--delivery-patience", "60")
    assert not grid.server.finals(100)
    assert not list((grid.workdir / "recovery").iterdir())


def test_a_failure_is_reported_even_if_its_log_cannot_be_stored(grid: Grid) -> None:
    grid.rse.rename(grid.folder / "rse-hidden")
    grid.job("exit3")
    grid.pilot()
    final = grid.final(100)
    assert (final["job_status"], final["files"]) == ("failed", {})


def test_of_many_pilots_one_delivers(grid: Grid) -> None:
    grid.server.state.away = lambda _path, body: body.get("job_status") == "finished"
    grid.job("make", "out", "out")
    grid.pilot()
    grid.server.state.away = lambda _path, _body: False
    pilots = [grid.start() for _ in range(4)]
    for pilot in pilots:
        pilot.communicate(timeout=30)
    assert grid.final(100)["job_status"] == "finished"


def test_a_delivery_is_left_to_its_living_owner_and_to_its_queue(grid: Grid) -> None:
    grid.server.state.away = lambda _path, body: body.get("job_status") == "finished"
    grid.job("make", "out", "out")
    grid.pilot()
    grid.server.state.away = lambda _path, _body: False
    kept = grid.workdir / "recovery" / "100-1"
    space = Workspace(grid.workdir)
    assert space.claim(kept)

    grid.pilot()
    assert not grid.server.finals(100), "this test process holds the claim"
    space.release(kept)
    record = json.loads((kept / "delivery.json").read_text())
    (kept / "delivery.json").write_text(json.dumps(record | {"queue": "OTHER_Q"}))
    grid.pilot()
    assert not grid.server.finals(100), "another queue's delivery is not ours"
    assert not (kept / "lock").exists()
    (kept / "delivery.json").write_text(json.dumps(record))
    grid.pilot()
    assert grid.final(100)["job_status"] == "finished"


def test_a_delivery_that_was_made_before_is_a_success_when_repeated(grid: Grid) -> None:
    """The final report was taken but its answer lost: files are there already, the same report goes out again."""
    lost: list[int] = []

    def lose_first(_path: str, body: dict[str, Any]) -> bool:
        if body.get("job_status") == "finished" and not lost:
            lost.append(1)
            return True
        return False

    grid.server.state.lose_reply = lose_first
    grid.job("make", "out", "out")
    grid.pilot("--delivery-patience", "10")
    first, second = grid.server.finals(100)
    assert first == second, "the same words, so that the server can tell a repetition from a contradiction"
    assert set(json.loads(first["job_output_report"])) == {"out", "job.100.log.tgz"}
