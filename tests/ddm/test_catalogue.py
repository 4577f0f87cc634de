"""Conformance: datasets, files and copies in the catalogue."""

from dataclasses import replace
from datetime import timedelta

import pytest

from panda.ddm.port import (
    Closed,
    Completeness,
    DatasetSpec,
    DdmError,
    Did,
    EventKind,
    FileSpec,
    Inconsistent,
    InvalidExpression,
    InvalidName,
    NotFound,
    ReplicaState,
    TransferRequest,
)
from tests.ddm.bench import Bench


def only_failure(failed: list[tuple[Did, DdmError]]) -> DdmError:
    assert len(failed) == 1
    return failed[0][1]


def test_datasets_are_created_once(bench: Bench) -> None:
    spec = DatasetSpec(Did("mc", "created.once"), lifetime=timedelta(days=7), meta={"task": "10000001"})
    for _ in range(2):
        assert bench.ddm.create_datasets([spec]).done == [spec.did]
    info = bench.ddm.dataset(spec.did)
    assert info is not None
    assert (info.open, info.files, info.bytes, info.container, info.meta) == (True, 0, 0, False, {"task": "10000001"})
    assert info.expires_at is not None
    assert info.expires_at - info.created_at == timedelta(days=7)
    assert bench.ddm.dataset(Did("mc", "never.created")) is None


@pytest.mark.parametrize(
    "did",
    [
        Did("mc", ""),
        Did("", "name"),
        Did("mc", "../../etc/passwd"),
        Did("..", "name"),
        Did("mc", "a..b"),
        Did("mc", "/etc/passwd"),
        Did("mc", "a/b"),
        Did("mc", "a\n"),
        Did("mc", "a\x00b"),
        Did("mc", "a b"),
        Did("mc", "ä"),
        Did("mc:x", "a"),
        Did("m" * 26, "a"),
        Did("mc", "a" * 251),
        Did("mc", "a.root.part-12.3"),
        Did("mc", "-a"),
    ],
)
def test_bad_names_are_refused(bench: Bench, did: Did) -> None:
    result = bench.ddm.create_datasets([DatasetSpec(did), DatasetSpec(Did("mc", "a.good.one"))])
    assert isinstance(only_failure(result.failed), InvalidName)
    assert result.done == [Did("mc", "a.good.one")]
    bad = FileSpec(did, 1, "00000001", "00000000-0000-4000-8000-000000000000")
    assert isinstance(only_failure(bench.ddm.register_replicas(bench.rse(), [bad]).failed), InvalidName)


def test_longest_names_work_on_disk(bench: Bench) -> None:
    rse = bench.rse()
    spec = bench.write(rse, name="n" * 250)
    assert bench.ddm.register_replicas(rse, [spec]).done == [spec.did]


def test_files_come_in_the_order_of_attaching(bench: Bench) -> None:
    rse = bench.rse()
    dataset, first = bench.filled(rse, count=3)
    more = [bench.write(rse) for _ in range(2)]
    bench.ddm.register_replicas(rse, more).raise_first()
    again = bench.ddm.attach(dataset, [first[1].did, more[1].did, more[0].did])
    assert again.done == [first[1].did, more[1].did, more[0].did]
    found = list(bench.ddm.files(dataset))
    assert [f.did for f in found] == [*[f.did for f in first], more[1].did, more[0].did]
    assert [f.position for f in found] == list(range(5))
    assert (found[0].bytes, found[0].adler32, found[0].guid, found[0].events) == (
        first[0].bytes,
        first[0].adler32,
        first[0].guid,
        7,
    )
    info = bench.ddm.dataset(dataset)
    assert info is not None
    assert (info.files, info.bytes) == (5, sum(f.bytes for f in found))


def test_attaching_the_same_again_changes_nothing(bench: Bench) -> None:
    rse = bench.rse()
    dataset, files = bench.filled(rse)
    bench.ddm.close([dataset]).raise_first()
    assert bench.ddm.attach(dataset, [f.did for f in files]).failed == []
    assert bench.ddm.register_replicas(rse, files, dataset=dataset).failed == []


