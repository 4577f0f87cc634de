"""Conformance: every try to copy a file is told of, by link, dataset and file."""

from datetime import UTC, datetime, timedelta

from panda.ddm.embedded.faults import Fault, FaultKind, inject
from panda.ddm.port import TransferState
from panda.ddm.traffic import Traffic, TrafficWanted
from panda.domain.pattern import parse
from tests.ddm.bench import Bench, eventually


def seen(bench: Bench, **filters: str) -> Traffic:
    now = datetime.now(UTC)
    wanted = {name: parse(text) for name, text in filters.items()}
    return bench.ddm.traffic(TrafficWanted(now - timedelta(hours=1), now + timedelta(hours=1), wanted))


def test_copies_are_counted_on_their_link(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source, count=4, size=5000)
    moving.reaches(moving.ask(dataset, target), TransferState.OK)
    told = seen(moving, rse=target)
    (link,) = told.links
    assert (link.of, link.rse, link.files, link.bytes, link.failed, link.error) == (source, target, 4, 20_000, 0, None)
    assert link.efficiency == 100.0
    assert link.rate is not None
    assert [(one.of, one.files) for one in told.datasets] == [(dataset.name, 4)]
    assert sum(one.bytes for one in told.bins) == 20_000
    assert told.total == 4
    assert {one.file for one in told.tries} == {str(spec.did) for spec in files}
    assert all(one.status == "done" and one.number == 1 and one.ended_at is not None for one in told.tries)
    assert seen(moving, source=f"-{source}", rse=target).total == 0
    assert seen(moving, dataset=dataset.name[:-1] + "*", file=files[0].did.name).total == 1


def test_a_failing_link_shows_each_try_and_its_error(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, _ = moving.filled(source, count=1)
    inject(moving.engine, Fault(FaultKind.FAIL, source_rse=source, destination_rse=target))
    transfer = moving.ask(dataset, target)
    moving.reaches(transfer, TransferState.STUCK)
    told = seen(moving, rse=target)
    (link,) = told.links
    assert (link.of, link.files, link.failed, link.stuck, link.efficiency) == (source, 0, 3, 1, 0.0)
    assert "injected failure" in str(link.error)
    assert [(one.status, one.number) for one in told.tries] == [
        ("stuck", 4), ("failed", 3), ("failed", 2), ("failed", 1)
    ]  # fmt: skip
    assert {one.transfer_id for one in told.tries} == {transfer}
    assert seen(moving, rse=target, status="stuck").total == 1


def test_what_has_no_source_is_told_without_one(moving: Bench) -> None:
    source, target = moving.rse(), moving.rse()
    dataset, files = moving.filled(source, count=1)
    moving.ddm.declare_lost(source, [files[0].did], "disk died").raise_first()
    moving.ask(dataset, target)
    (link,) = eventually(lambda: [one for one in seen(moving, rse=target).links if one.failed], "a try")
    assert link.of == ""
    assert "no readable copy" in str(link.error)
