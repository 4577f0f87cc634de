"""Statements of the loops and of large orders do not slow down with history or with the square of their rows."""

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from panda.domain.states import BunchState, JobStatus
from panda.services.collect import attach
from panda.services.context import Context
from panda.store import collection, ends, expansion, facts, schema
from panda.store.expansion import Plan
from tests.support.builders import _insert, a_bunch, a_site, a_task, jobs_of, some_needs

LOOPS = [
    ("ix_job_output_ready", collection._TO_ATTACH.text, {"limit": 2000, "task": None, "after": 0}),
    ("ix_job_event_sent", facts._SITES, {"hours": 3, "refill": 120.0}),
    ("ix_pilot_request_at", "DELETE FROM pilot_request WHERE at < now() - interval '1 day'", {}),
]


@pytest.mark.parametrize(("index", "statement", "values"), LOOPS, ids=[one[0] for one in LOOPS])
def test_a_loop_finds_its_rows_by_index(
    rows: Connection, index: str, statement: str, values: dict[str, object]
) -> None:
    rows.execute(text("SET enable_seqscan = off"))
    rows.execute(text("SET enable_bitmapscan = off"))
    plan = rows.scalars(text(f"EXPLAIN {statement}"), values)
    assert index in "\n".join(plan)


def test_a_retry_of_many_jobs_takes_no_square_of_time(engine: Engine) -> None:
    with engine.begin() as connection:
        task = a_task(connection, n_jobs=20_000)
        bunch = a_bunch(connection, task, n_jobs=20_000)
        jobs = jobs_of(connection, bunch)
        connection.execute(text("UPDATE job SET status = 'failed'"))
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = '30s'"))  # a fifth of what the square took
        born = ends.retry(connection, jobs, why="test", who="test", bunch_size=7)
        bunches = connection.execute(
            text("SELECT count(*), sum(n_jobs), max(n_jobs) FROM bunch WHERE id <> :old"), {"old": bunch}
        ).one()
        wrong = connection.scalar(
            text("""
                SELECT count(*) FROM bunch b WHERE id <> :old AND (n_jobs, first_ordinal) <> (
                    SELECT count(*), min(ordinal) FROM job WHERE bunch_id = b.id)
            """),
            {"old": bunch},
        )
    assert len(born) == 20_000
    assert (tuple(bunches), wrong) == ((2858, 20_000, 7), 0)


def test_a_chunk_gives_every_job_its_bunch(engine: Engine) -> None:
    with engine.begin() as connection:
        task = a_task(connection, n_jobs=100)
        needs = some_needs(connection)
        for start, stop in ((0, 45), (45, 100)):
            plan = Plan(task, needs, 1, 20, start, 0)
            expansion.expand_without_input(connection, plan, stop=stop, events=None, total_events=None)
        found = connection.execute(
            text("""
                SELECT b.first_ordinal, b.n_jobs, count(*), min(j.ordinal), max(j.ordinal)
                FROM bunch b JOIN job j ON j.bunch_id = b.id GROUP BY b.id ORDER BY 1
            """)
        )
        assert [tuple(row) for row in found] == [
            (0, 20, 20, 0, 19), (20, 20, 20, 20, 39), (40, 5, 5, 40, 44),
            (45, 20, 20, 45, 64), (65, 20, 20, 65, 84), (85, 15, 15, 85, 99),
        ]  # fmt: skip


