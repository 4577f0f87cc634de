"""Which file is copied next, from where: the pure plan, and the claim on the database."""

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from panda.ddm.embedded import claims
from panda.ddm.embedded.claims import Candidate, Claimer, Limits, Running, Source, plan
from panda.ddm.embedded.storage import Expected
from panda.ddm.embedded.topology import Link, declare_links
from panda.ddm.port import Did
from tests.ddm.bench import Bench

RSES = ("A", "B", "C")


LARGE = claims.SMALL_BYTES + 1


def a_candidate(number: int, rse: str = "X", failed: Mapping[str, int] | None = None, size: int = LARGE) -> Candidate:
    return Candidate(
        id=number,
        file_id=number,
        rse=rse,
        root="/x",
        lease=0,
        did=Did("s", f"f{number}"),
        expected=Expected(size, "00000001"),
        source_only=None,
        failed_sources=failed or {},
        max_incoming=None,
    )


def a_source(rse: str, distance: int = 1, max_outgoing: int | None = None) -> Source:
    return Source(rse, "/" + rse, distance, max_outgoing, None, None)


WIDE = Limits(1000, 1000, 1000)


def test_the_nearest_source_that_has_not_failed_goes_first() -> None:
    sources = {(1, "X"): [a_source("A", distance=1), a_source("B", distance=5)]}
    assert plan([a_candidate(1)], sources, Running(), WIDE, 1).start[0].source.rse == "A"
    failed = plan([a_candidate(1, failed={"A": 1})], sources, Running(), WIDE, 1).start[0]
    assert (failed.source.rse, failed.others) == ("B", False)


def test_load_is_spread_over_equal_sources() -> None:
    sources = {(n, "X"): [a_source("A"), a_source("B")] for n in range(10)}
    chosen = plan([a_candidate(n) for n in range(10)], sources, Running(), WIDE, 10).start
    assert sorted(choice.source.rse for choice in chosen) == ["A"] * 5 + ["B"] * 5


def test_small_files_share_a_slot_when_there_is_no_other() -> None:
    sources = {(n, "X"): [a_source("A")] for n in range(100)}
    narrow = Limits(1000, per_link=2, per_rse=1000)
    chosen = plan([a_candidate(n, size=1000) for n in range(100)], sources, Running(), narrow, 50).start
    assert Counter(choice.slot for choice in chosen) == {0: claims.SLOT_FILES, 1: claims.SLOT_FILES}
    large = plan([a_candidate(n) for n in range(100)], sources, Running(), narrow, 50).start
    assert [choice.slot for choice in large] == [0, 1]
    largest = [a_candidate(n, size=claims.SMALL_BYTES) for n in range(100)]
    heavy = plan(largest, sources, Running(), narrow, 50).start
    assert len(heavy) == 2 * claims.SLOT_BYTES // claims.SMALL_BYTES


def test_a_file_without_readable_copy_is_reported() -> None:
    result = plan([a_candidate(1), a_candidate(2)], {(2, "X"): [a_source("A")]}, Running(), WIDE, 5)
    assert [c.id for c in result.sourceless] == [1]
    assert [c.candidate.id for c in result.start] == [2]


@given(
    wanted=st.lists(
        st.tuples(st.sampled_from("XYZ"), st.sets(st.sampled_from(RSES)), st.sampled_from([1, LARGE])), max_size=60
    ),
    per_link=st.integers(0, 4),
    per_rse=st.integers(0, 5),
    places=st.integers(0, 12),
)
def test_no_limit_is_ever_passed(
    wanted: list[tuple[str, set[str], int]], per_link: int, per_rse: int, places: int
) -> None:
    candidates = [a_candidate(n, rse, size=size) for n, (rse, _, size) in enumerate(wanted)]
    sources = {(n, rse): [a_source(s) for s in sorted(has)] for n, (rse, has, _) in enumerate(wanted)}
    running = Running()
    result = plan(candidates, sources, running, Limits(1000, per_link, per_rse), places)
    slots = {(choice.slot, choice.source.rse, choice.candidate.rse) for choice in result.start}
    assert len({slot for slot, _, _ in slots}) == len(slots), "a slot has one link"
    assert len(slots) == running.into.total() <= places
    assert len({choice.candidate.id for choice in result.start}) == len(result.start)
    assert all(count <= per_link for count in running.link.values())
    assert all(count <= per_rse for count in [*running.out.values(), *running.into.values()])
    assert [c.id for c in result.sourceless] == [n for n, (_, has, _) in enumerate(wanted) if not has]


def test_limits_and_priority_hold_on_the_database(alone: Bench) -> None:
    source, narrow, wide = alone.rse(), alone.rse(max_incoming=1), alone.rse()
    declare_links(alone.engine, [Link(source, wide, max_running=2)])
    dataset, _ = alone.filled(source, count=6, size=LARGE)
    urgent, (first, *_) = alone.filled(source, count=1, size=LARGE)
    for rse in (narrow, wide):
        alone.ask(dataset, rse)
        alone.ask(urgent, rse, priority=1)
    claimer = Claimer(agent_id=1, lease_seconds=60, limits=Limits(100, 4, 8))
    with alone.engine.begin() as connection:
        got = claims.claim(connection, claimer, 50).claims
    assert sorted((c.target_rse, c.did == first.did) for c in got) == sorted(
        [(narrow, True), (wide, True), (wide, False)]
    )
    with alone.engine.begin() as connection:
        assert claims.claim(connection, claimer, 50).claims == []
        assert claims.recover(connection, agent_id=2) == 3, "agent 1 holds no lock: it is dead"
    with alone.engine.begin() as connection:
        assert len(claims.claim(connection, claimer, 50).claims) == 3


def test_an_unreadable_source_is_not_used(alone: Bench) -> None:
    source, target = alone.rse("OFF"), alone.rse()
    dataset, _ = alone.filled(source, count=1)
    alone.ask(dataset, target)
    alone.rse("OFF", available_read=False)
    claimer = Claimer(agent_id=1, lease_seconds=60, limits=WIDE)
    with alone.engine.begin() as connection:
        got = claims.claim(connection, claimer, 50)
    assert got.claims == []
    assert len(got.sourceless) == 1


def test_claiming_reads_only_what_it_needs(alone: Bench) -> None:
    with alone.engine.begin() as connection:
        connection.execute(
            text("""
            INSERT INTO ddm.request (file_id, rse, state, priority)
            SELECT n, 'X', 'QUEUED', 3 FROM generate_series(1, 50000) AS n
        """)
        )
        connection.execute(text("ANALYZE ddm.request"))
        rows = connection.execute(
            text("""
            EXPLAIN SELECT * FROM ddm.request
             WHERE rse = 'X' AND state = 'QUEUED' AND not_before <= now() ORDER BY priority, id LIMIT 16
        """)
        ).scalars()
        assert "ix_request_queued" in "\n".join(rows)
