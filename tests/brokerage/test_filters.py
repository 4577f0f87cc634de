"""What keeps a bunch from a site now: each filter of domain.md 2.2 accepts and refuses, with its numbers."""

from typing import Any

import pytest

from panda.brokerage.filters import SITE_FILTERS, refused_now, tier1_only_reason
from panda.brokerage.snapshot import ProcessGroup, SiteWish
from tests.brokerage.builders import T, a_bunch, a_case, a_cloud, a_site, queued, some_needs, the_tier1

USER = some_needs(label="user", processing_type="pathena")
ACCEPTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"preset_site_id": 2}, {}),
    ({"preset_site_id": 2}, {"status": "brokeroff"}),
    ({"wish": SiteWish(frozenset({2, 3}), frozenset({3}))}, {}),
    ({"needs": some_needs(processing_type="prod_test")}, {"status": "test"}),
    ({}, {"pilots": 1}),
    ({}, {"free_space_gb": None}),
    ({}, {"free_space_gb": 210.0, "counts": (queued(10, running=30),)}),
    ({"needs": USER}, {"free_space_gb": 201.0, "counts": (queued(10, priority=100, running=500),)}),
    ({}, {"counts": (queued(19),)}),
    ({}, {"counts": (queued(100, priority=499),)}),
    ({}, {"counts": (queued(59, running=30),)}),
    ({}, {"counts": (queued(59),), "started_recently": 60}),
]
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, float | str, float | str, bool]] = [
    ({"preset_site_id": 7, "preset_site": "DESY"}, {}, "preset", "T2A", "DESY", True),
    ({"wish": SiteWish(wanted=frozenset({3}))}, {"name": "B"}, "wish", "B", "a site asked for", True),
    ({"wish": SiteWish(excluded=frozenset({2}))}, {"name": "B"}, "wish", "B", "a site asked for", True),
    ({}, {"status": "offline"}, "status", "offline", "online", False),
    ({}, {"status": "brokeroff"}, "status", "brokeroff", "online", False),
    ({"preset_site_id": 2}, {"status": "offline"}, "status", "offline", "online", False),
    ({}, {"status": "test"}, "status", "test", "online", False),
    ({}, {"status": "strange"}, "status", "strange", "online", False),
    ({}, {"pilots": 0}, "pilots", 0, 1, False),
    ({}, {"free_space_gb": 209.9, "counts": (queued(10, running=30),)}, "space", 199.9, 200.0, False),
    ({"needs": USER}, {"free_space_gb": 199.0}, "space", 199.0, 200.0, False),
    ({}, {"counts": (queued(20),)}, "window", 20, 20, False),
    ({}, {"counts": (queued(12), queued(8, priority=900, group=ProcessGroup.OTHER))}, "window", 20, 20, False),
    ({}, {"counts": (queued(60, running=30),)}, "window", 60, 60, False),
]


@pytest.mark.parametrize(("bunch", "site"), ACCEPTED)
def test_accepts(bunch: dict[str, Any], site: dict[str, Any]) -> None:
    assert refused_now(a_case(a_bunch(**bunch), a_site(**site))) is None


@pytest.mark.parametrize(("bunch", "site", "name", "value", "threshold", "permanent"), REFUSED)
def test_refuses_with_the_numbers(
    bunch: dict[str, Any], site: dict[str, Any], name: str, value: float | str, threshold: float | str, permanent: bool
) -> None:
    rejection = refused_now(a_case(a_bunch(**bunch), a_site(**site)))
    assert rejection is not None
    assert (rejection.name, rejection.threshold, rejection.permanent) == (name, threshold, permanent)
    assert rejection.value == (pytest.approx(value) if isinstance(value, float) else value)
    assert rejection.text


def test_every_filter_refuses_in_the_table() -> None:
    refused = {name for _, _, name, _, _, _ in REFUSED} | {"T1 only"}
    assert {one.__name__ for one in SITE_FILTERS} == {"tier1_only" if n == "T1 only" else n for n in refused}


def test_tier1_only_refuses_t2_and_says_why() -> None:
    rejection = refused_now(a_case(tier1_only="priority 950 is at least 950: T1 T1 directly"))
    assert rejection is not None
    assert (rejection.name, rejection.value, rejection.threshold) == ("T1 only", "T2A", "T1")
    assert "950" in rejection.text
    assert refused_now(a_case(site=the_tier1(), tier1_only="because")) is None


def test_the_t1_is_not_asked_for_space() -> None:
    assert refused_now(a_case(site=the_tier1(free_space_gb=1.0))) is None


@pytest.mark.parametrize(
    ("bunch", "weight", "words"),
    [
        ({"priority": 949}, 2.0, ""),
        ({"priority": 950}, 2.0, "priority 950 is at least 950"),
        ({"priority": 1000, "needs": USER}, 2.0, ""),
        ({"priority": 950, "preset_site_id": 2}, 2.0, ""),
        ({"n_jobs": 20, "n_input_files": 399}, 2.0, ""),
        ({"n_jobs": 20, "n_input_files": 400}, 2.0, "20 input files per job"),
        (
            {
                "n_jobs": 1,
                "n_input_files": 30,
                "needs": some_needs(processing_type="validation", architecture="i686-slc5-gcc43-opt"),
            },
            2.0,
            "",
        ),
        ({"n_jobs": 10, "n_input_files": 50}, -1.0, ""),
        ({"n_jobs": 10, "n_input_files": 51}, -1.0, "5.1 input files and 0 MB per job"),
        ({"n_jobs": 10, "n_input_files": 10, "input_bytes": 5 * 10**9}, -1.0, ""),
        ({"n_jobs": 10, "n_input_files": 10, "input_bytes": 5_000_001_000}, -1.0, "weight of US is -1"),
        ({"n_jobs": 10, "n_input_files": 51}, 2.0, ""),
    ],
)
def test_when_only_the_t1_may_have_it(bunch: dict[str, Any], weight: float, words: str) -> None:
    reason = tier1_only_reason(a_bunch(**bunch), a_cloud(weight=weight), T)
    assert words in reason
    assert bool(words) == bool(reason)
