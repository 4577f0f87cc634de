"""A pilot and the classes of its queue: one acceptance and one refusal for each criterion, order by fair share."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda.brokerage.matching import (
    LABELS_OF_PILOT,
    RULES,
    ClassFacts,
    PilotFacts,
    QueueFacts,
    core_power,
    order,
    refusal,
)
from panda.brokerage.shares import deficits
from panda.brokerage.snapshot import Release
from panda.domain.work import LABELS
from tests.brokerage.builders import X86, releases, some_needs

PILOT = PilotFacts(site_id=1)
QUEUE = QueueFacts(site_id=1, name="T2A", corepower=10.0)
CLASS = ClassFacts(id=1, site_id=1, needs=some_needs())

ACCEPTED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {}, {}),
    ({}, {}, {}, {"status": "brokeroff"}),
    ({}, {"label": "prod_test"}, {}, {"status": "test"}),
    ({"label": "user"}, {"label": "panda"}, {}, {}),
    ({"label": "test"}, {"label": "managed", "processing_type": "validation"}, {}, {}),
    ({"label": "unified"}, {"label": "user"}, {}, {}),
    ({}, {}, {}, {"labels": frozenset({"managed"})}),
    ({}, {"vo": "charmm"}, {}, {"vos": frozenset({"atlas", "charmm"})}),
    ({"label": "user", "owner": "ada"}, {"label": "user"}, {"owner": "ada"}, {}),
    ({"label": "user"}, {"label": "user"}, {"owner": "ada"}, {}),
    ({"working_group": "higgs"}, {}, {"working_group": "higgs"}, {}),
    ({"memory_mb": 2000}, {"memory_mb": 2000}, {}, {}),
    ({"memory_mb": None}, {"memory_mb": 500_000}, {}, {}),
    ({"memory_mb": 0}, {"memory_mb": 500_000}, {}, {}),
    ({"disk_mb": 5000}, {"disk_mb": 5000}, {}, {}),
    ({"cores": 8}, {"cores": 8}, {}, {}),
    ({"resource_type": "MCORE"}, {"cores": 8, "memory_mb": 16_000}, {}, {}),
    ({"resource_type": "SCORE_HIMEM"}, {"memory_mb": 2001}, {}, {}),
    ({"remaining_s": 200}, {"wall_s": 100, "work_hs23_s": 1000}, {}, {}),
    ({"remaining_s": 150, "cpu_mhz": 4000}, {"wall_s": 100, "work_hs23_s": 1000}, {}, {"reference_mhz": 2000}),
    ({"remaining_s": 200, "cpu_mhz": 10}, {"wall_s": 100, "work_hs23_s": 1000}, {}, {}),
    ({"remaining_s": 100}, {"wall_s": 100, "work_hs23_s": 1e9}, {}, {"corepower": None}),
    ({}, {"release": "25.0.1"}, {}, {}),
    ({"releases": frozenset({"25.0.1"})}, {"release": "25.0.1", "architecture": X86}, {}, {"releases": frozenset()}),
    ({}, {"release": "25.0.1", "architecture": X86}, {}, {"releases": releases("25.0.1")}),
    ({}, {"release": "25.0.1", "architecture": X86}, {}, {"releases": frozenset({Release("25.0.1")})}),
]
REFUSED: list[
    tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any], str, float | str | None, float | str]
] = [
    ({}, {}, {"site_id": 2}, {}, "site", 1, 2),
    ({}, {}, {}, {"status": "offline"}, "status", "offline", "online"),
    ({}, {}, {}, {"status": "test"}, "status", "test", "online"),
    ({}, {"label": "user"}, {}, {}, "label", "managed", "user"),
    ({"label": "user"}, {}, {}, {}, "label", "user", "managed"),
    ({"label": "test"}, {}, {}, {}, "label", "test", "managed"),
    ({"label": "odd"}, {}, {}, {}, "label", "odd", "managed"),
    ({}, {}, {}, {"labels": frozenset({"user"})}, "label", "user", "managed"),
    ({}, {"vo": "charmm"}, {}, {"vos": frozenset({"atlas"})}, "vo", "atlas", "charmm"),
    ({"vos": frozenset({"atlas"})}, {"vo": "charmm"}, {}, {}, "vo", "atlas", "charmm"),
    ({"label": "user", "owner": "ada"}, {"label": "user"}, {"owner": "bob"}, {}, "owner", "ada", "bob"),
    ({"working_group": "higgs"}, {}, {}, {}, "owner", "higgs", ""),
    ({"memory_mb": 1999}, {"memory_mb": 2000}, {}, {}, "memory", 1999, 2000),
    ({"disk_mb": 4999}, {"disk_mb": 5000}, {}, {}, "disk", 4999, 5000),
    ({"cores": 1}, {"cores": 8}, {}, {}, "cores", 1, 8),
    ({"resource_type": "MCORE"}, {"cores": 1}, {}, {}, "resource type", "MCORE", "SCORE"),
    ({"resource_type": "MCORE"}, {"cores": 8, "memory_mb": 16_008}, {}, {}, "resource type", "MCORE", "MCORE_HIMEM"),
    ({"remaining_s": 199}, {"wall_s": 100, "work_hs23_s": 1000}, {}, {}, "wall time", 199, 200),
    (
        {"remaining_s": 200, "cpu_mhz": 1000},
        {"wall_s": 100, "work_hs23_s": 1000},
        {},
        {"reference_mhz": 2000},
        "wall time",
        200,
        300,
    ),
    (
        {"releases": frozenset({"24.9"})},
        {"release": "25.0.1"},
        {},
        {"releases": releases("25.0.1")},
        "release",
        "24.9",
        "25.0.1",
    ),
    ({"releases": frozenset()}, {"release": "25.0.1"}, {}, {}, "release", "none", "25.0.1"),
    ({}, {"release": "25.0.1"}, {}, {"releases": releases("24.9")}, "release", f"24.9 ({X86})", "25.0.1"),
    (
        {},
        {"release": "25.0.1", "architecture": "arm"},
        {},
        {"releases": releases("25.0.1")},
        "release",
        f"25.0.1 ({X86})",
        "25.0.1 (arm)",
    ),
]


def a_class(needs: dict[str, Any], **changes: Any) -> ClassFacts:
    return replace(CLASS, needs=some_needs(**needs), **changes)


@pytest.mark.parametrize(("pilot", "needs", "wanted", "queue"), ACCEPTED)
def test_accepts(pilot: dict[str, Any], needs: dict[str, Any], wanted: dict[str, Any], queue: dict[str, Any]) -> None:
    assert refusal(PILOT._replace(**pilot), a_class(needs, **wanted), replace(QUEUE, **queue)) is None


@pytest.mark.parametrize(("pilot", "needs", "wanted", "queue", "name", "value", "threshold"), REFUSED)
def test_refuses_with_the_numbers(
    pilot: dict[str, Any],
    needs: dict[str, Any],
    wanted: dict[str, Any],
    queue: dict[str, Any],
    name: str,
    value: float | str | None,
    threshold: float | str,
) -> None:
    rejection = refusal(PILOT._replace(**pilot), a_class(needs, **wanted), replace(QUEUE, **queue))
    assert rejection is not None
    assert (rejection.name, rejection.value, rejection.threshold) == (name, value, threshold)
    assert rejection.text


def test_every_rule_refuses_in_the_table() -> None:
    refused = {name for *_, name, _, _ in REFUSED}
    assert refused == {rule.__name__.replace("_", " ") for rule in RULES}


def test_every_label_that_can_be_submitted_is_taken_by_some_pilot() -> None:
    assert set(LABELS) <= frozenset().union(*LABELS_OF_PILOT.values())


def test_the_nodes_mhz_counts_only_against_the_queues_reference() -> None:
    fast = PILOT._replace(cpu_mhz=3000.0)
    assert core_power(fast, QUEUE) == 10.0
    assert core_power(fast, replace(QUEUE, reference_mhz=2000.0)) == 15.0
    assert core_power(PILOT, replace(QUEUE, reference_mhz=2000.0)) == 10.0
    assert core_power(fast, replace(QUEUE, corepower=None, reference_mhz=2000.0)) is None


def test_order_is_deficit_then_priority_then_age() -> None:
    starved = ClassFacts(1, 1, share="charmm", max_priority=100)
    urgent = ClassFacts(2, 1, share="atlas", max_priority=900)
    old = ClassFacts(3, 1, share="atlas", max_priority=500, oldest=7)
    young = ClassFacts(4, 1, share="atlas", max_priority=500, oldest=9)
    classes = [young, old, urgent, starved]
    assert order(classes, {"charmm": 5.0, "atlas": -5.0}) == [starved, urgent, old, young]
    assert order(classes, {}) == [urgent, old, young, starved]


classes = st.builds(
    ClassFacts,
    id=st.integers(),
    site_id=st.just(1),
    share=st.sampled_from("ab"),
    max_priority=st.integers(0, 3),
    oldest=st.integers(0, 3),
)


@given(st.lists(classes, max_size=8, unique_by=lambda one: one.id), st.floats(-2, 2), st.randoms(use_true_random=False))
def test_order_does_not_depend_on_the_order_given(many: list[ClassFacts], deficit: float, random: Any) -> None:
    assert order(random.sample(many, len(many)), {"a": deficit}) == order(many, {"a": deficit})


@given(st.sampled_from(["memory_mb", "disk_mb", "cores", "cpu_mhz", "remaining_s", "releases", "vos"]))
def test_an_unknown_value_never_refuses(name: str) -> None:
    needs = some_needs(memory_mb=10**6, disk_mb=10**6, cores=64, wall_s=10**6, release="25.0.1")
    pilot = PilotFacts(1, "managed", 10**6, 10**6, 64, 3000, 10**6, frozenset({"25.0.1"}), frozenset({"atlas"}))
    unknown: dict[str, Any] = {name: None}
    assert refusal(pilot._replace(**unknown), replace(CLASS, needs=needs), QUEUE) is None


def test_what_lacks_most_of_its_target_goes_first() -> None:
    lacks = deficits({"mc": 3, "data": 1, "vo:atlas": 1, "vo:charmm": 1}, {"mc": 30, "other": 10, "vo:atlas": 40})
    assert lacks["data"] == 0.25
    assert lacks["mc"] == 0.0
    assert lacks["other"] == -0.25
    assert lacks["vo:charmm"] == 0.5
    assert deficits({}, {"mc": 5}) == {}
