"""The factory's book of its pilots: a small file, written before a pilot is started, read after a restart."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pilot.client import JsonObject
from pilot.report import wire_time
from pilot.supply import Stock
from pilot.workspace import read_json, write_json

_RECENT_S = 3600.0
_QUICK_S = 10.0


class WorkerState(StrEnum):
    """What a pilot does, as update_workers names it; `submitting` is the factory's own, before it is submitted."""

    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    RUNNING = "running"
    IDLE = "idle"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSED = "missed"


PENDING = frozenset({WorkerState.SUBMITTING, WorkerState.SUBMITTED})
ALIVE = PENDING | {WorkerState.RUNNING, WorkerState.IDLE}


@dataclass(frozen=True, slots=True)
class Worker:
    """One pilot as the factory knows it. Times in epoch seconds; `told`: the server knows this state."""

    worker_id: int
    queue: str
    state: WorkerState
    submitted_at: float
    native_id: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    jobs: tuple[int, ...] = ()
    failed: int = 0
    cores: int = 1
    diagnosis: str = ""
    told: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it may still be there."""
        return self.state in ALIVE

    @property
    def failed_quickly(self) -> bool:
        """Ended at once without having done any good: the mark of a black hole (domain.md 2.8)."""
        if self.ended_at is None or self.ended_at - self.submitted_at >= _QUICK_S:
            return False
        return self.state in (WorkerState.FAILED, WorkerState.MISSED) or 0 < len(self.jobs) <= self.failed

    def wire(self, node: str) -> JsonObject:
        """The entry in update_workers."""
        return {
            "workerID": self.worker_id,
            "batchID": self.native_id or None,
            "status": self.state.value,
            "computingSite": self.queue,
            "nCore": self.cores,
            "submitTime": _time(self.submitted_at),
            "startTime": _time(self.started_at),
            "endTime": _time(self.ended_at),
            "nodeID": node,
            "diagMessage": self.diagnosis,
            "pandaid_list": list(self.jobs),
        }


@dataclass(slots=True)
class WorkerBook:
    """All pilots a factory has to know of, by number."""

    path: Path
    last_id: int = 0
    workers: dict[int, Worker] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "WorkerBook":
        """The book as it was when the factory ended, however it ended; a new one if there is none."""
        book = cls(path)
        content = read_json(path)
        if content is not None:
            book.last_id = int(content["last_id"])
            for entry in content["workers"]:
                worker = Worker(**entry | {"state": WorkerState(entry["state"]), "jobs": tuple(entry["jobs"])})
                book.workers[worker.worker_id] = worker
        return book

    def save(self, *, durable: bool) -> None:
        """Write the book; durable before a pilot is started, else it could start one twice."""
        content = {"last_id": self.last_id, "workers": [asdict(worker) for worker in self.workers.values()]}
        write_json(self.path, content, durable=durable)

    def keep(self, workers: Iterable[Worker]) -> None:
        """Enter new states."""
        for worker in workers:
            self.workers[worker.worker_id] = worker
            self.last_id = max(self.last_id, worker.worker_id)

    def alive(self) -> list[Worker]:
        """Pilots that may still be there."""
        return [worker for worker in self.workers.values() if worker.is_alive]

    def forgettable(self, now: float) -> list[Worker]:
        """Pilots that ended long ago and of which the server knows."""
        return [w for w in self.workers.values() if w.ended_at is not None and w.told and now - w.ended_at > _RECENT_S]

    def stock(self, queue: str, now: float) -> Stock:
        """What the supply rules want to know of a queue."""
        mine = [worker for worker in self.workers.values() if worker.queue == queue]
        ended = [w for w in mine if w.ended_at is not None and now - w.ended_at < _RECENT_S]
        return Stock(
            pending=sum(worker.state in PENDING for worker in mine),
            idle=sum(worker.state == WorkerState.IDLE for worker in mine),
            busy=sum(worker.state == WorkerState.RUNNING for worker in mine),
            ended_recently=len(ended),
            failed_quickly=sum(worker.failed_quickly for worker in ended),
            seconds_since_submission=min((now - worker.submitted_at for worker in mine), default=None),
        )


def _time(moment: float | None) -> str | None:
    return None if moment is None else wire_time(datetime.fromtimestamp(moment, UTC))
