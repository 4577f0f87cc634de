"""What a site can never run: each rule accepts and refuses, with its numbers."""

from typing import Any

import pytest

from panda.brokerage.capability import CAPABILITY_RULES, incapabilities, incapable
from panda.brokerage.snapshot import Release
from tests.brokerage.builders import X86, a_site, releases, some_needs

ACCEPTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"label": "prod_test"}, {"is_test": True}),
    ({"processing_type": "rc_test"}, {"is_test": True}),
    ({"label": "user"}, {"labels": frozenset({"user", "panda"})}),
    ({"vo": "charmm"}, {"vos": None}),
    ({"vo": "charmm"}, {"vos": frozenset({"atlas", "charmm"})}),
    ({"release": "25.0.1"}, {"releases": None}),
    ({"release": ""}, {"releases": frozenset()}),
    ({"release": "25.0.1", "architecture": X86}, {"releases": releases("25.0.1")}),
    ({"release": "25.0.1", "architecture": "arm"}, {"releases": frozenset({Release("25.0.1")})}),
    ({"release": "25.0.1", "processing_type": "reprocessing"}, {"releases": releases("25.0.1")}),
    (
        {"release": "25.0.1", "processing_type": "reprocessing"},
        {"releases": frozenset(), "validated_releases": releases("25.0.1")},
    ),
    ({"architecture": X86}, {"releases": frozenset()}),
    ({"in_container": True}, {"container_runtime": "apptainer"}),
    ({"memory_mb": 4000}, {"memory_mb": 4000}),
    ({"memory_mb": 500_000}, {"memory_mb": 0}),
    ({"cores": 8}, {"cores": 8}),
    ({"disk_mb": 10_000}, {"disk_mb": 10_000}),
    ({"wall_s": 100.0, "work_hs23_s": 5000.0, "cores": 5}, {"max_time_s": 200, "corepower": 10.0}),
    ({"wall_s": 100.0, "work_hs23_s": 5000.0}, {"max_time_s": 200, "corepower": None}),
]

REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, float | str, float | str]] = [
    ({}, {"is_test": True}, "test site", "T2A", "a test job"),
    ({"label": "user"}, {"labels": frozenset({"managed"})}, "label", "managed", "user"),
    ({"label": "managed"}, {"labels": frozenset({"user", "panda"})}, "label", "panda, user", "managed"),
    ({"vo": "charmm"}, {"vos": frozenset({"atlas"})}, "vo", "atlas", "charmm"),
    ({"release": "25.0.2"}, {"releases": releases("25.0.1")}, "release", f"25.0.1 ({X86})", "25.0.2"),
    ({"release": "25.0.2"}, {"releases": frozenset()}, "release", "none", "25.0.2"),
    (
        {"release": "25.0.1", "processing_type": "reprocessing"},
        {"releases": releases("25.0.1"), "validated_releases": frozenset()},
        "release",
        "none",
        "25.0.1",
    ),
    (
        {"release": "25.0.1", "architecture": "arm"},
        {"releases": releases("25.0.1") | releases("24.9", architecture="arm")},
        "architecture",
        X86,
        "arm",
    ),
    ({"architecture": "arm"}, {"releases": releases("25.0.1")}, "architecture", X86, "arm"),
    ({"in_container": True}, {}, "container", "no runtime", "a container runtime"),
    ({"memory_mb": 4001}, {"memory_mb": 4000}, "memory", 4000, 4001),
    ({"cores": 2}, {"cores": 1}, "cores", 1, 2),
    ({"disk_mb": 10_001}, {"disk_mb": 10_000}, "disk", 10_000, 10_001),
    (
        {"wall_s": 100.0, "work_hs23_s": 5050.0, "cores": 5},
        {"max_time_s": 200, "corepower": 10.0},
        "wall time",
        200,
        201,
    ),
    ({"wall_s": 201.0}, {"max_time_s": 200, "corepower": None}, "wall time", 200, 201),
]


@pytest.mark.parametrize(("needs", "site"), ACCEPTED)
def test_accepts(needs: dict[str, Any], site: dict[str, Any]) -> None:
    assert incapable(some_needs(**needs), a_site(**site)) is None


@pytest.mark.parametrize(("needs", "site", "name", "value", "threshold"), REFUSED)
def test_refuses_for_good_with_the_numbers(
    needs: dict[str, Any], site: dict[str, Any], name: str, value: float | str, threshold: float | str
) -> None:
    rejection = incapable(some_needs(**needs), a_site(**site))
    assert rejection is not None
    assert (rejection.name, rejection.value, rejection.threshold) == (name, value, threshold)
    assert rejection.permanent
    assert "T2A" in rejection.text


def test_every_rule_refuses_in_the_table() -> None:
    refused = {name for _, _, name, _, _ in REFUSED}
    assert refused == {rule.__name__.replace("_", " ") for rule in CAPABILITY_RULES}


def test_all_refusals_are_told() -> None:
    site = a_site(memory_mb=4000, cores=1)
    assert [r.name for r in incapabilities(some_needs(memory_mb=8000, cores=4), site)] == ["memory", "cores"]


def test_a_long_list_of_releases_is_cut() -> None:
    rejection = incapable(some_needs(release="1.0"), a_site(releases=releases(*(f"25.0.{n}" for n in range(20)))))
    assert rejection is not None
    assert "and 12 more" in rejection.text
