"""The lease on a production task: the right to tell its story, as a value."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to change one production task until the lease ends; `wake_seq` is what it was when the story began."""

    task_id: int
    token: UUID
    wake_seq: int
