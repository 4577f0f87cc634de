"""A request that no site can ever run is told so at submission, with the nearest one that would run."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from panda.brokerage.capability import incapable
from panda.brokerage.feasible import nearest
from panda.brokerage.snapshot import Needs, SiteFacts
from tests.brokerage.builders import X86, a_site, releases, some_needs
from tests.brokerage.strategies import needs, site_lists

SMALL = a_site(
    "SMALL", 2, memory_mb=4000, cores=1, releases=releases("25.0.1", "25.0.3"), max_time_s=1000, corepower=10.0
)
LARGE = a_site("LARGE", 3, memory_mb=8000, cores=8, releases=releases("24.9"), max_time_s=2000, corepower=10.0)


def test_what_some_site_can_run_is_feasible_whatever_its_status() -> None:
    assert nearest(some_needs(memory_mb=8000), [SMALL, replace(LARGE, status="offline", pilots=0)]) is None


@pytest.mark.parametrize(
    ("asked", "site", "changed", "words"),
    [
        ({"memory_mb": 500_000}, "LARGE", {"memory_mb": 8000}, "needs 500000 MB of memory, LARGE gives 8000"),
        ({"in_container": True}, "LARGE", {"in_container": False}, "in_container no instead of yes"),
        ({"cores": 64}, "LARGE", {"cores": 8}, "cores 8 instead of 64"),
        ({"release": "25.0.4"}, "SMALL", {"release": "25.0.3"}, "release 25.0.4 is installed nowhere"),
        ({"release": "25.0.1", "architecture": "x86_64-el8-gcc13-opt"}, "SMALL", {"architecture": X86}, X86),
        ({"wall_s": 5000.0}, "LARGE", {"wall_s": 2000.0}, "needs 5000 s of wall time, LARGE gives 2000"),
        (
            {"wall_s": 100.0, "work_hs23_s": 1e6},
            "LARGE",
            {"work_hs23_s": 19_000.0},
            "work_hs23_s 19000 HS23 s instead of 1000000 HS23 s",
        ),
        (
            {"release": "25.0.3", "memory_mb": 6000},
            "SMALL",
            {"memory_mb": 4000},
            "no single site offers all that is asked for",
        ),
    ],
)
def test_the_nearest_request(asked: dict[str, Any], site: str, changed: dict[str, Any], words: str) -> None:
    answer = nearest(some_needs(**asked), [SMALL, LARGE])
    assert answer is not None
    assert answer.site == site
    assert answer.nearest == some_needs(**(asked | changed))
    assert words in f"{answer.text}; {answer.hint}"
    assert answer.changes in answer.hint
    assert answer.changes not in answer.text
    assert answer.rejections


def test_names_that_nobody_serves_get_the_nearest_names() -> None:
    site = a_site(vos=frozenset({"atlas", "charmm"}), labels=frozenset({"managed"}), releases=frozenset())
    answer = nearest(some_needs(vo="charm", label="manged", release="1.0"), [site])
    assert answer is not None
    assert answer.nearest is not None
    assert (answer.nearest.vo, answer.nearest.label, answer.nearest.release) == ("charmm", "managed", "")
    assert "installed: none" in answer.text


def test_close_release_names_are_offered() -> None:
    answer = nearest(some_needs(release="25.0.4"), [SMALL, LARGE])
    assert answer is not None
    assert "nearest names: 25.0.3, 25.0.1" in answer.text


def test_a_test_site_alone_takes_test_work() -> None:
    answer = nearest(some_needs(), [a_site(is_test=True)])
    assert answer is not None
    assert answer.nearest is not None
    assert answer.nearest.processing_type == "prod_test"


def test_a_grid_that_serves_nobody_says_so() -> None:
    answer = nearest(some_needs(), [a_site(vos=frozenset())])
    assert answer is not None
    assert (answer.nearest, answer.changes) == (None, "")
    assert "T2A serves none, not 'atlas'" in answer.text


def test_a_grid_without_sites_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="load a grid file first"):
        nearest(some_needs(), [])


@settings(max_examples=20)
@given(needs, site_lists())
def test_the_nearest_request_runs_at_its_site(asked: Needs, sites: tuple[SiteFacts, ...]) -> None:
    answer = nearest(asked, sites)
    able = [site for site in sites if incapable(asked, site) is None]
    assert (answer is None) == bool(able)
    if answer is None:
        return
    assert answer.text
    if answer.nearest is None:
        assert all(site.vos == frozenset() or site.labels == frozenset() for site in sites)
    else:
        assert nearest(answer.nearest, [site for site in sites if site.name == answer.site]) is None
        assert answer.nearest != asked
        assert answer.changes
