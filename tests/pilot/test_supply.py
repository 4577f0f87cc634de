"""The supply rule: a table of cases, and properties that hold for every input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilot.supply import QueueDemand, Stock, SupplyRules, pilots_to_submit

RULES = SupplyRules()
QUIET = {
    "queue": "Q",
    "status": "online",
    "label": "managed",
    "activated": 0,
    "running": 0,
    "pilots_submitted": 0,
    "pilots_running": 0,
    "nqueue": 0,
    "max_pilots": 100,
    "max_per_cycle": 50,
    "max_time_s": 3600,
}


@pytest.mark.parametrize(
    ("said", "stock", "count", "reason"),
    [
        ({}, Stock(), 0, "0 wanted, 0 free already"),
        ({"activated": 7}, Stock(), 7, "7 wanted"),
        ({"activated": 7}, Stock(pending=3), 4, "3 free"),
        ({"activated": 7}, Stock(pending=3, idle=2), 2, "5 free"),
        ({"activated": 7}, Stock(busy=30), 7, "7 wanted"),
        ({"activated": 7, "pilots_submitted": 5}, Stock(pending=3), 2, "5 free"),
        ({"nqueue": 2}, Stock(), 2, "2 wanted"),
        ({"nqueue": 2}, Stock(idle=1), 1, "1 free"),
        ({"nqueue": 2}, Stock(idle=2, busy=9), 0, "2 free"),
        ({"nqueue": 2, "activated": 9}, Stock(idle=2), 7, "9 wanted"),
        ({"activated": 99}, Stock(), 20, "max_pending"),
        ({"activated": 99, "max_per_cycle": 3}, Stock(), 3, "max_per_cycle"),
        ({"activated": 99, "max_pilots": 10}, Stock(busy=6, idle=1, pending=1), 2, "max_pilots"),
        ({"activated": 99, "max_pilots": 10, "pilots_running": 9}, Stock(busy=6), 1, "max_pilots"),
        ({"activated": 99, "max_pilots": 10}, Stock(busy=12), 0, "max_pilots"),
        ({"status": "offline", "activated": 9, "nqueue": 2}, Stock(), 0, "status is offline"),
        ({"status": "weird", "activated": 9}, Stock(), 0, "status is weird"),
        ({"status": "", "activated": 9}, Stock(), 0, "status is unknown"),
        ({"status": "test", "activated": 9, "nqueue": 5}, Stock(), 2, "2 wanted"),
        ({"status": "test", "nqueue": 5}, Stock(), 0, "0 wanted"),
        ({"status": "brokeroff", "activated": 9, "nqueue": 5}, Stock(), 9, "9 wanted"),
        ({"status": "brokeroff", "nqueue": 5}, Stock(), 0, "0 wanted"),
        ({"activated": None}, Stock(), 0, "no usable value of activated"),
        ({"activated": 9, "max_pilots": None}, Stock(), 0, "max_pilots"),
        ({"activated": 9, "max_per_cycle": -1}, Stock(), 0, "max_per_cycle"),
        ({"activated": 9, "nqueue": "many"}, Stock(), 0, "nqueue"),
        ({"activated": True}, Stock(), 0, "activated"),
        ({"activated": 9.5}, Stock(), 0, "activated"),
        ({"activated": 9}, Stock(ended_recently=4, failed_quickly=2, seconds_since_submission=90.0), 1, "black hole"),
        ({"activated": 9}, Stock(ended_recently=4, failed_quickly=2, seconds_since_submission=9.0), 0, "black hole"),
        ({"activated": 9}, Stock(ended_recently=4, failed_quickly=1, seconds_since_submission=9.0), 9, "9 wanted"),
        ({"activated": 9}, Stock(ended_recently=3, failed_quickly=3, seconds_since_submission=9.0), 9, "9 wanted"),
    ],
)
def test_the_rule(said: dict[str, object], stock: Stock, count: int, reason: str) -> None:
    supply = pilots_to_submit(QueueDemand.parse(QUIET | said), stock, RULES)
    assert (supply.count, reason in supply.reason) == (count, True), supply


counts = st.integers(0, 200)
anything = st.one_of(counts, st.integers(), st.none(), st.booleans(), st.floats(), st.text(max_size=5))
fields = ["activated", "running", "pilots_submitted", "pilots_running", "nqueue", "max_pilots", "max_per_cycle"]
stocks = st.builds(
    Stock, pending=counts, idle=counts, busy=counts, ended_recently=counts, failed_quickly=counts,
    seconds_since_submission=st.one_of(st.none(), st.floats(0, 1e6)),
)  # fmt: skip
statuses = st.sampled_from(["online", "brokeroff", "test", "offline", "", "ONLINE"])


@given(st.fixed_dictionaries(dict.fromkeys(fields, anything)), statuses, stocks)
def test_no_information_is_ever_taken_for_no_limit(said: dict[str, object], status: str, stock: Stock) -> None:
    demand = QueueDemand.parse(said | {"queue": "Q", "status": status})
    count = pilots_to_submit(demand, stock, RULES).count
    assert 0 <= count <= RULES.max_pending
    if count:
        assert status in ("online", "brokeroff", "test")
        per_cycle, most = demand.max_per_cycle, demand.max_pilots
        assert per_cycle is not None
        assert most is not None
        assert count <= per_cycle
        assert count + stock.pending + stock.idle + stock.busy <= most


@given(st.fixed_dictionaries(dict.fromkeys(fields, counts)), stocks, st.integers(1, 20))
def test_more_free_pilots_never_mean_more_new_ones(said: dict[str, int], stock: Stock, more: int) -> None:
    demand = QueueDemand.parse(said | {"queue": "Q", "status": "online"})
    richer = Stock(
        stock.pending, stock.idle + more, stock.busy, stock.ended_recently, stock.failed_quickly,
        stock.seconds_since_submission,
    )  # fmt: skip
    assert pilots_to_submit(demand, richer, RULES).count <= pilots_to_submit(demand, stock, RULES).count


@given(st.fixed_dictionaries(dict.fromkeys(fields, counts)), stocks)
def test_it_settles(said: dict[str, int], stock: Stock) -> None:
    """What was submitted counts as pending in the next cycle: the demand is met once, not every cycle again."""
    demand = QueueDemand.parse(said | {"queue": "Q", "status": "online"})
    wished = max(said["activated"], said["nqueue"])
    total, pending = 0, stock.pending
    for _ in range(5):
        count = pilots_to_submit(demand, Stock(pending=pending, idle=stock.idle, busy=stock.busy), RULES).count
        total, pending = total + count, pending + count
    assert total <= max(0, wished - stock.pending - stock.idle)
