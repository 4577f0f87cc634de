"""What is told of the copying itself to those who watch it: tries to copy files, summed by link and by dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from panda.domain.pattern import Pattern

FILTERS = ("source", "rse", "dataset", "file", "status")
"""What tries can be chosen by; `dataset` and `file` are names without scope, `status` one of TRY_STATES."""
TRY_STATES = ("done", "failed", "running", "queued", "stuck")


@dataclass(frozen=True, slots=True)
class TrafficWanted:
    """Which tries: those that ended in the span, and what is not yet there now, as far as every filter lets through.

    `tries` and `datasets` are lists of at most `limit`, the former after the first `offset`; `bins` cuts the span.
    """

    since: datetime
    until: datetime
    filters: Mapping[str, Pattern] = field(default_factory=dict)
    limit: int = 100
    offset: int = 0
    bins: int = 48


@dataclass(frozen=True, slots=True)
class Tally:
    """Tries of a link (`of` is its source, empty where none is known) or of a dataset, towards one RSE.

    Files and bytes that arrived, in how many seconds of copying; failed tries; files that are not there now, by state.
    """

    of: str
    rse: str
    files: int
    bytes: int
    seconds: float
    failed: int
    queued: int
    running: int
    stuck: int
    error: str | None

    @property
    def rate(self) -> float | None:
        """Bytes per second while a file was copied; None where nothing arrived."""
        return self.bytes / self.seconds if self.seconds > 0 else None

    @property
    def efficiency(self) -> float | None:
        """Per cent of the tries that ended well; None where none ended."""
        ended = self.files + self.failed
        return 100.0 * self.files / ended if ended else None


@dataclass(frozen=True, slots=True)
class Try:
    """One try to copy a file, ended or not; `dataset` is one for whose sake it was, None when it is gone."""

    file: str | None
    dataset: str | None
    source: str
    rse: str
    status: str
    number: int
    bytes: int
    seconds: float | None
    error: str
    queued_at: datetime
    ended_at: datetime | None
    transfer_id: str | None


@dataclass(frozen=True, slots=True)
class Bin:
    """What ended in one of the equal parts of the span, counted from 1."""

    number: int
    bytes: int
    files: int
    failed: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything of one moment: `total` tries (`n_datasets` datasets), of which the lists may be a part."""

    links: Sequence[Tally]
    datasets: Sequence[Tally]
    n_datasets: int
    tries: Sequence[Try]
    total: int
    bins: Sequence[Bin]