def test_closed_datasets_do_not_change(bench: Bench) -> None:
    rse = bench.rse()
    dataset, _ = bench.filled(rse)
    for _ in range(2):
        assert bench.ddm.close([dataset]).done == [dataset]
    late = bench.write(rse)
    assert isinstance(only_failure(bench.ddm.register_replicas(rse, [late], dataset=dataset).failed), Closed)
    assert [f.did for f in bench.ddm.files(dataset)].count(late.did) == 0
    bench.ddm.reopen([dataset]).raise_first()
    assert bench.ddm.register_replicas(rse, [late], dataset=dataset).done == [late.did]


def test_closing_is_told_once(bench: Bench) -> None:
    dataset = bench.dataset("closed.once")
    for _ in range(2):
        bench.ddm.close([dataset]).raise_first()
    told = [e for e in bench.ddm.changes(0) if e.kind is EventKind.DATASET_CLOSED and e.did == dataset]
    assert len(told) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": 2001},
        {"adler32": "0badf00d"},
        {"guid": "11111111-1111-4111-8111-111111111111"},
    ],
)
def test_a_name_stands_for_one_content(bench: Bench, change: dict[str, object]) -> None:
    rse = bench.rse()
    dataset, (spec, *_) = bench.filled(rse)
    other = replace(spec, **change)  # type: ignore[arg-type]  # fields by name
    for result in (bench.ddm.register_replicas(rse, [other]), bench.ddm.attach(dataset, [other])):
        assert isinstance(only_failure(result.failed), Inconsistent)
    assert next(iter(bench.ddm.files(dataset))).adler32 == spec.adler32


def test_a_guid_belongs_to_one_file(bench: Bench) -> None:
    rse = bench.rse()
    _, (spec, *_) = bench.filled(rse)
    thief = replace(bench.write(rse), guid=spec.guid.upper())
    error = only_failure(bench.ddm.register_replicas(rse, [thief]).failed)
    assert isinstance(error, Inconsistent)
    assert str(spec.did) in str(error)
    unknown = "22222222-2222-4222-8222-222222222222"
    assert bench.ddm.find_by_guid([spec.guid, unknown]) == {spec.guid: spec.did}


@pytest.mark.parametrize("change", [{"adler32": "ABCDEF01"}, {"adler32": "1"}, {"guid": "none"}, {"bytes": -1}])
def test_impossible_descriptions_are_refused(bench: Bench, change: dict[str, object]) -> None:
    rse = bench.rse()
    spec = replace(bench.write(rse), **change)  # type: ignore[arg-type]  # fields by name
    assert isinstance(only_failure(bench.ddm.register_replicas(rse, [spec]).failed), Inconsistent)


def test_what_is_not_on_disk_is_not_registered(bench: Bench) -> None:
    rse = bench.rse()
    good, absent, short = (bench.write(rse) for _ in range(3))
    bench.path(rse, absent.did).unlink()
    bench.path(rse, short.did).write_bytes(b"short")
    result = bench.ddm.register_replicas(rse, [good, absent, short])
    assert result.done == [good.did]
    reasons = dict(result.failed)
    assert isinstance(reasons[absent.did], NotFound)
    assert isinstance(reasons[short.did], Inconsistent)
    assert "5 bytes" in str(reasons[short.did])


def test_a_link_out_of_the_storage_is_no_file(bench: Bench) -> None:
    rse = bench.rse()
    spec = bench.write(rse)
    path = bench.path(rse, spec.did)
    path.rename(bench.folder / "secret")
    path.symlink_to(bench.folder / "secret")
    assert isinstance(only_failure(bench.ddm.register_replicas(rse, [spec]).failed), NotFound)


def test_each_site_knows_its_copies_and_who_wrote_them(bench: Bench) -> None:
    rse = bench.rse()
    dataset, files = bench.filled(rse)
    local = list(bench.ddm.local_catalogue(rse))
    assert [(c.did, c.state, c.written_by) for c in local] == [(f.did, ReplicaState.AVAILABLE, "bench") for f in files]
    assert local[0].pfn == f"file://localhost{bench.path(rse, files[0].did)}"
    assert bench.ddm.datasets_of([files[0].did]) == {files[0].did: [dataset]}


def test_locations_count_what_is_there(bench: Bench) -> None:
    one, two = bench.rse(), bench.rse()
    dataset, files = bench.filled(one, count=3)
    bench.path(two, files[0].did).parent.mkdir(parents=True)
    bench.path(two, files[0].did).write_bytes(bench.path(one, files[0].did).read_bytes())
    bench.ddm.register_replicas(two, files[:1]).raise_first()
    empty = bench.dataset()
    assert bench.ddm.locations([dataset, empty]) == {
        dataset: {one: Completeness(3, 3, 6000, 6000), two: Completeness(1, 3, 2000, 6000)},
        empty: {},
    }


