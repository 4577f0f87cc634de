"""The embedded DDM under injected faults: every one is noticed, none leaves wrong bytes under a right name."""

import pytest

from panda.ddm.embedded import faults, topology, upkeep
from panda.ddm.embedded.faults import Fault, FaultKind
from panda.ddm.embedded.topology import Link
from panda.ddm.port import ReplicaState, TransferState
from tests.ddm.bench import Bench, eventually


@pytest.mark.parametrize(
    "kind", [FaultKind.FAIL, FaultKind.CORRUPT, FaultKind.TRUNCATE, FaultKind.DISK_FULL, FaultKind.RSE_DOWN]
)
def test_a_passing_fault_is_survived(moving: Bench, kind: FaultKind) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source)
    faults.inject(moving.engine, Fault(kind, destination_rse=target, remaining=2))
    assert moving.reaches(moving.ask(dataset, target), TransferState.OK).ok == 3
    assert all(moving.content_is_right(target, spec) for spec in files)
    assert moving.parts(target) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FaultKind.FAIL, "injected failure"),
        (FaultKind.TRUNCATE, "1999 bytes"),
        (FaultKind.DISK_FULL, "No space left"),
        (FaultKind.RSE_DOWN, "is down"),
    ],
)
def test_a_lasting_fault_ends_stuck_with_its_text(moving: Bench, kind: FaultKind, words: str) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source, count=1)
    fault = faults.inject(moving.engine, Fault(kind, destination_rse=target))
    transfer = moving.ask(dataset, target)
    status = moving.reaches(transfer, TransferState.STUCK)
    assert words in status.error
    assert f"{source} -> {target}" in status.error
    assert not moving.path(target, files[0].did).exists()
    faults.lift(moving.engine, fault)
    upkeep.examine_suspicious(moving.engine)
    upkeep.repair(moving.engine, 0.0)
    assert moving.reaches(transfer, TransferState.OK).stuck == 0


def test_a_source_that_gives_wrong_bytes_is_avoided_and_then_lost(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, (spec,) = moving.filled(source, count=1)
    moving.path(source, spec.did).write_bytes(b"z" * spec.bytes)
    transfer = moving.ask(dataset, target)
    assert "the catalogue says" in moving.reaches(transfer, TransferState.STUCK).error
    assert [c.state for c in moving.ddm.replicas([spec.did])] == [ReplicaState.SUSPICIOUS]
    upkeep.examine_suspicious(moving.engine)
    assert list(moving.ddm.replicas([spec.did])) == []
    assert moving.ddm.locations([dataset]) == {dataset: {}}


def test_a_suspicious_copy_that_is_right_is_trusted_again(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, (spec,) = moving.filled(source, count=1)
    faults.inject(moving.engine, Fault(FaultKind.CORRUPT, destination_rse=target, remaining=3))
    transfer = moving.ask(dataset, target)
    moving.reaches(transfer, TransferState.STUCK)
    upkeep.examine_suspicious(moving.engine)
    assert [c.state for c in moving.ddm.replicas([spec.did])] == [ReplicaState.AVAILABLE]
    moving.ddm.update([transfer], retry_now=True).raise_first()
    moving.reaches(transfer, TransferState.OK)


def test_a_running_copy_is_stopped_by_cancelling(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, (spec,) = moving.filled(source, count=1)
    fault = faults.inject(moving.engine, Fault(FaultKind.DELAY, destination_rse=target, amount=3600))
    transfer = moving.ask(dataset, target)
    eventually(lambda: moving.parts(target), "the copy to begin")
    moving.ddm.cancel([transfer]).raise_first()
    eventually(lambda: not moving.parts(target), "the copy to stop")
    faults.lift(moving.engine, fault)
    assert not moving.path(target, spec.did).exists()


def test_a_link_is_no_faster_than_its_bandwidth(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    topology.declare_links(moving.engine, [Link(source, target, bytes_per_second=20_000_000)])
    dataset, files = moving.filled(source, count=2, size=5_000_000)
    moving.reaches(moving.ask(dataset, target), TransferState.OK)
    assert all(moving.content_is_right(target, spec) for spec in files)
