"""Owns the answers to `why`, `what-if` and a dry run: sentences and tables that are ready to be shown."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Facts:
    """A table that belongs to an explanation; every cell is a text ready to be shown."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer to "why": a title, sentences in the order of reading, and the candidates of brokerage if it matters."""

    title: str
    lines: tuple[str, ...]
    table: Facts | None = None


class Kind(StrEnum):
    """What can be asked about."""

    TASK = "task"
    BUNCH = "bunch"
    JOB = "job"
    SITE = "site"
    PILOT = "pilot"
    DATASET = "dataset"


@dataclass(frozen=True, slots=True)
class PreviewJob:
    """One of the first jobs; the numbers of the task and job in its names are 0, they do not exist yet."""

    number: int
    parameters: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    n_events: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision of brokerage as it would be now: what is chosen, in words, with every candidate."""

    chosen: str | None
    words: str
    candidates: Facts


@dataclass(frozen=True, slots=True)
class Preview:
    """A request as it would be expanded and brokered now."""

    name: str
    jobs: int
    bunches: int
    rule: str
    input_files: int
    input_bytes: int
    first: tuple[PreviewJob, ...]
    cloud: Choice
    site: Choice | None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would be decided otherwise, in words; every candidate of the decision that shows it, before and after."""

    title: str
    at: datetime
    different: int
    lines: tuple[str, ...]
    candidates: Facts
