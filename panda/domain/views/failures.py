"""Owns what failed and where, as whoever asks sees it: plain values, as the API sends them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ErrorView:
    """Errors that look alike once numbers and paths are taken out; `wall_s` is the wall time lost, `sample` a job."""

    component: str
    code: int
    fingerprint: str
    jobs: int
    wall_s: float
    first: datetime
    last: datetime
    sites: tuple[str, ...]
    nodes: tuple[str, ...]
    tasks: tuple[int, ...]
    sample: int
    words: str


@dataclass(frozen=True, slots=True)
class NodeView:
    """A worker node's jobs that ended; `failed_wall_s` is the median wall time (s) of the failed ones."""

    site: str | None
    node: str
    failed: int
    finished: int
    failed_wall_s: float | None
    last: datetime
    black_hole: bool


@dataclass(frozen=True, slots=True)
class SiteTally:
    """Jobs that ended at a site."""

    site: str | None
    failed: int
    finished: int


@dataclass(frozen=True, slots=True)
class Failures:
    """What failed in a window of time."""

    since: datetime
    errors: tuple[ErrorView, ...]
    nodes: tuple[NodeView, ...]
    sites: tuple[SiteTally, ...]
