"""The machine in two lengths: a short one for every run, a long one, bounded by time, for the slow tests.

Seeds are fixed, so that a failure comes again. MACHINE_SHRINK=yes looks for the shortest way to a failure,
MACHINE_SECONDS is how long the long one goes on.
"""

import itertools
import os
import time

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from panda.embedded import Address
from tests.stateful.machine import Machine

SHRINK = (Phase.shrink,) if os.environ.get("MACHINE_SHRINK") == "yes" else ()
SHORT = settings(
    max_examples=8,
    stateful_step_count=30,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, *SHRINK),
)
PART = settings(SHORT, max_examples=4, stateful_step_count=50)
LONG_S = float(os.environ.get("MACHINE_SECONDS", "120"))


def run_machine(cluster: Address, number: int, chosen: settings) -> None:
    """Run the machine with a seed and its databases in a cluster."""

    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(cluster)

    run_state_machine_as_test(seed(number)(Here), settings=chosen)


def test_everything_holds_after_every_step(cluster: Address) -> None:
    run_machine(cluster, 2009, SHORT)


@pytest.mark.slow
def test_everything_holds_after_every_step_of_many_long_runs(cluster: Address) -> None:
    end = time.monotonic() + LONG_S
    for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
        run_machine(cluster, number, PART)
