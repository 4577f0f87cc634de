"""The cloud of a task: each rule of domain.md 2.1 with its numbers, the draw, the copy of step 9, properties."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panda.brokerage.cloud import (
    CLOUD_RULES,
    AssignedTask,
    CloudCase,
    assign_cloud,
    remaining_work,
    weight,
)
from panda.brokerage.decision import CopyRequest
from panda.brokerage.snapshot import (
    CloudFacts,
    DatasetLocation,
    ProcessGroup,
    RemainingWork,
    SiteFacts,
    TaskFacts,
)
from tests.brokerage.builders import T, a_cloud, a_dataset, a_site, a_task, some_needs, work
from tests.brokerage.strategies import cloud_lists, site_lists, tasks

HELD = DatasetLocation("US", files_present=200, files_looked_up=200)
VALIDATION = some_needs(processing_type="validation")

ACCEPTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"needs": VALIDATION}, {"validation": True}),
    ({"task_type": "evgen", "priority": 699}, {"fasttrack": False}),
    ({"task_type": "simul", "priority": 799}, {"fasttrack": False}),
    ({"task_type": "reco", "priority": 900}, {"fasttrack": False}),
    ({"task_type": "simul", "priority": 800}, {"fasttrack": True}),
    ({}, {"vos": frozenset({"atlas"})}),
    ({"inputs": (a_dataset(HELD),)}, {}),
    ({"inputs": (a_dataset(DatasetLocation("US")),)}, {}),
    ({"expected_work": 80.0, "remaining": work(full=0.0)}, {"free_space_gb": 1040.0}),
    ({"remaining": work(full=1e9)}, {"free_space_gb": None}),
    ({"remaining": work(equal_or_higher=4000.0)}, {}),
    ({"remaining": work(equal_or_higher=8000.0)}, {"mcshare": 2.0}),
    ({"inputs": (a_dataset(replace(HELD, complete=False)),)}, {}),
]
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, str, float | str, float | str]] = [
    ({}, {"status": "offline"}, "2.1.3", "status", "offline", "online"),
    ({}, {"status": "test"}, "2.1.3", "status", "test", "online"),
    ({"needs": VALIDATION}, {}, "2.1.3", "validation", "false", "true"),
    ({"needs": some_needs(label="validation")}, {}, "2.1.3", "validation", "false", "true"),
    ({"task_type": "evgen", "priority": 700}, {"fasttrack": False}, "2.1.3", "fasttrack", 700, 700),
    ({"task_type": "simul", "priority": 850}, {"fasttrack": False}, "2.1.3", "fasttrack", 850, 800),
    ({}, {"vos": frozenset({"charmm"})}, "design.md 4 Needs", "vo", "charmm", "atlas"),
    ({"inputs": (a_dataset(),)}, {}, "2.1.4", "data", 0, 1),
    ({"inputs": (a_dataset(HELD), a_dataset(name="other"))}, {}, "2.1.4", "data", 1, 2),
    ({"expected_work": 85.0}, {"free_space_gb": 1040.0}, "2.1.5", "space", 1023.0, 1024.0),
    ({"remaining": work(full=45_000.0)}, {}, "2.1.5", "space", 980.0, 1024.0),
    ({"remaining": work(equal_or_higher=4001.0)}, {}, "2.1.6", "work limit", 4001.0, 4000.0),
    ({"remaining": work(equal_or_higher=1.0)}, {"mcshare": 0.0}, "2.1.6", "work limit", 1.0, 0.0),
    ({"inputs": (a_dataset(replace(HELD, files_present=199)),)}, {}, "2.1.7", "files", 199, 200),
    ({"inputs": (a_dataset(DatasetLocation("US", complete=False)),)}, {}, "2.1.7", "files", 0, 0),
]


@pytest.mark.parametrize(("task", "cloud"), ACCEPTED)
def test_accepts(task: dict[str, Any], cloud: dict[str, Any]) -> None:
    decision = assign_cloud(a_task(**task), [a_cloud(**cloud)], T, seed=1)
    assert decision.chosen == "US"
    assert decision.reason == "US: the only candidate"


@pytest.mark.parametrize(("task", "cloud", "rule", "name", "value", "threshold"), REFUSED)
def test_refuses_with_the_numbers(
    task: dict[str, Any], cloud: dict[str, Any], rule: str, name: str, value: float | str, threshold: float | str
) -> None:
    decision = assign_cloud(a_task(**task), [a_cloud(**cloud)], T, seed=1)
    assert decision.chosen is None
    rejection = decision.candidates[0].rejection
    assert rejection is not None
    assert (rejection.rule, rejection.name, rejection.threshold) == (rule, name, threshold)
    assert rejection.value == (pytest.approx(value) if isinstance(value, float) else value)
    assert decision.reason.startswith(f"no cloud: {name} 1 (US)")


def test_every_rule_refuses_in_the_table() -> None:
    refused = {name for _, _, _, name, _, _ in REFUSED} | {"sites"}
    assert refused == {rule.__name__.replace("_", " ") for rule in CLOUD_RULES}


def test_a_cloud_without_an_able_site_is_refused() -> None:
    task = a_task(needs=some_needs(memory_mb=8000))
    small = a_site("SMALL", 3, memory_mb=4000)
    decision = assign_cloud(task, [a_cloud()], T, 1, [small, a_site("BIG", 4, cloud="FR")])
    rejection = decision.candidates[0].rejection
    assert rejection is not None
    assert (rejection.name, rejection.permanent) == ("sites", True)
    assert "needs 8000 MB of memory, SMALL gives 4000" in rejection.text
    assert assign_cloud(task, [a_cloud()], T, 1, [small, a_site("BIG", 4)]).chosen == "US"


def test_work_of_tasks_just_assigned_counts_by_priority_and_group() -> None:
    others = [
        AssignedTask("US", 500, ProcessGroup.GENERATION, 10.0),
        AssignedTask("US", 499, ProcessGroup.GENERATION, 20.0),
        AssignedTask("FR", 900, ProcessGroup.REPROCESSING, 40.0),
    ]
    rows = remaining_work(a_task(), work(equal_or_higher=1.0, full=2.0), others)
    assert rows == (RemainingWork("FR", 0.0, 40.0), RemainingWork("US", 11.0, 32.0))


def test_starving_clouds_come_first_except_for_evgen() -> None:
    clouds = [a_cloud("FR"), a_cloud("US")]
    remaining = work("FR", 399.0) + work("US", 400.0)
    for seed in range(20):
        assert assign_cloud(a_task(remaining=remaining), clouds, T, seed).chosen == "FR"
    rejection = assign_cloud(a_task(remaining=remaining), clouds, T, 1).candidates[1].rejection
    assert rejection is not None
    assert (rejection.rule, rejection.value, rejection.threshold) == ("2.1.8", 400.0, 400.0)
    evgen = a_task(task_type="evgen", remaining=remaining)
    assert {assign_cloud(evgen, clouds, T, seed).chosen for seed in range(50)} == {"FR", "US"}


def test_weights_are_the_share_for_evgen_and_pilots_per_work_otherwise() -> None:
    cloud = a_cloud(mcshare=3.0, pilots=9)
    remaining = work(full=4.0)
    assert weight(CloudCase(a_task(task_type="evgen", remaining=remaining), cloud, T)) == 3.0
    assert weight(CloudCase(a_task(remaining=remaining), cloud, T)) == 2.0


def test_the_draw_follows_the_weights() -> None:
    clouds = [a_cloud("FR", mcshare=3.0), a_cloud("US", mcshare=1.0), a_cloud("ZZ", mcshare=0.0)]
    tally = Counter(assign_cloud(a_task(task_type="evgen"), clouds, T, seed).chosen for seed in range(1000))
    assert tally["ZZ"] == 0
    assert 700 < tally["FR"] < 800


def test_clouds_without_any_weight_are_drawn_evenly() -> None:
    clouds = [a_cloud("FR", mcshare=0.0), a_cloud("US", mcshare=0.0)]
    assert {assign_cloud(a_task(task_type="evgen"), clouds, T, seed).chosen for seed in range(50)} == {"FR", "US"}


def test_a_simulation_task_gets_its_input_copied_to_the_emptiest_cloud_with_room() -> None:
    clouds = [
        a_cloud("FR", tier1_site_id=10, tier1_rses=("FR_DISK",)),
        a_cloud("IT"),
        a_cloud("UK", free_space_gb=1100.0),
    ]
    remaining = work("FR", 100.0) + work("IT", 300.0)
    decision = assign_cloud(a_task(inputs=(a_dataset(),), remaining=remaining), clouds, T, seed=1)
    assert decision.chosen is None
    assert decision.subscribe == CopyRequest("FR", 10, ("FR_DISK",), ("data.input",))
    assert decision.reason.endswith("a copy of data.input to the T1 of FR is asked for")


@pytest.mark.parametrize(
    "changes",
    [
        {"task_type": "reco"},
        {"remaining": work(equal_or_higher=401.0)},
        {"inputs": (a_dataset(gigabytes=8957.0),)},
    ],
)
def test_no_copy_for_other_work_full_clouds_or_lack_of_room(changes: dict[str, Any]) -> None:
    task = a_task(**({"inputs": (a_dataset(),)} | changes))
    assert assign_cloud(task, [a_cloud()], T, seed=1).subscribe is None


def test_the_copy_fits_exactly() -> None:
    task = a_task(inputs=(a_dataset(gigabytes=8956.0),))
    assert assign_cloud(task, [a_cloud()], T, seed=1).subscribe is not None


def test_a_copy_under_way_is_waited_for() -> None:
    coming = DatasetLocation("US", held=False, complete=False, copying=True)
    decision = assign_cloud(a_task(inputs=(a_dataset(coming),)), [a_cloud(), a_cloud("FR")], T, seed=1)
    assert decision.subscribe is None
    assert decision.reason.endswith("its input is being copied to US")


def test_a_catalogue_that_fails_gives_no_answer() -> None:
    decision = assign_cloud(a_task(catalogue_error="timeout after 60 s"), [a_cloud()], T, seed=1)
    assert (decision.chosen, decision.candidates) == (None, ())
    assert "timeout after 60 s" in decision.reason


def test_no_cloud_at_all() -> None:
    assert assign_cloud(a_task(), [], T, seed=1).reason == "there is no cloud"


@settings(max_examples=20)
@given(tasks, cloud_lists, site_lists(), st.integers(0, 9), st.randoms(use_true_random=False))
def test_properties(
    task: TaskFacts, clouds: list[CloudFacts], grid: tuple[SiteFacts, ...], seed: int, random: Random
) -> None:
    decision = assign_cloud(task, clouds, T, seed, grid)
    mixed = random.sample(clouds, len(clouds))
    assert assign_cloud(task, mixed, T, seed, random.sample(grid, len(grid))) == decision
    passed = {one.name for one in decision.candidates if one.rejection is None}
    assert decision.chosen in passed if passed else decision.chosen is None
    assert decision.reason
    assert decision.subscribe is None or decision.chosen is None
    for one in decision.candidates:
        assert (one.rejection is None) == (one.weight is not None)
        if one.rejection is not None:
            assert one.rejection.text
            assert one.rejection.name
            assert one.rejection.value is not None
