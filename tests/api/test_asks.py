"""Requests in plain words mean what the request's model makes of them; everything else is left to the model."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from panda_api.wire import asks
from panda_api.wire.asks import ask_of
from panda_api.wire.pilot import AcquireJobs
from tests.api.odd import ODD, TEXTS

PLAIN = {
    "site_name": "ALPHA", "computing_element": "ce1", "node": "wn1.cern.ch", "prod_source_label": "managed",
    "n_jobs": 2, "memory": 4000, "disk_space": 20_000, "cpu": 2500.0, "cores": 8, "remaining_time": 86_400,
    "vo": "atlas", "working_group": "AP_MCGN", "prod_user_id": "alice", "releases": ["21.0.15", "22.0.40"],
    "scheduler_id": "factory", "harvester_id": None, "worker_id": 7, "batch_id": "12.3",
    "request_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "wait_time": 55, "resource_type": "MCORE",
}  # fmt: skip


def by_the_model(raw: dict[str, Any]) -> object:
    try:
        wanted = AcquireJobs.model_validate(raw)
    except ValidationError as error:
        return error.errors(include_context=False, include_url=False)
    return None if wanted.is_rare else (wanted.ask(), wanted.wait_time)


def by_the_short_way(raw: dict[str, Any]) -> object:
    try:
        return ask_of(raw)
    except ValidationError as error:
        return error.errors(include_context=False, include_url=False)


@settings(max_examples=600)
@given(
    changes=st.dictionaries(
        st.sampled_from([*PLAIN, "task_id", "resourceType", "other"]),
        ODD | st.lists(st.sampled_from(TEXTS), max_size=2),
        max_size=4,
    ),
    left_out=st.sets(st.sampled_from(list(PLAIN))),
)
def test_both_ways_understand_the_same(changes: dict[str, Any], left_out: set[str]) -> None:
    raw = {name: value for name, value in PLAIN.items() if name not in left_out} | changes
    assert by_the_short_way(raw) == by_the_model(raw)


def test_plain_words_do_not_need_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_the_model(PLAIN)
    monkeypatch.delattr(asks, "AcquireJobs")
    assert ask_of(PLAIN) == expected
    with pytest.raises(NameError):
        ask_of(PLAIN | {"task_id": 7})
