"""Signs of life in plain words mean what the request's model makes of them; everything else is left to the model."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from panda_api.wire import beats
from panda_api.wire.beats import update_of
from panda_api.wire.pilot import UpdateJob
from tests.api.odd import ODD

PLAIN = {
    "job_id": 7, "job_status": "running", "attempt_nr": 1, "lease": 2, "site_name": "ALPHA", "node": "wn1.cern.ch",
    "batch_id": "12.3", "scheduler_id": "factory", "pilot_id": "p1", "start_time": "2026-11-08 14:00:00",
    "core_count": 8, "cpu_consumption_time": 80, "max_rss": 1000, "n_events": 3, "pilot_error_code": 0,
    "trans_exit_code": 0, "exe_error_code": 0, "pilot_error_diag": "", "exe_error_diag": "",
}  # fmt: skip


def by_the_model(raw: dict[str, Any]) -> object:
    try:
        return UpdateJob.model_validate(raw).update()
    except ValidationError as error:
        return error.errors(include_context=False, include_url=False)


def by_the_short_way(raw: dict[str, Any]) -> object:
    try:
        return update_of(raw)
    except ValidationError as error:
        return error.errors(include_context=False, include_url=False)


@settings(max_examples=400)
@given(
    changes=st.dictionaries(st.sampled_from([*PLAIN, "stdout", "job_output_report", "other"]), ODD, max_size=4),
    left_out=st.sets(st.sampled_from(list(PLAIN))),
)
def test_both_ways_understand_the_same(changes: dict[str, Any], left_out: set[str]) -> None:
    raw = {name: value for name, value in PLAIN.items() if name not in left_out} | changes
    # Compared as texts: a number that is none is not equal to itself.
    assert repr(by_the_short_way(raw)) == repr(by_the_model(raw))


FILE = {"guid": "0000-7", "fsize": 12, "adler32": "0a1b2c3d", "endpoint": "R1"}
FINAL = PLAIN | {"job_status": "finished", "end_time": "2026-11-08 15:00:00"}
REPORTS = st.dictionaries(
    st.sampled_from(["a.root", "b.log", "..", "a b", ""]),
    st.one_of(
        st.builds(
            lambda changes, left_out: {k: v for k, v in FILE.items() if k not in left_out} | changes,
            st.dictionaries(st.sampled_from([*FILE, "surl", "events", "md5sum", "n_events"]), ODD, max_size=2),
            st.sets(st.sampled_from(list(FILE)), max_size=2),
        ),
        st.just(FILE),
        ODD,
    ),
    max_size=2,
)


@settings(max_examples=400)
@given(
    changes=st.dictionaries(st.sampled_from(list(FINAL)), ODD, max_size=2),
    report=st.one_of(REPORTS.map(json.dumps), st.just(json.dumps({"a.root": FILE})), ODD),
)
def test_both_ways_understand_the_same_final_report(changes: dict[str, Any], report: Any) -> None:
    raw = FINAL | {"job_output_report": report} | changes
    assert repr(by_the_short_way(raw)) == repr(by_the_model(raw))


@pytest.mark.parametrize("status", ["starting", "running", "finished"])
def test_plain_words_do_not_need_the_model(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PLAIN | {"job_status": status}
    if status == "finished":
        plain |= {"end_time": "2026-11-08 15:00:00", "job_output_report": json.dumps({"a.root": FILE, "b.log": FILE})}
    expected = UpdateJob.model_validate(plain).update()
    monkeypatch.delattr(beats, "UpdateJob")
    assert update_of(plain) == expected
    with pytest.raises(NameError):
        update_of(PLAIN | {"job_status": "failed"})
