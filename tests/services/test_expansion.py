"""Expansion: every split rule makes jobs that together hold each file and event exactly once, within the limits."""

import itertools
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, RowMapping

from panda.ddm.port import DatasetSpec, Did, FileSpec
from panda.domain.lease import Lease
from panda.domain.states import TaskStage
from panda.domain.work import InputSpec, Selection, Split, TaskRequest
from panda.errors import LeaseLost, Refused
from panda.services import assign, control, prepare, preview, story, submit
from panda.services.context import Context
from panda.services.prepare import Expanded
from panda.store import inputs
from tests.support.campaign import Campaign, an_evgen

_numbers = itertools.count(1_000_001)
ON_ONE_DATABASE = settings(
    max_examples=20,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True, slots=True)
class File:
    """Size and events of an input file."""

    bytes: int
    events: int | None = 10


def a_dataset(ctx: Context, files: Sequence[File]) -> str:
    """A closed dataset of the catalogue; nothing is written to any storage."""
    name = f"mc.in{next(_numbers)}"
    did = Did("mc", name)
    ctx.ddm.create_datasets([DatasetSpec(did)]).raise_first()
    specs = [
        FileSpec(Did("mc", f"{name}.{n:06d}"), one.bytes, "00000001", str(uuid.uuid4()), one.events)
        for n, one in enumerate(files)
    ]
    if specs:
        ctx.ddm.attach(did, specs).raise_first()
    ctx.ddm.close([did]).raise_first()
    return name


def a_request(split: Split, *streams: InputSpec) -> TaskRequest:
    return an_evgen(f"task{next(_numbers)}", split=split, inputs=streams, cloud="TEST", bunch_size=3)


def expanded(campaign: Campaign, request: TaskRequest) -> tuple[int, Expanded]:
    """Submit a task, assign it to its cloud and expand it; returns its id and what expansion said."""
    ctx = campaign.ctx
    task = campaign.submit(request)
    lease = story.claim(ctx, task)
    assert lease is not None
    assert assign.assign(ctx, lease).cloud == "TEST"
    made = prepare.expand(ctx, lease)
    story.release(ctx, lease, None)
    return task, made


def jobs_of(campaign: Campaign, task: int) -> list[RowMapping]:
    return campaign.rows("SELECT * FROM job WHERE task_id = :t ORDER BY ordinal", t=task)


def assert_bunched(campaign: Campaign, task: int) -> None:
    """Bunches hold consecutive jobs, as many as they say and as are allowed, and every job is in one."""
    for row in campaign.rows(
        """
        SELECT b.first_ordinal, b.n_jobs, count(j.id) AS n, min(j.ordinal) AS low, max(j.ordinal) AS high,
               t.bunch_size
        FROM job j LEFT JOIN bunch b ON b.id = j.bunch_id AND b.task_id = j.task_id
        JOIN production_task t ON t.id = j.task_id WHERE j.task_id = :t GROUP BY b.id, t.bunch_size
        """,
        t=task,
    ):
        assert row["n_jobs"] == row["n"] <= row["bunch_size"]
        assert (row["low"], row["high"]) == (row["first_ordinal"], row["first_ordinal"] + row["n"] - 1)


def assert_tiled(jobs: Sequence[RowMapping], n_files: int) -> None:
    """Every file is in exactly one job, in order."""
    place = 0
    for ordinal, job in enumerate(jobs):
        assert job["ordinal"] == ordinal
        assert job["input_first"] == place
        assert job["input_count"] >= 1
        place += job["input_count"]
    assert place == n_files


# --- each rule ------------------------------------------------------------------------------------------------------
def test_a_number_of_jobs_without_input(campaign: Campaign) -> None:
    task, made = expanded(campaign, a_request(Split(n_jobs=7)))
    assert made == Expanded(7)
    jobs = jobs_of(campaign, task)
    assert [job["ordinal"] for job in jobs] == list(range(7))
    assert {job["input_first"] for job in jobs} == {None}
    assert_bunched(campaign, task)
    assert campaign.stage(task) is TaskStage.RUNNING


def test_events_per_job_without_input_tile_the_events(campaign: Campaign) -> None:
    task, made = expanded(campaign, a_request(Split(events_per_job=100, n_events=250)))
    assert made.jobs == 3
    assert [(job["first_event"], job["n_events"]) for job in jobs_of(campaign, task)] == [
        (0, 100),
        (100, 100),
        (200, 50),
    ]


def test_one_job(campaign: Campaign) -> None:
    task, made = expanded(campaign, a_request(Split(n_jobs=1)))
    assert made.jobs == 1
    assert campaign.value("SELECT count(*) FROM bunch WHERE task_id = :t", t=task) == 1


