"""The shifters' rules on dead sites and slow links, at their limits."""

import pytest

from panda.domain.shift import Pace, Tone, dead, slow, usual_of

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
        (Pace("X", 1, 21.0, 9e4), USUAL, Tone.ALERT),
        (Pace("X", 1, 21.0, 1.1e5), USUAL, Tone.WARN),
        (Pace("X", 1, 19.0, 9e4), USUAL, Tone.WARN),
        (Pace("X", 1, 3.0, 9e4), USUAL, Tone.GOOD),  # small files: few bytes a second, but as quick as others
        (Pace("X", 1, 3.0, 0.0), USUAL, Tone.GOOD),
        (Pace("X", 1, 21.0, 0.0), USUAL, Tone.ALERT),
        (Pace("X", 1, 0.9, 9e2), Pace("elsewhere", 3, 0.01, 1e6), None),  # slow for nobody
        (Pace("X", 1, 21.0, 9e4), Pace("elsewhere", 2, 2.0, 1e6), None),
        (Pace("X", 1, 21.0, 9e4), None, None),
    ],
)
def test_a_way_is_slow_if_both_its_pace_and_its_time_are_far_worse(
    here: Pace, usual: Pace | None, expected: Tone | None
) -> None:
    assert slow(here, usual) is expected


def test_what_is_usual_is_the_middle_of_the_other_ways() -> None:
    assert usual_of([]) is None
    assert usual_of([Pace("A", 1, 1.0, 30.0), Pace("B", 2, 9.0, 10.0), Pace("C", 4, 2.0, 20.0)]) == Pace(
        "elsewhere", 7, 2.0, 20.0
    )
