"""Conformance with many files: calls are cut into chunks, contents are read in pages, nothing is lost at the seams."""

import tracemalloc
import uuid

import pytest

from panda.ddm.port import Completeness, Did, FileSpec, RseSpec, TransferState
from tests.ddm.bench import Bench

SEAMS = 10_001  # two chunks and one more, one page and one more
UNSEEN = "/proc/no-such-storage"  # an RSE of another machine: presence cannot be looked up


def many(count: int, prefix: str) -> list[FileSpec]:
    """Descriptions of files that lie elsewhere."""
    return [
        FileSpec(Did("bulk", f"{prefix}.{n:07d}.root"), 1000 + n, f"{n:08x}", str(uuid.uuid4()), 10)
        for n in range(count)
    ]


def check(bench: Bench, count: int) -> None:
    here, there = f"HERE_{count}", f"THERE_{count}"
    bench.ddm.declare_rses([RseSpec(here, "HERE", UNSEEN), RseSpec(there, "THERE", UNSEEN)]).raise_first()
    files = many(count, f"d{count}")
    dataset = bench.dataset()
    for _ in range(2):
        result = bench.ddm.register_replicas(here, files, dataset=dataset, key=f"bulk {count}")
        assert (len(result.done), result.failed) == (count, [])
    assert [f.did for f in bench.ddm.files(dataset)] == [f.did for f in files]
    total = sum(f.bytes for f in files)
    assert bench.ddm.locations([dataset])[dataset] == {here: Completeness(count, count, total, total)}
    assert sum(1 for _ in bench.ddm.replicas([f.did for f in files])) == count
    assert sum(1 for _ in bench.ddm.local_catalogue(here)) == count
    transfer = bench.ask(dataset, there)
    status = bench.status(transfer)
    assert (status.state, status.moving) == (TransferState.QUEUED, count)
    assert len(bench.ddm.register_replicas(there, files).done) == count
    status = bench.status(transfer)
    assert (status.state, status.ok, status.bytes) == (TransferState.OK, count, total)
    bench.ddm.cancel([transfer]).raise_first()
    bench.ddm.erase([dataset]).raise_first()


def test_nothing_is_lost_at_the_seams(bench: Bench) -> None:
    check(bench, SEAMS)


@pytest.mark.slow
def test_a_hundred_thousand_files(bench: Bench) -> None:
    check(bench, 100_000)


def test_a_large_dataset_is_read_in_little_memory(bench: Bench) -> None:
    bench.ddm.declare_rses([RseSpec("FAR", "FAR", UNSEEN)]).raise_first()
    dataset = bench.dataset()
    bench.ddm.register_replicas("FAR", many(30_000, "m"), dataset=dataset).raise_first()
    tracemalloc.start()
    try:
        first = next(iter(bench.ddm.files(dataset)))
        one_page = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert sum(1 for _ in bench.ddm.files(dataset)) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 1.5 * one_page
    finally:
        tracemalloc.stop()
    assert first.position == 0
