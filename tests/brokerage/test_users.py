"""Job count and priority of users' jobs (domain.md 2.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda.brokerage.users import UserLoad, overuse, user_priorities, user_priority, waited_bonus


@pytest.mark.parametrize(
    ("load", "index", "expected"),
    [
        (UserLoad(), 0, 1000),
        (UserLoad(), 4, 1000),
        (UserLoad(), 5, 999),
        (UserLoad(live_jobs=100), 0, 980),
        (UserLoad(live_jobs=98), 2, 980),
        (UserLoad(offset=50), 0, 1050),
        (UserLoad(offset=50, production_role=True), 0, 3000),
        (UserLoad(cpu_one_day=0.99, cpu_quota=1.0), 0, 1000),
        (UserLoad(cpu_one_day=1.5, cpu_quota=1.0), 0, 850),
        (UserLoad(cpu_one_day=5.0), 0, 1000),
    ],
)
def test_priority(load: UserLoad, index: int, expected: int) -> None:
    assert user_priority(load, index) == expected


def test_build_jobs_go_first() -> None:
    assert user_priority(UserLoad(live_jobs=1000, cpu_one_day=9, cpu_quota=1), build=True) == 2000


def test_use_within_the_quota_counts_nothing() -> None:
    assert overuse(UserLoad(cpu_one_day=1.0, cpu_quota=1.0)) == 1.0
    assert overuse(UserLoad(cpu_one_day=0.5, cpu_quota=1.0)) == 0.0


def test_a_submission_loses_one_step_per_five_jobs() -> None:
    assert user_priorities(UserLoad(live_jobs=3), 10) == [1000, 1000, 999, 999, 999, 999, 999, 998, 998, 998]


def test_a_day_of_waiting_lifts() -> None:
    assert (waited_bonus(86_399), waited_bonus(86_400)) == (0, 40)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        user_priority(UserLoad(live_jobs=-1))


@given(st.integers(0, 10_000), st.integers(0, 1000))
def test_more_jobs_never_lift_the_priority(live: int, more: int) -> None:
    assert user_priority(UserLoad(live + more)) <= user_priority(UserLoad(live))
