"""The shifters' rules on dead sites and slow links, at their limits."""

import pytest

from panda.domain.shift import Pace, dead, slow_way

USUAL = Pace("elsewhere", 3, 2.0, 1e6)


@pytest.mark.parametrize(
    ("silent_s", "waiting", "expected"),
    [(7201.0, 1, True), (7200.0, 1, False), (7201.0, 0, False), (None, 5, True), (None, 0, False)],
)
def test_a_site_is_dead_if_jobs_wait_and_no_pilot_spoke(silent_s: float | None, waiting: int, expected: bool) -> None:
    assert dead(silent_s, 7200.0, waiting) is expected


@pytest.mark.parametrize(
    ("here", "usual", "expected"),
    [
        (Pace("X", 1, 21.0, 9e4), USUAL, True),
        (Pace("X", 1, 21.0, 1.1e5), USUAL, False),
        (Pace("X", 1, 19.0, 9e4), USUAL, False),  # small files: few bytes a second, but as quick as others
        (Pace("X", 1, 21.0, 9e4), Pace("elsewhere", 2, 2.0, 1e6), False),
        (Pace("X", 1, 21.0, 9e4), None, False),
    ],
)
def test_a_way_is_slow_if_both_its_pace_and_its_time_are_ten_times_worse(
    here: Pace, usual: Pace | None, expected: bool
) -> None:
    assert slow_way(here, usual) is expected
