"""Owns the copy of one claimed file, from claim to outcome; runs in a thread of the agent and knows no database."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from panda.ddm.embedded import storage
from panda.ddm.embedded.claims import Claim
from panda.ddm.embedded.faults import Fault, FaultKind
from panda.ddm.embedded.pace import Buckets

log = logging.getLogger(__name__)

SLOWEST_BYTES_PER_SECOND = 100_000
SHORTEST_DEADLINE_S = 300.0
_CRASHED = 70


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a copy ended, after how many seconds; an empty error means well. `wrong_content` blames the source's copy."""

    claim: Claim
    error: str = ""
    wrong_content: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """A copy in work: set `stop` to end it between two blocks."""

    claim: Claim
    stop: threading.Event = field(default_factory=threading.Event)


def perform(job: Job, buckets: Buckets, agents: int) -> Outcome | None:
    """Copy the file; None when it was stopped, for then nobody wants to hear of it."""
    claim = job.claim
    source = storage.path_on(claim.source_root, claim.did)
    target = storage.path_on(claim.target_root, claim.did)
    part = storage.part_path(target, claim.request_id, claim.lease)
    start = time.monotonic()
    try:
        _go_on(job)
        _refuse(claim)
        if not _is_there(target, claim):
            storage.copy(source, part, claim.target_root, claim.expected, _passage(job, buckets, agents))
            _go_on(job)
            storage.publish(part, target)
    except storage.Stopped:
        _tidy(part)
        return None
    except storage.CopyError as error:
        _tidy(part)
        told = f"{claim.source_rse} -> {claim.target_rse}: {error}"
        return Outcome(claim, told, _blames_source(error), time.monotonic() - start)
    if _has(claim, FaultKind.CRASH):
        os._exit(_CRASHED)
    return Outcome(claim, seconds=time.monotonic() - start)


def _is_there(target: Path, claim: Claim) -> bool:
    """Whether the right file lies there already: a crash came between a copy and its commit."""
    try:
        return storage.holds(target, claim.expected)
    except OSError as error:
        raise storage.TargetRefused(f"cannot read {target}: {error.strerror}") from error


def _tidy(part: Path) -> None:
    try:
        storage.remove(part)
    except OSError as error:
        log.warning("cannot remove %s: %s", part, error)


def _blames_source(error: storage.CopyError) -> bool:
    return isinstance(error, storage.WrongContent)


def _go_on(job: Job) -> None:
    if job.stop.is_set():
        raise storage.Stopped("stopped")


def _passage(job: Job, buckets: Buckets, agents: int) -> Callable[[bytes], bytes]:
    """What every block goes through: the deadline, the stop, the link's bandwidth and injected faults."""
    claim = job.claim
    seconds = max(SHORTEST_DEADLINE_S, claim.expected.bytes / SLOWEST_BYTES_PER_SECOND)
    deadline = time.monotonic() + seconds
    rate = claim.bytes_per_second
    bucket = buckets.of(claim.source_rse, claim.target_rse, rate / max(agents, 1)) if rate else None
    faults = list(claim.faults)

    def through(block: bytes) -> bytes:
        if bucket is not None:
            job.stop.wait(bucket.take(len(block)))
        passed = _spoil(block, faults, job.stop)
        _go_on(job)
        if time.monotonic() > deadline:
            raise storage.SourceUnreadable(f"the copy took longer than {seconds:.0f} s")
        return passed

    return through


# Injected faults -----------------------------------------------------------------------------------------------------


def _has(claim: Claim, kind: FaultKind) -> bool:
    return any(fault.kind is kind for fault in claim.faults)


def _refuse(claim: Claim) -> None:
    if _has(claim, FaultKind.FAIL):
        raise storage.CopyError("injected failure")
    if _has(claim, FaultKind.RSE_DOWN):
        raise storage.SourceUnreadable("the RSE is down (injected)")
    if _has(claim, FaultKind.DISK_FULL):
        raise storage.TargetRefused("cannot write on: No space left on device (injected)")


def _spoil(block: bytes, faults: list[Fault], stop: threading.Event) -> bytes:
    for fault in list(faults):
        if fault.kind is FaultKind.DELAY:
            stop.wait(fault.amount)
        elif fault.kind is FaultKind.CORRUPT:
            faults.remove(fault)
            block = bytes([block[0] ^ 0xFF]) + block[1:]
        elif fault.kind is FaultKind.TRUNCATE:
            faults.remove(fault)
            block = block[:-1]
    return block
