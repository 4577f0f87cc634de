"""Owns bandwidth: one token bucket per link, shared by the copies of an agent."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_BURST_SECONDS = 0.25


@dataclass(slots=True)
class Bucket:
    """Tokens (bytes) that flow in at a rate; who takes more than there are waits for them."""

    rate: float
    clock: Callable[[], float] = time.monotonic
    _tokens: float = 0.0
    _at: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, amount: int) -> float:
        """Take `amount` bytes and return how many seconds to wait before sending them."""
        with self._lock:
            now = self.clock()
            idle = 0.0 if self._at is None else now - self._at
            self._tokens = min(self._tokens + idle * self.rate, self.rate * _BURST_SECONDS)
            self._at = now
            self._tokens -= amount
            return max(0.0, -self._tokens / self.rate)


class Buckets:
    """The buckets of all links that have a limit."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def of(self, source: str, destination: str, rate: float) -> Bucket:
        """The bucket of a link, its rate (bytes/s) brought up to date."""
        bucket = self._buckets.setdefault((source, destination), Bucket(rate))
        bucket.rate = rate
        return bucket
