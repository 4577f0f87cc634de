"""The door to distributed data management: what PanDA asks of it, in values and one Protocol.

It owns no storage and no SQL. Implementations: `panda.ddm.embedded`; Rucio follows (reference: rucio-ddm.md 5).

Rules of every implementation:
- A call of any size is cut into chunks inside; an answer is given per item (`BulkResult`), never all-or-nothing.
- Every changing call may be repeated and then changes nothing. A caller's `key` names one call: the same key with the
  same content is answered again, with other content it is refused with `Inconsistent`. An empty key is no key.
- Completion is an event, delivered at least once by push and always to be had from `changes`; `status` is the truth.
- A failure of the whole call is raised (`Unavailable`, `Overloaded`), a failure of one item is in `BulkResult.failed`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from panda.ddm.did import Did, check_did
from panda.ddm.errors import (
    Closed,
    DdmError,
    Denied,
    Inconsistent,
    InvalidExpression,
    InvalidName,
    NoTarget,
    NotFound,
    Overloaded,
    QuotaExceeded,
    Unavailable,
)
from panda.ddm.traffic import Traffic, TrafficWanted

__all__ = [
    "BulkResult",
    "Closed",
    "Completeness",
    "DataManager",
    "DatasetInfo",
    "DatasetSpec",
    "DdmError",
    "DdmEvent",
    "Denied",
    "Did",
    "EventKind",
    "FileInfo",
    "FileSpec",
    "Health",
    "Inconsistent",
    "InvalidExpression",
    "InvalidName",
    "NoTarget",
    "NotFound",
    "Overloaded",
    "QuotaExceeded",
    "ReplicaInfo",
    "ReplicaState",
    "RequestResult",
    "RseInfo",
    "RseSpec",
    "TransferId",
    "TransferRequest",
    "TransferState",
    "TransferStatus",
    "Unavailable",
    "Usage",
    "check_did",
]

TransferId = str
Item = TypeVar("Item")


class ReplicaState(StrEnum):
    """What is known of one copy: a SUSPICIOUS one was read with a wrong checksum several times and is no source."""

    AVAILABLE = "AVAILABLE"
    SUSPICIOUS = "SUSPICIOUS"


class TransferState(StrEnum):
    """State of a dataset's transfer to an RSE; OK falls back to MOVING when an open dataset grows or a copy is lost."""

    QUEUED = "QUEUED"
    MOVING = "MOVING"
    OK = "OK"
    STUCK = "STUCK"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class EventKind(StrEnum):
    """What a `DdmEvent` tells.

    TRANSFER_OK comes on each entry to OK, also when all was there from the start. FILE_ARRIVED comes for files that
    were missing and came, not for files that were there when they were asked for; FILE_FAILED when a file gets stuck.
    """

    TRANSFER_OK = "TRANSFER_OK"
    TRANSFER_STUCK = "TRANSFER_STUCK"
    TRANSFER_PROGRESS = "TRANSFER_PROGRESS"
    FILE_ARRIVED = "FILE_ARRIVED"
    FILE_FAILED = "FILE_FAILED"
    DATASET_CLOSED = "DATASET_CLOSED"
    DATASET_ERASED = "DATASET_ERASED"
    REPLICA_LOST = "REPLICA_LOST"


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file as its writer describes it: bytes, adler32 (8 hex digits), GUID; pfn only where an RSE wants one."""

    did: Did
    bytes: int
    adler32: str
    guid: str
    events: int | None = None
    pfn: str | None = None


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of a dataset as the catalogue knows it; `position` counts the dataset's files from 0 and never changes."""

    did: Did
    bytes: int
    adler32: str
    guid: str
    events: int | None
    position: int


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A dataset (or container of datasets) to be created; after `lifetime` it is erased."""

    did: Did
    lifetime: timedelta | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    container: bool = False


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset or container: whether it is open, how many files and bytes (of a container: datasets, 0)."""

    did: Did
    open: bool
    files: int
    bytes: int
    container: bool
    created_at: datetime
    closed_at: datetime | None
    expires_at: datetime | None
    meta: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """One copy of a file: where, its address (`file://localhost/...`), who wrote it into the catalogue and when."""

    did: Did
    rse: str
    state: ReplicaState
    pfn: str
    bytes: int
    adler32: str
    guid: str
    written_by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Completeness:
    """How much of a dataset is at an RSE."""

    available_files: int
    total_files: int
    available_bytes: int
    total_bytes: int

    @property
    def complete(self) -> bool:
        """Whether every file is there."""
        return self.available_files == self.total_files


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """Bring a dataset, and what is attached to it later, to an RSE. Priority: 1 (first) to 5."""

    dataset: Did
    to_rse: str
    source_rse: str | None = None
    lifetime: timedelta | None = None
    activity: str = "Production Input"
    priority: int = 3
    comment: str = ""
    account: str = "panda"


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """A transfer now: files ok, moving and stuck; `bytes` have arrived or were there; `error` is the last one met."""

    id: TransferId
    dataset: Did
    rse: str
    state: TransferState
    ok: int
    moving: int
    stuck: int
    bytes: int
    error: str
    updated: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class DdmEvent:
    """One entry of the feed. `seq` grows in commit order, so that a reader that has seen `seq` has seen all before it.

    `did` is a dataset for TRANSFER_* and DATASET_*, otherwise a file; `transfer_id` is empty where none is concerned.
    """

    seq: int
    at: datetime
    kind: EventKind
    transfer_id: TransferId
    did: Did
    rse: str
    detail: str