def test_a_number_of_jobs_with_input_shares_the_files_out(campaign: Campaign) -> None:
    name = a_dataset(campaign.ctx, [File(1)] * 10)
    task, _ = expanded(campaign, a_request(Split(n_jobs=4), InputSpec("IN", (name,))))
    assert [job["input_count"] for job in jobs_of(campaign, task)] == [3, 3, 3, 1]


def lfns_of(campaign: Campaign, task: int, stream: str = "IN") -> list[list[int]]:
    """The numbers at the end of the input files' names, of each job of a task."""
    jobs = [job["id"] for job in jobs_of(campaign, task)]
    with campaign.ctx.engine.connect() as connection:
        rows = inputs.files_of_jobs(connection, jobs)
    mine = [(row["job_id"], int(row["lfn"][-6:])) for row in rows if row["stream_name"] == stream]
    return [[number for one, number in mine if one == job] for job in jobs]


@pytest.mark.parametrize(
    ("selection", "split", "expected"),
    [
        (Selection(skip=4), Split(files_per_job=2), [[4, 5], [0, 1], [2]]),
        (Selection(skip=4), Split(files_per_job=2, max_files=3), [[4, 5], [0]]),
        (Selection(include=(r"\.00000[0-3]$",), exclude=("2$",)), Split(files_per_job=4), [[0, 1, 3, 0], [1]]),
        (Selection(skip=6), Split(events_per_job=15), [[0, 1], [1, 2]]),
        (Selection(), Split(events_per_job=10, max_files=2), [[0], [1]]),
    ],
)
def test_a_stream_takes_only_the_files_that_were_chosen(
    campaign: Campaign, selection: Selection, split: Split, expected: list[list[int]]
) -> None:
    names = (a_dataset(campaign.ctx, [File(1)] * 6), a_dataset(campaign.ctx, [File(1)] * 3))
    request = a_request(split, InputSpec("IN", names, selection=selection))
    looked_at = preview.preview(campaign.ctx, request)
    task, made = expanded(campaign, request)
    assert lfns_of(campaign, task) == expected
    assert (made.jobs, looked_at.jobs) == (len(expected), len(expected))
    # The datasets themselves stay whole for the next task.
    whole, _ = expanded(campaign, a_request(Split(files_per_job=9), InputSpec("IN", names)))
    assert lfns_of(campaign, whole) == [[0, 1, 2, 3, 4, 5, 0, 1, 2]]


def test_files_can_be_named_and_a_secondary_stream_can_choose_too(campaign: Campaign) -> None:
    name, other = a_dataset(campaign.ctx, [File(1)] * 3), a_dataset(campaign.ctx, [File(1)] * 3)
    first = InputSpec("IN", (name,), selection=Selection(files=(f"{name}.000002", f"{name}.000000", "unknown")))
    second = InputSpec("MB", (other,), "secondary", 1, Selection(skip=2))
    task, _ = expanded(campaign, a_request(Split(files_per_job=1), first, second))
    assert lfns_of(campaign, task) == [[0], [2]]
    assert lfns_of(campaign, task, "MB") == [[2], [2]]


def test_a_choice_that_leaves_nothing_ends_the_task_and_a_broken_pattern_is_refused(campaign: Campaign) -> None:
    name = a_dataset(campaign.ctx, [File(1)] * 3)
    task, made = expanded(campaign, a_request(Split(), InputSpec("IN", (name,), selection=Selection(skip=3))))
    assert "no file of theirs is chosen" in (made.failed or "")
    assert campaign.stage(task) is TaskStage.FAILED
    with pytest.raises(Refused, match="cannot be read") as caught:
        submit.submit_task(
            campaign.ctx, a_request(Split(), InputSpec("IN", (name,), selection=Selection(include=("(",)))), "t"
        )
    assert "'('" in (caught.value.hint or "")


def test_without_any_rule_jobs_are_filled_up_to_the_usual_limits(campaign: Campaign) -> None:
    name = a_dataset(campaign.ctx, [File(9_000_000_000)] * 5)
    task, _ = expanded(campaign, a_request(Split(), InputSpec("IN", (name,))))
    assert [job["input_count"] for job in jobs_of(campaign, task)] == [2, 2, 1]  # 20 GB


