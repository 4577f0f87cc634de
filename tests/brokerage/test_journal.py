"""Stored brokerage: JSON out and in again is the same value, and a stored decision replays to the same answer."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panda.brokerage.choose import run_round
from panda.brokerage.cloud import assign_cloud
from panda.brokerage.decision import SiteDecision
from panda.brokerage.journal import CloudRecord, RoundRecord, from_json, replay_cloud, replay_round, to_json
from panda.brokerage.snapshot import BunchFacts, CloudFacts, RoundSnapshot, SiteFacts, TaskFacts
from panda.brokerage.thresholds import Thresholds
from tests.brokerage.builders import T, a_bunch, a_cloud, a_site, queued
from tests.brokerage.strategies import bunch_lists, cloud_lists, site_lists, snapshots, tasks


def through_text(value: object) -> dict[str, Any]:
    """What a database's JSON column gives back: no NaN, no infinity, object keys are texts."""
    read: dict[str, Any] = json.loads(json.dumps(to_json(value), allow_nan=False))
    return read


@settings(max_examples=20)
@given(snapshots, bunch_lists(), st.integers(0, 9))
def test_a_stored_round_replays(snapshot: RoundSnapshot, bunches: tuple[BunchFacts, ...], seed: int) -> None:
    record = RoundRecord(snapshot, bunches, T, seed, run_round(bunches, snapshot, T, seed))
    read = from_json(RoundRecord, through_text(record))
    assert read == record
    assert replay_round(read) == record.decisions


@settings(max_examples=20)
@given(tasks, cloud_lists, site_lists(), st.integers(0, 9))
def test_a_stored_cloud_decision_replays(
    task: TaskFacts, clouds: list[CloudFacts], grid: tuple[SiteFacts, ...], seed: int
) -> None:
    decision = assign_cloud(task, clouds, T, seed, grid)
    record = CloudRecord(task, tuple(clouds), grid, T, seed, decision)
    read = from_json(CloudRecord, through_text(record))
    assert read == record
    assert replay_cloud(read) == decision


def test_another_threshold_is_stored_and_used() -> None:
    snapshot = RoundSnapshot(a_cloud(), (a_site(counts=(queued(20),)),))
    wide = replace(T, window_minimum_jobs=100)
    record = RoundRecord(snapshot, (a_bunch(),), wide, 1, run_round([a_bunch()], snapshot, wide, 1))
    read = from_json(RoundRecord, through_text(record))
    assert read.thresholds.window_minimum_jobs == 100
    assert replay_round(read)[0].chosen_name == "T2A"
    assert replay_round(replace(read, thresholds=T))[0].chosen is None


def test_decisions_are_stored_one_by_one() -> None:
    decision = run_round([a_bunch()], RoundSnapshot(a_cloud(), (a_site(pilots=0),)), T, 1)[0]
    assert from_json(SiteDecision, through_text(decision)) == decision


def test_a_field_that_is_missing_takes_its_default() -> None:
    assert from_json(Thresholds, {"t1_direct_priority": 900}) == Thresholds(t1_direct_priority=900)


def test_a_field_that_is_unknown_is_an_error() -> None:
    with pytest.raises(ValueError, match="Thresholds has no field t2_priority"):
        from_json(Thresholds, {"t2_priority": 900})


def test_only_values_of_brokerage_are_stored() -> None:
    with pytest.raises(TypeError, match="dict is no value of brokerage"):
        to_json({})
