"""Conformance: transfers really move bytes, and say so."""

from panda.ddm.port import EventKind, NoTarget, NotFound, TransferRequest, TransferState
from tests.ddm.bench import Bench, eventually


def test_a_dataset_is_copied_and_told(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source, count=12, size=3_000_000)
    start = _last_seq(moving)
    transfer = moving.ask(dataset, target)
    status = moving.reaches(transfer, TransferState.OK)
    assert (status.ok, status.moving, status.stuck, status.bytes) == (12, 0, 0, 36_000_000)
    assert all(moving.content_is_right(target, spec) for spec in files)
    assert moving.parts(target) == []
    told = moving.ddm.changes(start)
    assert [e.kind for e in told].count(EventKind.FILE_ARRIVED) == 12
    assert [e.transfer_id for e in told if e.kind is EventKind.TRANSFER_OK] == [transfer]
    assert EventKind.TRANSFER_PROGRESS in {e.kind for e in told}
    assert moving.ddm.locations([dataset])[dataset][target].complete
    copies = list(moving.ddm.replicas([files[0].did], [target]))
    assert copies[0].pfn == f"file://localhost{moving.path(target, files[0].did)}"
    assert "agent" in copies[0].written_by


def _last_seq(bench: Bench) -> int:
    seq = 0
    while events := bench.ddm.changes(seq):
        seq = events[-1].seq
    return seq


