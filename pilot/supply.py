"""How many pilots a queue gets in this cycle: pure rules (domain.md 2.8), no clock, no I/O.

Unknown or invalid information never means unlimited: the answer is then 0, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_COUNTS = ("activated", "running", "pilots_submitted", "pilots_running", "nqueue", "max_pilots", "max_per_cycle")


@dataclass(frozen=True, slots=True)
class QueueDemand:
    """What the server says about one queue; None where it said nothing usable."""

    queue: str
    status: str
    label: str = "managed"
    activated: int | None = None
    running: int | None = None
    pilots_submitted: int | None = None
    pilots_running: int | None = None
    nqueue: int | None = None
    max_pilots: int | None = None
    max_per_cycle: int | None = None
    max_time_s: int | None = None
    cores: int | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, object]) -> "QueueDemand":
        """Read the wire's dictionary; anything that is not a count >= 0 becomes None."""
        return cls(
            queue=str(raw.get("queue") or ""),
            status=str(raw.get("status") or ""),
            label=str(raw.get("label") or ""),
            max_time_s=_count(raw.get("max_time_s")),
            cores=_count(raw.get("cores")),
            **{name: _count(raw.get(name)) for name in _COUNTS},
        )


@dataclass(frozen=True, slots=True)
class Stock:
    """This factory's own pilots at the queue, by what they do now, and how the last ones ended."""

    pending: int = 0
    idle: int = 0
    busy: int = 0
    ended_recently: int = 0
    failed_quickly: int = 0
    seconds_since_submission: float | None = None


@dataclass(frozen=True, slots=True)
class SupplyRules:
    """Limits of the factory that no queue can lift."""

    max_pending: int = 20
    test_pilots: int = 2
    throttle_share: float = 0.5
    throttle_sample: int = 4
    throttle_interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Supply:
    """The decision: how many pilots to submit now, and why that many."""

    count: int
    reason: str


def pilots_to_submit(demand: QueueDemand, stock: Stock, rules: SupplyRules) -> Supply:
    """How many pilots to submit to a queue now (domain.md 2.8).

    Jobs ready minus pilots that can take one (pending and idle); an online queue always keeps `nqueue` of those. Then
    the caps: per cycle, pending, running in all; a queue under test gets few; a black hole one per interval.
    """
    if demand.status not in ("online", "brokeroff", "test"):
        return Supply(0, f"status is {demand.status or 'unknown'}")
    counts = {name: getattr(demand, name) for name in _COUNTS}
    unknown = [name for name, value in counts.items() if value is None]
    if unknown:
        return Supply(0, f"no usable value of {', '.join(unknown)}")
    return _capped(demand.status, counts, stock, rules)


def _capped(status: str, counts: Mapping[str, int], stock: Stock, rules: SupplyRules) -> Supply:
    """The chain of rules over numbers that are known."""
    others_pending = max(0, counts["pilots_submitted"] - stock.pending)
    mine_started = stock.idle + stock.busy
    others_started = max(0, counts["pilots_running"] - mine_started)
    pending = stock.pending + others_pending
    free = pending + stock.idle
    wished = counts["activated"]
    if status == "online":
        wished = max(wished, counts["nqueue"])
    if status == "test":
        wished = min(wished, rules.test_pilots)
    limits = {
        f"{wished} wanted, {free} free already": wished - free,
        "max_per_cycle": counts["max_per_cycle"],
        "max_pending": rules.max_pending - pending,
        "max_pilots": counts["max_pilots"] - pending - mine_started - others_started,
        "black hole": _throttle(stock, rules),
    }
    known = {name: limit for name, limit in limits.items() if limit is not None}
    reason = min(known, key=known.__getitem__)
    return Supply(max(0, known[reason]), reason)


def _throttle(stock: Stock, rules: SupplyRules) -> int | None:
    """At most one per interval while at least half of the last pilots failed at once; None when there is no reason."""
    if stock.ended_recently < rules.throttle_sample:
        return None
    if stock.failed_quickly < rules.throttle_share * stock.ended_recently:
        return None
    waited = stock.seconds_since_submission
    return 1 if waited is None or waited >= rules.throttle_interval_s else 0


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value
