"""The story under Prefect: told twice it changes nothing the second time; its state says what the task waits for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import get_client
from prefect.testing.utilities import prefect_test_harness
from sqlalchemy import Engine, text

from flows.bamboo import bamboo
from flows.production_task import production_task
from flows.quick import quick_flows
from flows.requests import Production, submit_production
from panda.domain.dispatch import PilotAsk
from panda.services import dispatch, grid, narrate, read
from panda.services.context import Context
from tasks.bamboo import production_database
from tasks.world import world

TINY = Path(__file__).parents[2] / "deployments" / "grids" / "tiny.yaml"
pytestmark = pytest.mark.slow

FORM = Production(
    name="story.one",
    transformation="evgen",
    parameters="--seed ${SEED} --output ${OUTPUT0}",
    release="ZBoson-1.0",
    output_dataset="story.one.data",
    jobs=3,
)


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180), quick_flows():
        yield


@pytest.fixture
def ctx(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None) -> Iterator[Context]:
    """The very Context that flows and steps use, on this test's own database, with an idle pilot at every queue."""
    monkeypatch.setenv("PANDA_DATABASE_URL", database.replace("+psycopg2", ""))
    monkeypatch.setenv("PANDA_DATA_DIR", str(tmp_path))
    for cached in (world, production_database):
        cached.cache_clear()
    found = world()
    grid.load(found, grid.read_grid_file(TINY))
    with found.engine.begin() as connection:
        queues = list(connection.execute(text("SELECT name FROM queue")).scalars())
    for queue in queues:
        dispatch.acquire(found, PilotAsk(queue=queue, node="node", label="managed"))
    yield found
    production_database().dispose()
    found.close()
    for cached in (world, production_database):
        cached.cache_clear()


def rows_of(engine: Engine) -> dict[str, int]:
    tables = ("job", "bunch", "ready", "job_event", "block", "dataset", "brokerage_decision")
    with engine.begin() as connection:
        return {one: connection.execute(text(f"SELECT count(*) FROM {one}")).scalar_one() for one in tables}  # noqa: S608


def test_a_story_told_twice_changes_nothing_the_second_time(ctx: Context) -> None:
    submitted = submit_production(FORM, return_state=True)
    assert submitted.name == "Submitted"
    task_id = read.tasks(ctx)[0].id

    first = production_task(task_id, return_state=True)
    made = rows_of(ctx.engine)
    second = production_task(task_id, return_state=True)

    assert (first.name, second.name) == ("AwaitingPilots", "AwaitingPilots")
    assert made["job"] == made["ready"] == FORM.jobs
    assert rows_of(ctx.engine) == made
    assert "3 activated" in (second.message or "")


def test_the_form_refuses_with_the_error_of_panda_and_stores_nothing(ctx: Context) -> None:
    state = submit_production(FORM.model_copy(update={"release": "ZBoson-9"}), return_state=True)
    assert state.is_failed()
    assert state.name == "Refused"
    assert "ZBoson-1.0" in (state.message or "")
    assert read.tasks(ctx) == []


def test_bamboo_does_nothing_where_nothing_is_due_and_only_one_runs(ctx: Context) -> None:
    from panda.services.bamboo import single

    assert bamboo(return_state=True).name == "UpToDate"
    before = rows_of(ctx.engine)
    assert bamboo(return_state=True).name == "UpToDate"
    assert rows_of(ctx.engine) == before
    with single(ctx):
        assert bamboo(return_state=True).name == "Skipped"


def test_the_brokerage_table_of_a_task_names_every_candidate(ctx: Context) -> None:
    submit_production(FORM, return_state=True)
    task_id = read.tasks(ctx)[0].id
    production_task(task_id, return_state=True)
    told = narrate.narrate(ctx, task_id)
    assert {row["candidate"] for row in told.brokerage} == {"ALPHA", "BETA"}
    assert [row["verdict"] for row in told.brokerage].count("chosen") == 1
    with get_client(sync_client=True) as client:
        keys = {one.key for one in client.read_artifacts()}
    assert {f"task-{task_id}-brokerage", f"task-{task_id}-progress", f"task-{task_id}"} <= keys