def test_the_same_request_gives_the_same_transfer(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, _ = moving.filled(source)
    first = moving.ask(dataset, target)
    assert moving.ask(dataset, target, priority=1) == first
    twice = moving.ddm.request([TransferRequest(dataset, target), TransferRequest(dataset, target)])
    assert twice.ids == [first, first]
    moving.reaches(first, TransferState.OK)
    assert moving.ask(dataset, target) == first


def test_what_is_there_is_ok_at_once(bench: Bench) -> None:
    rse = bench.rse()
    dataset, _ = bench.filled(rse)
    start = _last_seq(bench)
    transfer = bench.ask(dataset, rse)
    assert bench.status(transfer).state is TransferState.OK
    assert [e.kind for e in bench.ddm.changes(start)] == [EventKind.TRANSFER_OK]


def test_an_open_dataset_moves_what_is_attached_later(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, _ = moving.filled(source, count=1)
    transfer = moving.ask(dataset, target)
    moving.reaches(transfer, TransferState.OK)
    start = _last_seq(moving)
    late = moving.write(source)
    moving.ddm.register_replicas(source, [late], dataset=dataset).raise_first()
    status = eventually(lambda: (s := moving.status(transfer)).ok == 2 and s, "the late file")
    assert status.state is TransferState.OK
    assert moving.content_is_right(target, late)
    assert [e.kind for e in moving.ddm.changes(start)] == [EventKind.FILE_ARRIVED, EventKind.TRANSFER_OK]


def test_two_datasets_share_one_copy(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    one, files = moving.filled(source)
    other = moving.dataset()
    moving.ddm.attach(other, [spec.did for spec in files]).raise_first()
    transfers = [moving.ask(one, target), moving.ask(other, target)]
    for transfer in transfers:
        assert moving.reaches(transfer, TransferState.OK).ok == 3
    assert len(list(moving.ddm.replicas([f.did for f in files], [target]))) == 3


def test_a_lost_copy_is_brought_again(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source)
    transfer = moving.ask(dataset, target)
    moving.reaches(transfer, TransferState.OK)
    moving.path(target, files[0].did).unlink()
    start = _last_seq(moving)
    moving.ddm.declare_lost(target, [files[0].did], "disk died").raise_first()
    eventually(
        lambda: EventKind.TRANSFER_OK in {e.kind for e in moving.ddm.changes(start)}, "the copy to be brought again"
    )
    assert moving.content_is_right(target, files[0])
    first = moving.ddm.changes(start)[0]
    assert (first.kind, first.rse, first.detail) == (EventKind.REPLICA_LOST, target, "disk died")


def test_a_file_without_source_gets_stuck_and_is_repaired(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source, count=2)
    moving.path(source, files[0].did).rename(moving.folder / "hidden")
    start = _last_seq(moving)
    transfer = moving.ask(dataset, target)
    eventually(lambda: (s := moving.status(transfer)).stuck == 1 and s.ok == 1, "one file stuck, one ok")
    status = moving.status(transfer)
    assert status.state is TransferState.STUCK
    assert "cannot read" in status.error
    kinds = [e.kind for e in moving.ddm.changes(start)]
    assert EventKind.FILE_FAILED in kinds
    assert EventKind.TRANSFER_STUCK in kinds
    (moving.folder / "hidden").rename(moving.path(source, files[0].did))
    moving.ddm.update([transfer], retry_now=True).raise_first()
    assert moving.reaches(transfer, TransferState.OK).error == ""


def test_another_source_is_taken_when_one_fails(moving: Bench) -> None:
    broken, good, target = moving.rse(), moving.rse(), moving.rse()
    dataset, files = moving.filled(broken, count=4)
    transfer = moving.ask(dataset, good)
    moving.reaches(transfer, TransferState.OK)
    for spec in files:
        moving.path(broken, spec.did).write_bytes(b"x" * spec.bytes)
    assert moving.reaches(moving.ask(dataset, target), TransferState.OK).ok == 4
    assert all(moving.content_is_right(target, spec) for spec in files)


def test_a_wrong_file_in_the_way_is_replaced(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source, count=1)
    wrong = moving.path(target, files[0].did)
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"y" * files[0].bytes)
    moving.reaches(moving.ask(dataset, target), TransferState.OK)
    assert moving.content_is_right(target, files[0])


def test_a_copy_written_by_somebody_else_ends_the_transfer(bench: Bench) -> None:
    source, target = bench.rse(), bench.rse()
    dataset, files = bench.filled(source, count=1)
    transfer = bench.ask(dataset, target)
    assert bench.status(transfer).state is TransferState.QUEUED
    path = bench.path(target, files[0].did)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bench.path(source, files[0].did).read_bytes())
    bench.ddm.register_replicas(target, files, written_by="pilot").raise_first()
    assert bench.status(transfer).state is TransferState.OK


def test_a_cancelled_transfer_stays_cancelled(bench: Bench) -> None:
    source, target = bench.rse(), bench.rse()
    dataset, _ = bench.filled(source)
    transfer = bench.ask(dataset, target)
    for _ in range(2):
        assert bench.ddm.cancel([transfer]).done == [transfer]
    assert bench.status(transfer).state is TransferState.CANCELLED
    again = bench.ask(dataset, target)
    assert again != transfer
    assert [t.id for t in bench.ddm.transfers_of([dataset])[dataset]] == [transfer, again]


def test_refusals_name_what_is_wrong(bench: Bench) -> None:
    rse, closed_to_writing = bench.rse("NEARBY_DATADISK"), bench.rse(available_write=False)
    dataset, _ = bench.filled(rse)
    unknown = bench.dataset()._replace(name="nobody.made.this")
    asked = [
        TransferRequest(dataset, "NEARBY_DATADISC"),
        TransferRequest(dataset, closed_to_writing),
        TransferRequest(unknown, rse),
        TransferRequest(dataset, rse),
    ]
    result = bench.ddm.request(asked)
    assert [i is None for i in result.ids] == [True, True, True, False]
    reasons = dict(result.failed)
    assert isinstance(reasons[asked[0]], NoTarget)
    assert "NEARBY_DATADISK" in str(reasons[asked[0]])
    assert isinstance(reasons[asked[1]], NoTarget)
    assert isinstance(reasons[asked[2]], NotFound)
    assert isinstance(bench.ddm.cancel(["999999"]).failed[0][1], NotFound)
    assert isinstance(bench.ddm.update(["no id"], priority=1).failed[0][1], NotFound)
    assert bench.ddm.status(["999999", "no id"]) == {}
