"""Rows for tests: each builder inserts one thing with sensible values and what it cannot do without."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from panda.ddm.embedded import EmbeddedDdm
from panda.domain.states import BunchState, JobStatus
from panda.services.context import Context
from panda.settings import Settings, load
from panda.store import schema


def a_context(engine: Engine, folder: Path, **settings: Any) -> Context:
    """A context on a test's database, with the embedded DDM on the same one and data below `folder`."""
    made: Settings = load(data_dir=folder / "data", **settings)
    return Context(engine=engine, ddm=EmbeddedDdm(engine), settings=made, clock=lambda: datetime.now(UTC))


def a_cloud(connection: Connection, name: str = "US", **columns: Any) -> str:
    """A cloud, unless it is there."""
    values = {"name": name, "tier1": f"{name}-T1"} | columns
    connection.execute(upsert(schema.cloud).values(values).on_conflict_do_nothing())
    return name


def a_site(connection: Connection, name: str = "BNL", cloud: str = "US", **columns: Any) -> int:
    """A site with its cloud and a queue of the same name and limits; `queue_` columns go to the queue only."""
    a_cloud(connection, cloud)
    queue = {key.removeprefix("queue_"): columns.pop(key) for key in list(columns) if key.startswith("queue_")}
    values = {"name": name, "cloud": cloud, "tier": 2, "rse": f"{name}_DATADISK"} | columns
    number = _insert(connection, schema.site, values)
    shared = {key: value for key, value in values.items() if key in schema.queue.c and key != "status"}
    connection.execute(insert(schema.queue).values({**shared, "site_id": number, **queue}))
    return number


def some_needs(connection: Connection, **columns: Any) -> int:
    """A vector of needs, found or made."""
    values: dict[str, Any] = {
        "label": "managed", "share": "default", "vo": "atlas", "owner": "", "working_group": "",
        "processing_type": "prod", "architecture": "", "release": "", "memory_mb": 0, "disk_mb": 0, "cores": 1,
        "work_hs23_s": 0, "wall_s": 0,
    }  # fmt: skip
    values |= columns
    connection.execute(upsert(schema.needs).values(values).on_conflict_do_nothing())
    matches = [schema.needs.c[name] == value for name, value in values.items()]
    number: int = connection.execute(select(schema.needs.c.id).where(*matches)).scalar_one()
    return number


def a_task(connection: Connection, name: str = "a-task", **columns: Any) -> int:
    """A running production task without input."""
    values: dict[str, Any] = {
        "name": name, "vo": "atlas", "owner": "prodmanager", "label": "managed", "task_type": "prod",
        "processing_type": "prod", "share": "default", "transformation": "evgen", "parameters": "--seed ${SEED}",
        "release": "", "architecture": "", "priority": 500, "cores": 1, "memory_mb": 0, "disk_mb": 0,
        "work_hs23_s": 0, "wall_s": 0, "max_attempts": 3, "bunch_size": 20, "n_jobs": 2,
        "outputs": [{"name": "OUTPUT", "dataset": f"{name}.out", "lfn": f"{name}._${{SN}}.root", "kind": "output"}],
        "ddm_mode": "embedded", "cloud": "US", "stage": "running", "needs_id": some_needs(connection),
    }  # fmt: skip
    return _insert(connection, schema.production_task, values | columns)


def a_bunch(
    connection: Connection,
    task_id: int,
    *,
    n_jobs: int = 2,
    state: BunchState = BunchState.DEFINED,
    site_id: int | None = None,
    first_ordinal: int = 0,
    **columns: Any,
) -> int:
    """A bunch with its jobs and the event of their birth, and of its state if that is another one."""
    values = {"task_id": task_id, "n_jobs": n_jobs, "first_ordinal": first_ordinal, "state": state, "site_id": site_id}
    bunch_id = _insert(connection, schema.bunch, values | columns)
    if n_jobs:
        common = {"task_id": task_id, "bunch_id": bunch_id, "needs_id": some_needs(connection)}
        ordinals = range(first_ordinal, first_ordinal + n_jobs)
        connection.execute(insert(schema.job), [common | {"ordinal": ordinal} for ordinal in ordinals])
    an_event(connection, task_id, bunch_id=bunch_id, n=n_jobs, to_state=JobStatus.DEFINED, why="expanded")
    if state is not BunchState.DEFINED:
        an_event(
            connection, task_id, bunch_id=bunch_id, n=n_jobs, from_state=JobStatus.DEFINED, to_site=site_id,
            to_state=JobStatus(state.value), why="brokered",
        )  # fmt: skip
    return bunch_id


def a_job(connection: Connection, bunch_id: int, *, ordinal: int = 0, **columns: Any) -> int:
    """A job of a bunch, without an event of its own."""
    bunch = connection.execute(select(schema.bunch.c.task_id).where(schema.bunch.c.id == bunch_id)).scalar_one()
    values = {"task_id": bunch, "bunch_id": bunch_id, "ordinal": ordinal, "needs_id": some_needs(connection)}
    return _insert(connection, schema.job, values | columns)


def an_event(connection: Connection, task_id: int, **columns: Any) -> int:
    """A row of history."""
    return _insert(connection, schema.job_event, {"task_id": task_id} | columns)


def a_class(connection: Connection, site_id: int, **needs: Any) -> int:
    """A requirement class of a site."""
    return _insert(
        connection, schema.requirement_class, {"site_id": site_id, "needs_id": some_needs(connection, **needs)}
    )


def jobs_of(connection: Connection, bunch_id: int) -> list[int]:
    """The jobs of a bunch in order."""
    rows = connection.scalars(
        select(schema.job.c.id).where(schema.job.c.bunch_id == bunch_id).order_by(schema.job.c.id)
    )
    return list(rows)


def _insert(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    number: int = connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one()
    return number
