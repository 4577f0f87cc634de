"""Owns what Harvester instances said, as whoever asks sees it: plain values, as the API sends them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Instance:
    """A Harvester instance: `workers` counts its live ones by status, `last_text` is its last message."""

    name: str
    owner: str
    host: str
    version: str | None
    started_at: datetime | None
    first_heard_at: datetime
    heard_at: datetime
    details: dict[str, object]
    workers: dict[str, int]
    commands_waiting: int
    last_level: str | None
    last_text: str | None


@dataclass(frozen=True, slots=True)
class Statistic:
    """How many workers of one kind an instance had at a queue when it last said so."""

    queue: str
    harvester: str
    job_type: str
    resource_type: str
    status: str
    n: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Command:
    """A command to an instance: waiting, fetched, acknowledged."""

    id: int
    harvester: str
    command: str
    arguments: object
    ack_requested: bool
    who: str
    created_at: datetime
    fetched_at: datetime | None
    acknowledged_at: datetime | None


@dataclass(frozen=True, slots=True)
class Said:
    """A message of an agent of Harvester."""

    harvester: str
    number: int
    module: str
    about: str
    level: str
    text: str
    said_at: datetime
    heard_at: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest measurement of a Harvester host."""

    harvester: str
    host: str
    at: datetime
    metrics: dict[str, object]


class Shown(StrEnum):
    """What there is to see of Harvester."""

    HARVESTERS = "harvesters"
    STATISTICS = "statistics"
    COMMANDS = "commands"
    DIALOGS = "dialogs"
    METRICS = "metrics"
