"""The choice among sites that passed, the round over many bunches, and what it says when there is none."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panda.brokerage.choose import choose_site, run_round, with_bunch
from panda.brokerage.decision import Verdict
from panda.brokerage.scores import jobs_per_node, load
from panda.brokerage.snapshot import BunchFacts, ProcessGroup, RoundSnapshot
from tests.brokerage.builders import T, a_bunch, a_case, a_cloud, a_site, queued, some_needs, the_tier1
from tests.brokerage.strategies import bunch_lists, snapshots


def test_load_is_waiting_jobs_of_the_group_per_pilot_and_jobs_of_a_node() -> None:
    other = queued(100, group=ProcessGroup.OTHER)
    site = a_site(pilots=10, running_nodes=5, counts=(queued(12, running=20), queued(50, priority=499), other))
    assert jobs_per_node(site) == 4.0
    assert load(a_case(site=site)) == pytest.approx(12 / 10 / 4)


def test_jobs_per_node_is_one_where_it_is_unknown() -> None:
    assert jobs_per_node(a_site(running_nodes=0, counts=(queued(0, running=20),))) == 1.0
    assert jobs_per_node(a_site(running_nodes=3)) == 1.0


def test_large_inputs_prefer_the_t1_by_the_clouds_weight() -> None:
    tier1 = the_tier1(counts=(queued(10),))
    large = a_bunch(n_jobs=1, n_input_files=6)
    assert load(a_case(large, tier1)) == pytest.approx(10 / 10 / 2)
    assert load(a_case(a_bunch(), tier1)) == pytest.approx(1.0)
    assert load(a_case(large, a_site(counts=(queued(10),)))) == pytest.approx(1.0)


def test_the_lowest_load_wins_without_input() -> None:
    sites = (a_site("A", 2, counts=(queued(15),)), a_site("B", 3, counts=(queued(10),)))
    decision = choose_site(a_bunch(), sites, a_cloud(), T, seed=1)
    assert (decision.verdict, decision.chosen, decision.chosen_name) == (Verdict.PLACED, 3, "B")
    assert [one.load for one in decision.candidates] == [1.5, 1.0]


@pytest.mark.parametrize(("second", "chosen"), [(19, "A"), (10, "A"), (9, "A")])
def test_of_the_two_lowest_the_one_with_more_files_wins(second: int, chosen: str) -> None:
    sites = (
        a_site("A", 2, counts=(queued(second),)),
        a_site("B", 3, counts=(queued(10),)),
        a_site("C", 4, counts=(queued(19),), pilots=5),
    )
    bunch = a_bunch(n_input_files=20, files_at={2: 15, 3: 1, 4: 20})
    assert choose_site(bunch, sites, a_cloud(), T, seed=1).chosen_name == chosen


def test_the_second_is_dropped_when_it_is_more_than_twice_as_loaded() -> None:
    sites = (a_site("A", 2, counts=(queued(9),)), a_site("B", 3, counts=(queued(19),)))
    bunch = a_bunch(n_input_files=20, files_at={2: 0, 3: 20})
    assert choose_site(bunch, sites, a_cloud(), T, seed=1).chosen_name == "A"


def test_idle_sites_are_ordered_by_files_then_by_the_seed() -> None:
    sites = tuple(a_site(f"S{n}", n) for n in range(1, 6))
    with_files = a_bunch(n_input_files=20, files_at={4: 20})
    assert {choose_site(with_files, sites, a_cloud(), T, seed).chosen for seed in range(20)} == {4}
    spread = Counter(choose_site(a_bunch(), sites, a_cloud(), T, seed).chosen for seed in range(200))
    assert set(spread) == {1, 2, 3, 4, 5}
    assert max(spread.values()) < 100


def test_urgent_production_goes_to_the_t1_even_if_it_is_busier() -> None:
    sites = (the_tier1(counts=(queued(19, priority=950),)), a_site())
    decision = choose_site(a_bunch(priority=950), sites, a_cloud(), T, seed=1)
    assert decision.chosen == 1
    t2 = decision.candidates[1].rejection
    assert t2 is not None
    assert t2.name == "T1 only"


def test_urgent_production_waits_for_a_t1_that_is_off_but_not_for_one_that_can_never_run_it() -> None:
    urgent = a_bunch(priority=950, needs=some_needs(memory_mb=8000))
    off = choose_site(urgent, (the_tier1(status="offline"), a_site()), a_cloud(), T, seed=1)
    assert (off.verdict, off.chosen) == (Verdict.WAIT, None)
    small = choose_site(urgent, (the_tier1(memory_mb=4000), a_site()), a_cloud(), T, seed=1)
    assert small.chosen_name == "T2A"


def test_the_reason_names_the_filter_that_removed_most() -> None:
    sites = (a_site("A", 2, pilots=0), a_site("B", 3, pilots=0), a_site("C", 4, status="offline"))
    decision = choose_site(a_bunch(), sites, a_cloud(), T, seed=1)
    assert decision.verdict is Verdict.WAIT
    assert decision.reason == "no site of cloud US now: pilots 2 (A, B); status 1 (C)"


def test_impossible_only_if_waiting_helps_nowhere() -> None:
    greedy = a_bunch(needs=some_needs(memory_mb=500_000))
    small, off = a_site("A", 2, memory_mb=8000), a_site("B", 3, status="offline")
    decision = choose_site(greedy, (small,), a_cloud(), T, seed=1)
    assert decision.verdict is Verdict.IMPOSSIBLE
    assert decision.reason == "no site of cloud US can ever run it: memory 1 (A)"
    assert choose_site(greedy, (small, off), a_cloud(), T, seed=1).verdict is Verdict.WAIT


def test_a_preset_site_is_kept() -> None:
    sites = (a_site("A", 2, counts=(queued(15),)), a_site("B", 3))
    assert choose_site(a_bunch(preset_site_id=2), sites, a_cloud(), T, seed=1).chosen == 2
    elsewhere = choose_site(a_bunch(preset_site_id=99, preset_site="CERN"), sites, a_cloud(), T, seed=1)
    assert elsewhere.verdict is Verdict.IMPOSSIBLE
    assert elsewhere.reason == "the preset site CERN is not in cloud US"
    off = replace(sites[0], status="offline")
    assert choose_site(a_bunch(preset_site_id=2), (off, sites[1]), a_cloud(), T, seed=1).verdict is Verdict.WAIT


def test_a_cloud_without_sites_says_so() -> None:
    decision = choose_site(a_bunch(), (), a_cloud(), T, seed=1)
    assert (decision.verdict, decision.reason) == (Verdict.WAIT, "cloud US has no site")


def test_a_round_sees_what_it_placed_and_stops_at_the_window() -> None:
    snapshot = RoundSnapshot(a_cloud(), (a_site("A", 2), a_site("B", 3)))
    decisions = run_round([a_bunch(n) for n in range(1, 6)], snapshot, T, seed=1)
    assert Counter(one.chosen_name for one in decisions) == {"A": 1, "B": 1, "": 3}
    rejection = decisions[-1].candidates[0].rejection
    assert rejection is not None
    assert (rejection.name, rejection.value, rejection.threshold) == ("window", 20, 20)
    assert decisions[-1].reason == "no site of cloud US now: window 2 (A, B)"


def test_a_round_takes_the_highest_priority_first_and_lower_work_does_not_block_it() -> None:
    snapshot = RoundSnapshot(a_cloud(), (a_site("A", 2, counts=(queued(20),)),))
    low, high = a_bunch(1), a_bunch(2, priority=600)
    assert [one.bunch_id for one in run_round([low, high], snapshot, T, seed=1)] == [2, 1]
    assert [one.chosen for one in run_round([low, high], snapshot, T, seed=1)] == [2, None]


def test_placing_adds_to_the_row_of_its_group_and_priority() -> None:
    site = with_bunch(with_bunch(a_site(counts=(queued(5, running=3),)), a_bunch()), a_bunch(priority=600))
    assert sorted((c.priority, c.assigned, c.activated, c.running) for c in site.counts) == [
        (500, 20, 5, 3),
        (600, 20, 0, 0),
    ]


@settings(max_examples=20)
@given(snapshots, bunch_lists(), st.integers(0, 9), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_the_seed_decides_alone(
    snapshot: RoundSnapshot, bunches: tuple[BunchFacts, ...], seed: int, random: Random
) -> None:
    first = run_round(bunches, snapshot, T, seed)
    mixed_sites, mixed_bunches = list(snapshot.sites), list(bunches)
    random.shuffle(mixed_sites)
    random.shuffle(mixed_bunches)
    assert run_round(mixed_bunches, replace(snapshot, sites=tuple(mixed_sites)), T, seed) == first


@settings(max_examples=20)
@given(snapshots, bunch_lists(), st.integers(0, 9))
def test_the_chosen_was_not_refused_and_every_refusal_has_a_reason(
    snapshot: RoundSnapshot, bunches: tuple[BunchFacts, ...], seed: int
) -> None:
    decisions = run_round(bunches, snapshot, T, seed)
    assert {one.bunch_id for one in decisions} == {one.id for one in bunches}
    for decision in decisions:
        assert len(decision.candidates) == len(snapshot.sites)
        refused = {one.id for one in decision.candidates if one.rejection}
        assert decision.chosen not in refused
        assert (decision.chosen is None) == (decision.verdict is not Verdict.PLACED)
        assert (decision.chosen is None) == (len(refused) == len(snapshot.sites))
        assert decision.reason
        for one in decision.candidates:
            assert (one.rejection is None) == (one.load is not None)
            if one.rejection is not None:
                assert one.rejection.text
                assert one.rejection.name
                assert one.rejection.value is not None


@settings(max_examples=20)
@given(snapshots, bunch_lists(), st.integers(0, 9))
def test_nobody_feasible_names_the_busiest_filter_first(
    snapshot: RoundSnapshot, bunches: tuple[BunchFacts, ...], seed: int
) -> None:
    for decision in run_round(bunches, snapshot, T, seed):
        if decision.chosen is not None or "preset site" in decision.reason:
            continue
        most = Counter(one.rejection.name for one in decision.candidates if one.rejection).most_common(1)[0][1]
        first = decision.reason.split(": ", 1)[1].split(" (", 1)[0]
        assert int(first.rsplit(" ", 1)[1]) == most
