"""Owns what files and blocks on their way look like to whoever asks: plain values, as the API sends them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FileView:
    """A file: `state` is input (brought from outside), transferring, ready or attached; `job_id` made it.

    `replicas` are the RSEs that have a good copy now, by the catalogue.
    """

    dataset: str
    kind: str
    scope: str
    lfn: str
    guid: str | None
    bytes: int | None
    adler32: str | None
    events: int | None
    state: str
    job_id: int | None
    ordinal: int | None
    replicas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlockView:
    """A block of files and its transfer: `arrived`, `moving` and `stuck` are files, `bytes_arrived` of them all.

    They are missing where the data management does not know the transfer (any more).
    """

    name: str
    kind: str
    task_id: int
    site: str | None
    rse: str
    state: str
    n_files: int
    bytes: int
    asked_at: datetime
    since: datetime
    error: str | None
    transfer: str | None
    arrived: int | None
    moving: int | None
    stuck: int | None
    bytes_arrived: int | None
