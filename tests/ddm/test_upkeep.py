"""What time does in the embedded DDM: expiry, deletion, comparison with the disk, accounts of space, quotas."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from panda.ddm.embedded import consistency, topology, upkeep
from panda.ddm.port import (
    DatasetSpec,
    Did,
    FileSpec,
    QuotaExceeded,
    TransferId,
    TransferRequest,
    TransferState,
    Unavailable,
    Usage,
)
from tests.ddm.bench import Bench

LONG_AGO = 1_000_000.0


def moved(bench: Bench, count: int = 2) -> tuple[str, str, Did, list[FileSpec], TransferId]:
    """A dataset that was transferred from one RSE to another."""
    source, target = bench.rse(), bench.rse()
    dataset, files = bench.filled(source, count=count)
    transfer = bench.ask(dataset, target)
    bench.reaches(transfer, TransferState.OK)
    return source, target, dataset, files, transfer


def clean(bench: Bench) -> None:
    upkeep.expire(bench.engine)
    while upkeep.clear_erased(bench.engine):
        pass
    while upkeep.reap(bench.engine):
        pass


def on_disk(bench: Bench, rse: str, files: list[FileSpec]) -> list[bool]:
    return [bench.path(rse, spec.did).exists() for spec in files]


def test_copies_nobody_needs_are_deleted(moving: Bench) -> None:
    source, target, dataset, files, transfer = moved(moving)
    clean(moving)
    assert on_disk(moving, target, files) == [True, True]
    moving.ddm.cancel([transfer]).raise_first()
    clean(moving)
    assert on_disk(moving, target, files) == [False, False]
    assert on_disk(moving, source, files) == [True, True]
    assert target not in moving.ddm.locations([dataset])[dataset]
    assert moving.ddm.rses(target)[0].used_bytes == 0
    assert moving.reaches(moving.ask(dataset, target), TransferState.OK).ok == 2


def test_a_copy_held_by_another_transfer_stays(moving: Bench) -> None:
    _, target, _, files, transfer = moved(moving)
    block = moving.dataset()
    moving.ddm.attach(block, [files[0].did]).raise_first()
    moving.ask(block, target)
    moving.ddm.cancel([transfer]).raise_first()
    clean(moving)
    assert on_disk(moving, target, files) == [True, False]


def test_the_last_copy_of_a_file_stays(moving: Bench) -> None:
    source, target, _, files, transfer = moved(moving)
    moving.ddm.declare_lost(source, [f.did for f in files], "tape broke").raise_first()
    moving.ddm.cancel([transfer]).raise_first()
    clean(moving)
    assert on_disk(moving, target, files) == [True, True]


def test_a_copy_that_was_written_there_outlives_its_transfer(moving: Bench) -> None:
    source, target, dataset, files, _ = moved(moving)
    moving.ddm.cancel([moving.ask(dataset, source)]).raise_first()
    clean(moving)
    assert on_disk(moving, source, files) == [True, True]
    assert on_disk(moving, target, files) == [True, True]


def test_a_transfer_ends_with_its_lifetime(moving: Bench) -> None:
    _, target, _, files, transfer = moved(moving)
    moving.ddm.update([transfer], lifetime=timedelta(seconds=-1)).raise_first()
    clean(moving)
    assert moving.status(transfer).state is TransferState.EXPIRED
    assert on_disk(moving, target, files) == [False, False]


def test_an_erased_dataset_leaves_nothing(moving: Bench) -> None:
    source, target, dataset, files, transfer = moved(moving)
    moving.ddm.erase([dataset]).raise_first()
    clean(moving)
    assert on_disk(moving, source, files) + on_disk(moving, target, files) == [False] * 4
    assert moving.status(transfer).state is TransferState.CANCELLED
    assert list(moving.ddm.replicas([f.did for f in files])) == []
    fresh = moving.write(source, name=files[0].did.name)
    assert moving.ddm.register_replicas(source, [fresh]).done == [fresh.did], "the file's name is free again"


def test_a_file_of_another_dataset_outlives_the_erased_one(moving: Bench) -> None:
    source, target, dataset, files, _ = moved(moving)
    keeper = moving.dataset()
    moving.ddm.attach(keeper, [files[1].did]).raise_first()
    moving.ddm.erase([dataset]).raise_first()
    clean(moving)
    assert on_disk(moving, source, files) == [False, True]
    assert on_disk(moving, target, files) == [False, False]


def test_a_dataset_is_erased_after_its_lifetime(bench: Bench) -> None:
    did = Did("test", "short.lived")
    bench.ddm.create_datasets([DatasetSpec(did, lifetime=timedelta(seconds=-1))]).raise_first()
    upkeep.expire(bench.engine)
    assert bench.ddm.dataset(did) is None


def test_an_rse_with_a_threshold_keeps_copies_until_space_is_short(moving: Bench) -> None:
    source = moving.rse()
    target = moving.rse(declared_space_bytes=10_000, reap_above=0.5)
    first, first_files = moving.filled(source, count=2)
    second, second_files = moving.filled(source, count=2)
    for dataset in (first, second):
        transfer = moving.ask(dataset, target)
        moving.reaches(transfer, TransferState.OK)
        moving.ddm.cancel([transfer]).raise_first()
    clean(moving)
    assert moving.ddm.rses(target)[0].used_bytes == 4000, "8,000 used, 5,000 allowed: two oldest go"
    assert on_disk(moving, target, first_files + second_files) == [False, False, True, True]


def test_an_rse_that_is_not_there_keeps_its_entries(moving: Bench) -> None:
    _, target, _, files, transfer = moved(moving)
    moving.ddm.cancel([transfer]).raise_first()
    folder = moving.folder / target
    folder.rename(moving.folder / "unmounted")
    clean(moving)
    assert moving.ddm.rses(target)[0].files == 2
    (moving.folder / "unmounted").rename(folder)
    clean(moving)
    assert on_disk(moving, target, files) == [False, False]


def make_old(path: Path) -> None:
    os.utime(path, (LONG_AGO, LONG_AGO))


def test_the_scan_finds_dark_and_missing_files(bench: Bench) -> None:
    rse = bench.rse()
    _, files = bench.filled(rse)
    dark, young = bench.write(rse), bench.write(rse)
    make_old(bench.path(rse, dark.did))
    part = bench.path(rse, files[0].did).with_name("x.root.part-7.1")
    part.write_bytes(b"half")
    stray = bench.folder / rse / "stray"
    stray.write_bytes(b"not at any file's place")
    for path in (part, stray, bench.path(rse, files[0].did)):
        make_old(path)
    bench.path(rse, files[1].did).unlink()
    report = consistency.scan(bench.engine, rse)
    assert sorted(report.dark) == sorted([bench.path(rse, dark.did), stray])
    assert report.parts == [part]
    assert report.missing == [files[1].did]
    assert consistency.delete_dark(bench.engine, rse, suffix=dark.did.name[-6:]) == [bench.path(rse, dark.did), part]
    assert on_disk(bench, rse, [files[0], young]) == [True, True]
    assert stray.exists()


def test_outputs_of_a_lost_attempt_are_deleted_unless_registered(bench: Bench) -> None:
    rse = bench.rse()
    loser, winner = bench.write(rse), bench.write(rse)
    bench.ddm.register_replicas(rse, [winner]).raise_first()
    assert bench.ddm.delete_dark(rse, [loser.did, winner.did, Did("test", "never.written")]) == [loser.did]
    assert on_disk(bench, rse, [loser, winner]) == [False, True]


def test_a_scan_of_an_absent_rse_judges_nothing(bench: Bench) -> None:
    rse = bench.rse()
    bench.filled(rse)
    (bench.folder / rse).rename(bench.folder / "absent")
    with pytest.raises(Unavailable, match=rse):
        consistency.scan(bench.engine, rse)


def test_quotas_are_checked_when_asked(bench: Bench) -> None:
    source, target = bench.rse(), bench.rse()
    topology.set_quota(bench.engine, "alice", target, 5000)
    one, _ = bench.filled(source, count=2)
    two, _ = bench.filled(source, count=2)
    result = bench.ddm.request([TransferRequest(d, target, account="alice") for d in (one, two)])
    assert result.ids[0] is not None
    assert result.ids[1] is None
    assert isinstance(result.failed[0][1], QuotaExceeded)
    assert bench.ddm.usage("alice", target) == [Usage("alice", target, 4000, 5000)]
    assert bench.ask(two, target, account="bob")


def test_accounts_of_space_survive_folding(alone: Bench) -> None:
    rse = alone.rse()
    for _ in range(120):
        alone.ddm.register_replicas(rse, [alone.write(rse, size=10)]).raise_first()
    before = alone.ddm.rses()
    upkeep.tidy(alone.engine)
    assert alone.ddm.rses() == before
    with alone.engine.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM ddm.space WHERE rse = :rse"), {"rse": rse}).scalar_one()
    assert rows == 1