@dataclass(frozen=True, slots=True)
class BulkResult(Generic[Item]):
    """Answer to a call over many items: what is done (also: was done before), and what failed with its reason."""

    done: list[Item]
    failed: list[tuple[Item, DdmError]]

    def raise_first(self) -> None:
        """Raise the first failure, for callers to whom one failure is the failure of all."""
        if self.failed:
            raise self.failed[0][1]


@dataclass(frozen=True, slots=True)
class RequestResult:
    """Answer to transfer requests: `ids[i]` belongs to request i and is None where it failed."""

    ids: list[TransferId | None]
    failed: list[tuple[TransferRequest, DdmError]]

    def raise_first(self) -> None:
        """Raise the first failure, for callers to whom one failure is the failure of all."""
        if self.failed:
            raise self.failed[0][1]


@dataclass(frozen=True, slots=True)
class RseSpec:
    """A storage element to be declared: a folder `root` at a site.

    Limits count files copied at the same time (None: the agent's setting). With `reap_above` set, unneeded copies are
    deleted only when more than this fraction of the declared space is used, oldest first; otherwise at once.
    """

    name: str
    site: str
    root: str
    cloud: str = ""
    tier: int = 2
    declared_space_bytes: int | None = None
    available_read: bool = True
    available_write: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)
    max_incoming: int | None = None
    max_outgoing: int | None = None
    reap_above: float | None = None