def test_outputs_of_a_closed_dataset_do_not_stand_before_others(ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    job = jobs_of(rows, a_bunch(rows, task, n_jobs=1, state=BunchState.ACTIVATED, site_id=a_site(rows)))[0]
    rows.execute(schema.job.update().values(status=JobStatus.FAILED))
    log = _insert(rows, schema.dataset, {"scope": "mc", "name": "mc.log", "kind": "log", "state": "closed"})
    output = {"job_id": job, "place": 0, "dataset_id": log, "scope": "mc", "lfn": "log.tgz", "state": "ready"}
    rows.execute(schema.job_output.insert().values(output))
    assert collection.outputs_to_attach(rows, 10) == []
    assert attach(ctx, limit=10) == 0
    assert rows.scalar(text("SELECT count(*) FROM incident")) == 0


def test_a_dataset_that_the_ddm_refuses_hides_no_other(ctx: Context, rows: Connection) -> None:
    task = a_task(rows)
    jobs = jobs_of(rows, a_bunch(rows, task, n_jobs=3, state=BunchState.ACTIVATED, site_id=a_site(rows)))
    rows.execute(schema.job.update().values(status=JobStatus.FAILED))
    for place, name in enumerate(("mc.first", "mc.second")):
        dataset = _insert(rows, schema.dataset, {"scope": "mc", "name": name, "kind": "output", "state": "open"})
        for job in jobs:
            output = {"job_id": job, "place": place, "dataset_id": dataset, "scope": "mc", "lfn": f"{name}.{job}"}
            rows.execute(schema.job_output.insert().values(output | {"state": "ready"}))
    for seen in (["mc:mc.first"], ["mc:mc.first", "mc:mc.second"]):
        assert attach(ctx, limit=2) == 0, "the DDM knows neither of them"
        assert list(rows.scalars(text("SELECT object FROM incident ORDER BY id"))) == seen


def made_of(engine: Engine, kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The jobs of a task of 60 files of all sizes, made in chunks that look at so many files at once."""
    monkeypatch.setattr(expansion, "FILES_AT_ONCE", at_once)
    with engine.begin() as connection:
        task = a_task(connection, f"by-{kind}-{at_once}")
        dataset = _insert(connection, schema.dataset, {"scope": "mc", "name": f"mc.{task}", "kind": "input"})
        files = [{"dataset_id": dataset, "ordinal": n, "scope": "mc", "lfn": f"f{n}", "adler32": "0",
                  "bytes": (n * 7919) % 23, "events": (n * 104_729) % 5} for n in range(60)]  # fmt: skip
        connection.execute(schema.dataset_file.insert(), files)
        part = {"task_id": task, "stream": 1, "place": 0, "name": "IN", "role": "primary", "dataset": f"mc.{task}"}
        connection.execute(schema.task_input.insert().values(part | {"dataset_id": dataset, "first_ordinal": 0}))
        needs, start, taken = some_needs(connection), 0, 0
        total = sum((n * 104_729) % 5 for n in range(60))
    while True:
        with engine.begin() as connection:
            plan = Plan(task, needs, 1, 4, start, taken)
            if (start * 7 >= total) if kind == "events" else (taken >= 60):
                break
            if kind == "events":
                chunk = expansion.expand_by_events(
                    connection, plan, stream=1, events=7, total_events=total, n_files=60, max_jobs=6
                )
            else:
                chunk = expansion.expand_by_bytes(
                    connection, plan, stream=1, limit=40, max_files=min(6, 60 - taken), n_files=60, max_jobs=6
                )
            assert chunk.jobs > 0
            start, taken = chunk.next_ordinal, chunk.next_input
    with engine.connect() as connection:
        query = text("SELECT ordinal, input_first, input_count, first_event, n_events FROM job WHERE task_id = :t")
        return sorted(tuple(row) for row in connection.execute(query, {"t": task}))


@pytest.mark.parametrize("kind", ["bytes", "events"])
def test_jobs_do_not_depend_on_how_many_files_are_looked_at(
    engine: Engine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made_of(engine, kind, 1000, monkeypatch)
    assert len(whole) > 12
    assert made_of(engine, kind, 3, monkeypatch) == whole
    if kind == "bytes":  # every file once, in order, none beyond the limits
        assert [first for _, first, _, _, _ in whole][1:] == [first + n for _, first, n, _, _ in whole][:-1]
        assert max(n for _, _, n, _, _ in whole) <= 6
