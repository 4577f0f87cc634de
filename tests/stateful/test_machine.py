"""The machine in two lengths: a short one for every run, a long one for the slow tests."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from panda.embedded import Address
from tests.stateful.machine import Machine

SHRINK = () if os.environ.get("MACHINE_SHRINK") == "no" else (Phase.shrink,)
SHORT = settings(
    max_examples=8,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)
LONG = settings(SHORT, max_examples=60, stateful_step_count=50, phases=(Phase.generate, *SHRINK))


def machine_on(cluster: Address) -> type[Machine]:
    """The machine with its databases in a cluster."""

    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(cluster)

    return Here


def test_everything_holds_after_every_step(cluster: Address) -> None:
    run_state_machine_as_test(machine_on(cluster), settings=SHORT)


@pytest.mark.slow
def test_everything_holds_after_every_step_of_many_long_runs(cluster: Address) -> None:
    run_state_machine_as_test(machine_on(cluster), settings=LONG)
