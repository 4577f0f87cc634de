"""How deep a queue is filled (design.md section 4, "Brokerage rounds")."""

import pytest

from panda.brokerage.thresholds import Thresholds
from panda.brokerage.window import room, window_jobs
from tests.brokerage.builders import T, a_site, queued


@pytest.mark.parametrize(("running", "started", "expected"), [(0, 0, 20), (9, 5, 20), (30, 5, 60), (30, 100, 100)])
def test_window(running: int, started: int, expected: int) -> None:
    assert window_jobs(a_site(counts=(queued(0, running=running),), started_recently=started), T) == expected


def test_the_numbers_are_thresholds() -> None:
    site = a_site(counts=(queued(0, running=10),))
    assert window_jobs(site, Thresholds(window_minimum_jobs=5, window_running_factor=3.0)) == 30


def test_room_counts_equal_or_higher_priority() -> None:
    site = a_site(counts=(queued(15, priority=500), queued(3, priority=900)))
    assert (room(site, 400, T), room(site, 500, T), room(site, 501, T), room(site, 901, T)) == (2, 2, 17, 20)
    assert room(a_site(counts=(queued(30),)), 500, T) == 0