@settings(ON_ONE_DATABASE)
@given(n=st.integers(1, 40), per_job=st.integers(1, 12))
def test_files_per_job_lose_and_double_no_file(campaign: Campaign, n: int, per_job: int) -> None:
    name = a_dataset(campaign.ctx, [File(1)] * n)
    task, made = expanded(campaign, a_request(Split(files_per_job=per_job), InputSpec("IN", (name,))))
    jobs = jobs_of(campaign, task)
    assert made.jobs == len(jobs) == -(-n // per_job)
    assert_tiled(jobs, n)
    assert all(job["input_count"] == per_job for job in jobs[:-1])
    assert_bunched(campaign, task)


@settings(ON_ONE_DATABASE)
@given(sizes=st.lists(st.integers(0, 120), min_size=1, max_size=30), limit=st.integers(1, 200))
def test_bytes_per_job_keep_the_limit(campaign: Campaign, sizes: list[int], limit: int) -> None:
    name = a_dataset(campaign.ctx, [File(size) for size in sizes])
    task, _ = expanded(campaign, a_request(Split(bytes_per_job=limit), InputSpec("IN", (name,))))
    jobs = jobs_of(campaign, task)
    assert_tiled(jobs, len(sizes))
    for job, after in itertools.zip_longest(jobs, jobs[1:]):
        mine = sizes[job["input_first"] : job["input_first"] + job["input_count"]]
        assert sum(mine) <= limit or len(mine) == 1
        if after is not None:
            assert sum(mine) + sizes[after["input_first"]] > limit  # the next file did not fit


@settings(ON_ONE_DATABASE)
@given(events=st.lists(st.integers(0, 30), min_size=1, max_size=25), per_job=st.integers(1, 40))
def test_event_ranges_tile_exactly(campaign: Campaign, events: list[int], per_job: int) -> None:
    name = a_dataset(campaign.ctx, [File(1, n) for n in events])
    task, made = expanded(campaign, a_request(Split(events_per_job=per_job), InputSpec("IN", (name,))))
    jobs = jobs_of(campaign, task)
    assert made.jobs == len(jobs) == -(-sum(events) // per_job)
    place = 0
    begins = [0, *itertools.accumulate(events)]
    for job in jobs:
        assert job["first_event"] == place
        place += job["n_events"]
        first, last = job["input_first"], job["input_first"] + job["input_count"] - 1
        assert begins[first] <= job["first_event"] < begins[first + 1]
        assert begins[last] < place <= begins[last + 1]
    assert place == sum(events)


@settings(ON_ONE_DATABASE, max_examples=10)
@given(parts=st.lists(st.integers(1, 6), min_size=2, max_size=4), per_job=st.integers(1, 5), lots=st.integers(1, 4))
def test_several_datasets_and_a_secondary_stream(campaign: Campaign, parts: list[int], per_job: int, lots: int) -> None:
    primary = [a_dataset(campaign.ctx, [File(1)] * n) for n in parts]
    pile_up = [a_dataset(campaign.ctx, [File(1)] * n) for n in (2, 3)]
    streams = (InputSpec("BKG", tuple(pile_up), role="secondary", files_per_job=lots), InputSpec("IN", tuple(primary)))
    task, _ = expanded(campaign, a_request(Split(files_per_job=per_job), *streams))
    jobs = jobs_of(campaign, task)
    assert_tiled(jobs, sum(parts))
    with campaign.ctx.engine.begin() as connection:
        rows = inputs.files_of_jobs(connection, [job["id"] for job in jobs])
    names = [f"{name}.{n:06d}" for name, count in zip(primary, parts, strict=True) for n in range(count)]
    assert [row["lfn"] for row in rows if row["stream_name"] == "IN"] == names
    pool = [f"{name}.{n:06d}" for name, count in zip(pile_up, (2, 3), strict=True) for n in range(count)]
    for job in jobs:
        mine = [row["lfn"] for row in rows if row["stream_name"] == "BKG" and row["job_id"] == job["id"]]
        first = job["ordinal"] * lots
        assert sorted(mine) == sorted({pool[(first + k) % len(pool)] for k in range(lots)})


# --- what can go wrong ----------------------------------------------------------------------------------------------
def test_chunks_make_the_same_jobs_as_one_statement(ctx: Context) -> None:
    chunked = replace(ctx, settings=ctx.settings.model_copy(update={
        "expansion": ctx.settings.expansion.model_copy(update={"chunk_jobs": 2})
    }))  # fmt: skip
    sizes = [5, 1, 9, 30, 2, 2, 2, 8, 8, 1, 1]
    wanted: dict[str, list[tuple[object, ...]]] = {}
    for name, context in (("whole", ctx), ("chunked", chunked)):
        campaign = Campaign(context).load()
        data = a_dataset(context, [File(size, size) for size in sizes])
        for split in (Split(files_per_job=2), Split(bytes_per_job=10), Split(events_per_job=4)):
            task, _ = expanded(campaign, a_request(split, InputSpec("IN", (data,))))
            wanted.setdefault(name, []).extend(
                (job["ordinal"], job["input_first"], job["input_count"], job["first_event"], job["n_events"])
                for job in jobs_of(campaign, task)
            )
        campaign.check()
    assert wanted["whole"] == wanted["chunked"]


def test_files_without_known_events_cannot_be_split_by_events(campaign: Campaign) -> None:
    name = a_dataset(campaign.ctx, [File(1), File(1, None)])
    task, made = expanded(campaign, a_request(Split(events_per_job=5), InputSpec("IN", (name,))))
    assert made.failed == "1 input files do not say their number of events; use files_per_job"
    assert campaign.stage(task) is TaskStage.FAILED
    assert campaign.value("SELECT count(*) FROM dataset WHERE task_id = :t AND state = 'open'", t=task) == 0


def test_a_task_that_cannot_be_expanded_wakes_its_child(campaign: Campaign) -> None:
    empty = a_dataset(campaign.ctx, [])
    request = a_request(Split(files_per_job=1), InputSpec("IN", (empty,)))
    task = campaign.submit(request)
    child = campaign.submit(a_request(Split(files_per_job=1), InputSpec("IN", (request.outputs[0].dataset,))))
    assert campaign.drive(task, child) == [TaskStage.FAILED, TaskStage.FAILED]
    assert campaign.value("SELECT error FROM production_task WHERE id = :t", t=child) == "the input datasets are empty"


@pytest.mark.parametrize(("n", "stage"), [(5, TaskStage.RUNNING), (6, TaskStage.FAILED)])
def test_the_largest_number_of_jobs_is_allowed_and_no_more(ctx: Context, n: int, stage: TaskStage) -> None:
    limits = ctx.settings.expansion.model_copy(update={"max_jobs_per_task": 5, "chunk_jobs": 2})
    small = replace(ctx, settings=ctx.settings.model_copy(update={"expansion": limits}))
    campaign = Campaign(small).load()
    task, made = expanded(campaign, a_request(Split(n_jobs=n)))
    assert campaign.stage(task) is stage
    assert made.failed is None or "more than 5 jobs" in made.failed
    campaign.check()


def test_a_task_that_turns_out_too_large_is_aborted_with_its_jobs(ctx: Context) -> None:
    limits = ctx.settings.expansion.model_copy(update={"max_jobs_per_task": 3, "chunk_jobs": 2})
    campaign = Campaign(replace(ctx, settings=ctx.settings.model_copy(update={"expansion": limits}))).load()
    name = a_dataset(ctx, [File(1)] * 9)
    task, made = expanded(campaign, a_request(Split(files_per_job=2), InputSpec("IN", (name,))))
    assert made.jobs == 3
    assert campaign.drive(task) == [TaskStage.ABORTED]
    assert "more than 3 jobs" in campaign.value("SELECT error FROM production_task WHERE id = :t", t=task)
    campaign.check()


def test_expansion_stops_at_an_abort_between_two_chunks(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ctx.settings.expansion.model_copy(update={"chunk_jobs": 2})
    small = replace(ctx, settings=ctx.settings.model_copy(update={"expansion": limits}))
    campaign = Campaign(small).load()
    task = campaign.submit(a_request(Split(n_jobs=6)))
    lease = story.claim(small, task)
    assert lease is not None
    assign.assign(small, lease)
    chunks = itertools.count()
    fenced = story.fenced

    def after_the_first(context: Context, held: Lease) -> AbstractContextManager[Connection]:
        if next(chunks) == 2:  # numbering the inputs, then the first chunk
            control.abort_task(context, task, "operator")
            while control.work_off(context).rows:
                pass
        return fenced(context, held)

    monkeypatch.setattr(prepare, "fenced", after_the_first)
    made = prepare.expand(small, lease)
    story.release(small, lease, None)
    assert made.jobs == 2
    assert campaign.drive(task) == [TaskStage.ABORTED]
    campaign.check()


def test_who_lost_the_lease_makes_no_jobs(campaign: Campaign) -> None:
    task = campaign.submit(a_request(Split(n_jobs=6)))
    late = story.claim(campaign.ctx, task)
    assert late is not None
    assign.assign(campaign.ctx, late)
    campaign.change("UPDATE production_task SET lease_until = now() - interval '1 s'")
    new = story.claim(campaign.ctx, task)
    assert new is not None
    with pytest.raises(LeaseLost):
        prepare.expand(campaign.ctx, late)
    assert jobs_of(campaign, task) == []
    assert prepare.expand(campaign.ctx, new).jobs == 6
    assert prepare.expand(campaign.ctx, new).jobs == 0


def test_a_hundred_thousand_jobs(campaign: Campaign) -> None:
    task, made = expanded(campaign, replace(a_request(Split(n_jobs=100_000)), bunch_size=200))
    assert made.jobs == 100_000
    assert campaign.value("SELECT count(DISTINCT ordinal) FROM job WHERE task_id = :t", t=task) == 100_000
    assert campaign.value("SELECT count(*) FROM bunch WHERE task_id = :t", t=task) == 500