@dataclass(frozen=True, slots=True)
class RseInfo:
    """A storage element with what lies on it."""

    name: str
    site: str
    cloud: str
    tier: int
    root: str
    available_read: bool
    available_write: bool
    declared_space_bytes: int | None
    used_bytes: int
    files: int
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes that an account's live transfers hold at an RSE, and its limit there (None: no limit)."""

    account: str
    rse: str
    bytes: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether data moves: living agents, files queued, running, stuck, and seconds the oldest due file waits."""

    ok: bool
    agents: int
    queued: int
    running: int
    stuck: int
    oldest_queued_seconds: float
    undelivered_events: int
    message: str


class DataManager(Protocol):
    """Distributed data management as PanDA sees it. See the module's head for keys, repetition and errors."""

    def health(self) -> Health:
        """How data management is doing."""
        ...

    # catalogue
    def create_datasets(self, specs: Sequence[DatasetSpec], *, key: str = "") -> BulkResult[Did]:
        """Create datasets, open and empty; one that exists already is done. An erased name is `Inconsistent`."""
        ...

    def attach(self, dataset: Did, files: Sequence[FileSpec | Did], *, key: str = "") -> BulkResult[Did]:
        """Append files to an open dataset, in the order given (to a container: datasets); attached ones are done.

        A FileSpec brings its file into the catalogue, a Did must be known. Failures: NotFound, Closed, Inconsistent.
        """
        ...

    def close(self, datasets: Sequence[Did]) -> BulkResult[Did]:
        """Make datasets immutable; emits DATASET_CLOSED."""
        ...

    def reopen(self, datasets: Sequence[Did]) -> BulkResult[Did]:
        """Allow attaching again."""
        ...

    def erase(self, datasets: Sequence[Did]) -> BulkResult[Did]:
        """Take datasets away; copies of files that no dataset holds any more are deleted. Emits DATASET_ERASED."""
        ...

    def dataset(self, did: Did) -> DatasetInfo | None:
        """One dataset or container, None when unknown or erased."""
        ...

    def datasets(self, pattern: str) -> Iterator[DatasetInfo]:
        """Datasets and containers whose `scope:name` matches, `*` standing for any characters, ordered by name."""
        ...

    def files(self, dataset: Did) -> Iterator[FileInfo]:
        """The files of a dataset in the order of attaching, read page by page. Unknown: NotFound."""
        ...

    def find_by_guid(self, guids: Sequence[str]) -> dict[str, Did]:
        """The files of these GUIDs; unknown ones are left out."""
        ...

    def datasets_of(self, files: Sequence[Did]) -> dict[Did, list[Did]]:
        """The datasets that hold each file."""
        ...

    def expand(self, container: Did) -> list[Did]:
        """The datasets of a container, in order, nested ones opened; a dataset expands to itself."""
        ...

    # replicas
    def register_replicas(
        self, rse: str, files: Sequence[FileSpec], *, dataset: Did | None = None, written_by: str = "", key: str = ""
    ) -> BulkResult[Did]:
        """Say that these files lie at an RSE, and attach them to a dataset when given: what outputs need.

        Presence and size are looked up at the storage where it can be reached: NotFound, Inconsistent.
        """
        ...

    def declare_lost(self, rse: str, files: Sequence[Did], reason: str) -> BulkResult[Did]:
        """Take copies out of the catalogue; transfers that held them bring them again. Emits REPLICA_LOST."""
        ...

    def delete_dark(self, rse: str, files: Sequence[Did]) -> list[Did]:
        """Delete these files from an RSE where the catalogue knows no copy of them; returns those that were there.

        For outputs of an attempt that lost; they carry its number, so that nobody else writes them.
        """
        ...

    def replicas(self, files: Sequence[Did], rses: Sequence[str] | None = None) -> Iterator[ReplicaInfo]:
        """Every copy of these files (at these RSEs), in any order."""
        ...

    def local_catalogue(self, rse: str) -> Iterator[ReplicaInfo]:
        """The local replica catalogue of an RSE: every copy there with who wrote it and when, read page by page."""
        ...

    def locations(self, datasets: Sequence[Did]) -> dict[Did, dict[str, Completeness]]:
        """Per dataset and RSE how much of it is available there; RSEs without any of its files are left out."""
        ...

    # transfers
    def request(self, reqs: Sequence[TransferRequest], *, key: str = "") -> RequestResult:
        """Ask for transfers; the same dataset and RSE gives the id that exists. NotFound, NoTarget, QuotaExceeded."""
        ...

    def update(
        self,
        ids: Sequence[TransferId],
        *,
        priority: int | None = None,
        retry_now: bool = False,
        lifetime: timedelta | None = None,
    ) -> BulkResult[TransferId]:
        """Change priority or remaining lifetime (from now), or try stuck files again at once."""
        ...

    def cancel(self, ids: Sequence[TransferId]) -> BulkResult[TransferId]:
        """Stop transfers and give up their hold on copies; what was copied may then be deleted."""
        ...

    def status(self, ids: Sequence[TransferId]) -> dict[TransferId, TransferStatus]:
        """State and progress; unknown ids are left out."""
        ...

    def transfers_of(self, datasets: Sequence[Did]) -> dict[Did, list[TransferStatus]]:
        """All transfers of each dataset, also ended ones, oldest first."""
        ...

    def changes(self, since: int, limit: int = 1000) -> list[DdmEvent]:
        """Events with `seq` > since in order; the last one's seq is the next cursor. Nothing is ever skipped."""
        ...

    def traffic(self, wanted: TrafficWanted) -> Traffic:
        """How copying goes: tries that ended in a span and files that are not there yet, all of one moment."""
        ...

    # topology and accounting
    def declare_rses(self, specs: Sequence[RseSpec]) -> BulkResult[str]:
        """Create or change storage elements, as a grid file describes them."""
        ...

    def rses(self, expression: str = "*") -> list[RseInfo]:
        r"""Storage elements matching `name`, `attribute=value`, `*`, `&`, `|`, `\`, parentheses; InvalidExpression."""
        ...

    def usage(self, account: str, rse: str | None = None) -> list[Usage]:
        """What an account holds, per RSE."""
        ...