def test_containers_hold_datasets(bench: Bench) -> None:
    outer, inner = Did("mc", "outer.container"), Did("mc", "inner.container")
    bench.ddm.create_datasets([DatasetSpec(outer, container=True), DatasetSpec(inner, container=True)]).raise_first()
    datasets = [bench.dataset() for _ in range(3)]
    bench.ddm.attach(inner, datasets[:2]).raise_first()
    bench.ddm.attach(outer, [inner, datasets[2], datasets[0]]).raise_first()
    assert bench.ddm.expand(outer) == datasets
    assert bench.ddm.expand(datasets[0]) == [datasets[0]]
    failure = only_failure(bench.ddm.attach(outer, [Did("mc", "no.such.dataset")]).failed)
    assert isinstance(failure, NotFound)
    with pytest.raises(NotFound):
        bench.ddm.expand(Did("mc", "no.such.container"))


def test_datasets_are_found_by_pattern(bench: Bench) -> None:
    for name in ("found.a_1", "found.a_2", "found.ax1"):
        bench.dataset(name)
    assert [info.did.name for info in bench.ddm.datasets("test:found.a_*")] == ["found.a_1", "found.a_2"]
    assert len(list(bench.ddm.datasets("*:found.*"))) == 3


def test_unknown_datasets_raise(bench: Bench) -> None:
    nobody = Did("mc", "nobody.made.this")
    with pytest.raises(NotFound):
        list(bench.ddm.files(nobody))
    with pytest.raises(NotFound):
        bench.ddm.attach(nobody, [nobody])
    assert isinstance(only_failure(bench.ddm.close([nobody]).failed), NotFound)
    with pytest.raises(NotFound):
        bench.ddm.register_replicas("NO_SUCH_RSE", [])


def test_a_key_names_one_call(bench: Bench) -> None:
    rse = bench.rse()
    dataset = bench.dataset()
    files = [bench.write(rse) for _ in range(2)]
    for _ in range(2):
        done = bench.ddm.register_replicas(rse, files, dataset=dataset, key="job 1").done
        assert done == [f.did for f in files]
    with pytest.raises(Inconsistent, match="job 1"):
        bench.ddm.register_replicas(rse, files[:1], dataset=dataset, key="job 1")
    bench.ddm.request([TransferRequest(dataset, rse)], key="job 1").raise_first()


def test_erased_datasets_are_gone_and_their_names_used_up(bench: Bench) -> None:
    rse = bench.rse()
    dataset, files = bench.filled(rse)
    for _ in range(2):
        assert bench.ddm.erase([dataset]).done == [dataset]
    assert bench.ddm.dataset(dataset) is None
    assert bench.ddm.locations([dataset]) == {dataset: {}}
    assert bench.ddm.datasets_of([files[0].did]) == {}
    with pytest.raises(NotFound):
        list(bench.ddm.files(dataset))
    assert isinstance(only_failure(bench.ddm.create_datasets([DatasetSpec(dataset)]).failed), Inconsistent)
    told = [e for e in bench.ddm.changes(0) if e.kind is EventKind.DATASET_ERASED and e.did == dataset]
    assert len(told) == 1


def test_rses_are_chosen_by_expression(bench: Bench) -> None:
    for name, cloud, tier in (("DE_T1", "DE", 1), ("DE_T2", "DE", 2), ("FR_T2", "FR", 2)):
        bench.rse(name, cloud=cloud, tier=tier, attributes={"type": "disk"}, declared_space_bytes=10_000)

    def names(expression: str) -> list[str]:
        return [info.name for info in bench.ddm.rses(expression)]

    assert names("cloud=DE&tier=2") == ["DE_T2"]
    assert names("type=disk\\cloud=DE") == ["FR_T2"]
    assert names("DE_T1|(tier=2&cloud=FR)") == ["DE_T1", "FR_T2"]
    assert names("DE_*") == ["DE_T1", "DE_T2"]
    bench.filled("DE_T1", count=2)
    info = bench.ddm.rses("DE_T1")[0]
    assert (info.used_bytes, info.files, info.declared_space_bytes) == (4000, 2, 10_000)
    with pytest.raises(InvalidExpression):
        bench.ddm.rses("cloud=DE&")
