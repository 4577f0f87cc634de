"""Production tasks in the database: insert, lease, stage, wake-up. Which jobs they have is `store.jobs`' business."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from panda.domain.lease import Lease
from panda.domain.names import bare_name, scope_of
from panda.domain.states import TASK_CHANGES, TaskStage
from panda.domain.work import EVERY_FILE, InputSpec, TaskRequest
from panda.errors import Conflict, LeaseLost, NameTaken, NotFound
from panda.store.schema import dataset, needs, production_task, task_input


def insert_task(
    connection: Connection, request: TaskRequest, *, parent_id: int | None, bunch_size: int, implicit: bool = False
) -> int:
    """Store a checked request with its input streams and its output datasets, open and empty; returns the id.

    The primary stream is always number 1, and no other is: failures are charged to its files (`store.ends`).
    """
    task_id: int = connection.execute(
        insert(production_task)
        .values(**_columns(request), parent_id=parent_id, bunch_size=bunch_size, implicit=implicit)
        .returning(production_task.c.id)
    ).scalar_one()
    needs_id = needs_of(connection, request)
    connection.execute(update(production_task).where(production_task.c.id == task_id).values(needs_id=needs_id))
    rows = [
        {
            "task_id": task_id,
            "stream": number,
            "place": place,
            "name": stream.stream,
            "role": stream.role,
            "dataset": bare_name(name),
            "files_per_job": stream.files_per_job,
            "selection": None if stream.selection == EVERY_FILE else asdict(stream.selection),
        }
        for number, stream in _numbered(request)
        for place, name in enumerate(stream.datasets)
    ]
    if rows:
        connection.execute(insert(task_input), rows)
    for kind, name in sorted({(one.kind, bare_name(one.dataset)) for one in request.outputs}):
        insert_dataset(connection, name, kind, task_id)
    return task_id


def _numbered(request: TaskRequest) -> Iterator[tuple[int, InputSpec]]:
    others = [one for one in request.inputs if one.role != "primary"]
    yield from ((1, one) for one in request.inputs if one.role == "primary")
    yield from enumerate(others, start=2)


def _columns(request: TaskRequest) -> dict[str, object]:
    plain = {
        name: getattr(request, name)
        for name in (
            "name", "vo", "owner", "working_group", "label", "task_type", "processing_type", "campaign", "share",
            "transformation", "parameters", "wire_parameters", "release", "architecture", "container",
            "priority", "max_attempts", "ddm_mode", "cloud", "seed", "proddb_task", "use_secrets",
        )
    }  # fmt: skip
    split, resources = asdict(request.split), asdict(request.resources)
    outputs = [asdict(one) | {"dataset": bare_name(one.dataset)} for one in request.outputs]
    return (
        plain
        | split
        | resources
        | {
            "outputs": outputs,
            "preset_site": request.site,
            "sites": list(request.sites),
            "excluded_sites": list(request.excluded_sites),
            "exp_remaining_work": request.exp_remaining_work or 0.0,
        }
    )


def insert_dataset(connection: Connection, name: str, kind: str, task_id: int | None) -> int:
    """Make a dataset's row, open and empty.

    When the name is taken raises NameTaken for what a new task would write, Conflict for an input: a story of another
    task, which reads it too, was faster.
    """
    try:
        with connection.begin_nested():
            number: int = connection.execute(
                insert(dataset)
                .values(scope=scope_of(name), name=name, kind=kind, task_id=task_id)
                .returning(dataset.c.id)
            ).scalar_one()
            return number
    except IntegrityError as error:
        kind_of_error = Conflict if task_id is None else NameTaken
        raise kind_of_error(
            f"dataset {name!r} exists already", hint="choose another name; a closed dataset is never written again"
        ) from error


def needs_of(connection: Connection, request: TaskRequest) -> int:
    """Find or make the vector of needs that all jobs of a request share; memory and disk are rounded up to steps."""
    resources = request.resources
    personal = request.label in {"user", "panda"}
    vector: Mapping[str, object] = {
        "label": request.label,
        "share": request.share,
        "vo": request.vo,
        "owner": request.owner if personal else "",
        "working_group": request.working_group or "",
        "processing_type": request.processing_type,
        "architecture": request.architecture,
        "release": request.release,
        "memory_mb": _up(resources.memory_mb, 250),
        "disk_mb": _up(resources.disk_mb, 1000),
        "cores": resources.cores,
        "work_hs23_s": resources.work_hs23_s,
        "wall_s": resources.wall_s,
        "in_container": bool(request.container),
    }
    names = ", ".join(vector)
    values = ", ".join(f":{name}" for name in vector)
    connection.execute(
        text(f"INSERT INTO needs ({names}) VALUES ({values}) ON CONFLICT ON CONSTRAINT uq_needs_vector DO NOTHING"),  # noqa: S608 - column names of our own
        vector,
    )
    matches = [needs.c[name] == value for name, value in vector.items()]
    number: int = connection.execute(select(needs.c.id).where(*matches)).scalar_one()
    return number


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def task_row(connection: Connection, task_id: int) -> RowMapping:
    """Read one task; raises NotFound."""
    row = connection.execute(select(production_task).where(production_task.c.id == task_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no production task {task_id}", hint="'panda tasks' lists them")
    return row


def lock_task(connection: Connection, task_id: int) -> RowMapping:
    """Read one task and keep stories and orders from changing it until the transaction ends; raises NotFound."""
    connection.execute(text("SELECT id FROM production_task WHERE id = :task FOR NO KEY UPDATE"), {"task": task_id})
    return task_row(connection, task_id)


def lock_tasks(connection: Connection, task_ids: list[int]) -> None:
    """Lock several tasks in order of id, before a transaction changes them in any other order."""
    connection.execute(
        text("SELECT id FROM production_task WHERE id = ANY(:tasks) ORDER BY id FOR NO KEY UPDATE"), {"tasks": task_ids}
    )


def inputs_of(connection: Connection, task_id: int) -> list[RowMapping]:
    """Read the input streams of a task in order of stream and place."""
    query = select(task_input).where(task_input.c.task_id == task_id).order_by(task_input.c.stream, task_input.c.place)
    return list(connection.execute(query).mappings())


def dataset_by_name(connection: Connection, name: str) -> RowMapping | None:
    """Find a dataset that PanDA knows by its bare name."""
    return connection.execute(select(dataset).where(dataset.c.name == name)).mappings().one_or_none()


def datasets_by_name(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Find the ids of datasets that PanDA knows by their bare names; unknown ones are left out."""
    rows = connection.execute(select(dataset.c.name, dataset.c.id).where(dataset.c.name.in_(names)))
    return {row.name: row.id for row in rows}


def datasets_of(connection: Connection, task_id: int) -> list[RowMapping]:
    """Read the output and log datasets of a task."""
    query = select(dataset).where(dataset.c.task_id == task_id, dataset.c.kind.in_(["output", "log"]))
    return list(connection.execute(query.order_by(dataset.c.id)).mappings())


# --- the lease ------------------------------------------------------------------------------------------------------
# While a story is told the task is due "told"; whatever else stands there at the story's end was ordered meanwhile.
TOLD = datetime(9999, 1, 1, tzinfo=UTC)
_CLAIM = text("""
    UPDATE production_task
    SET lease_until = now() + make_interval(secs => :seconds), lease_token = :token, due_at = :told
    WHERE id = :task AND (lease_until IS NULL OR lease_until < now())
    RETURNING wake_seq
""")
_FENCE = text("""
    UPDATE production_task SET lease_until = now() + make_interval(secs => :seconds)
    WHERE id = :task AND lease_token = :token
    RETURNING id
""")
_RELEASE = text("""
    UPDATE production_task
    SET lease_until = NULL, lease_token = NULL, waits_for = :waits_for,
        due_at = CASE WHEN wake_seq <> :wake_seq THEN now()
                      ELSE LEAST(NULLIF(due_at, :told), now() + make_interval(secs => :later)) END
    WHERE id = :task AND lease_token = :token
""")


def claim(connection: Connection, task_id: int, token: UUID, seconds: int) -> Lease | None:
    """Take the lease of a task by the database's clock; None when somebody else holds it."""
    values = {"task": task_id, "token": token, "seconds": seconds, "told": TOLD}
    seq = connection.execute(_CLAIM, values).scalar_one_or_none()
    return None if seq is None else Lease(task_id, token, seq)


def fence(connection: Connection, lease: Lease, seconds: int) -> None:
    """Begin a transaction of a story: lock the task's row, renew the lease; raises LeaseLost when it is gone."""
    found = connection.execute(_FENCE, {"task": lease.task_id, "token": lease.token, "seconds": seconds})
    if found.scalar_one_or_none() is None:
        raise LeaseLost(f"the lease on task {lease.task_id} is gone; somebody else may work on it")


def release(connection: Connection, lease: Lease, waits_for: str | None, later_s: float | None) -> None:
    """End a story; the task is due at once if something happened meanwhile, else when ordered, or `later_s` on."""
    connection.execute(
        _RELEASE.bindparams(bindparam("later", later_s)),
        {
            "task": lease.task_id,
            "token": lease.token,
            "wake_seq": lease.wake_seq,
            "waits_for": waits_for,
            "told": TOLD,
        },
    )


def set_stage(connection: Connection, task_id: int, new: TaskStage, *, error: str | None = None) -> bool:
    """Move a task along the table of stages; False when it is not in a stage from which that is allowed."""
    sources = [old for old, news in TASK_CHANGES.items() if new in news]
    final = new in {TaskStage.DONE, TaskStage.FINISHED, TaskStage.FAILED, TaskStage.ABORTED}
    values: dict[str, object] = {"stage": new, "stage_since": func.now(), "ended_at": func.now() if final else None}
    if error is not None:
        values["error"] = error
    changed = connection.execute(
        update(production_task)
        .where(production_task.c.id == task_id, production_task.c.stage.in_(sources))
        .values(**values)
    )
    return changed.rowcount == 1


def set_retried(connection: Connection, task_id: int) -> None:
    """Note that somebody had a task tried again: its lifetime begins anew."""
    connection.execute(update(production_task).where(production_task.c.id == task_id).values(retried_at=func.now()))


def wake(connection: Connection, task_ids: list[int], *, in_seconds: float = 0.0) -> None:
    """Make tasks due at latest in so many seconds.

    0: something happened that a story which is being told now may have missed, so that its end is not the last word.
    """
    if task_ids:
        lock_tasks(connection, task_ids)  # by itself: an update that locks in a subquery met itself in a deadlock
        connection.execute(
            text("""
                UPDATE production_task SET wake_seq = wake_seq + CASE WHEN :later > 0 THEN 0 ELSE 1 END,
                    due_at = LEAST(COALESCE(due_at, 'infinity'), now() + make_interval(secs => :later))
                WHERE id = ANY(:ids) AND stage NOT IN ('done', 'finished', 'failed', 'aborted')
            """),
            {"ids": sorted(set(task_ids)), "later": in_seconds},
        )


def due(connection: Connection, limit: int) -> list[int]:
    """Which tasks should be told further now, the longest waiting first?"""
    rows = connection.execute(
        text("""
            SELECT id FROM production_task
            WHERE (due_at <= now() OR due_at = :told) AND (lease_until IS NULL OR lease_until < now())
              AND stage NOT IN ('done', 'finished', 'failed', 'aborted')
            ORDER BY due_at LIMIT :limit
        """),
        {"limit": limit, "told": TOLD},
    )
    return list(rows.scalars())


def update_task(connection: Connection, task_id: int, **values: object) -> None:
    """Write plain columns of a task."""
    connection.execute(update(production_task).where(production_task.c.id == task_id).values(**values))


def add_incident_once(connection: Connection, level: str, kind: str, subject: str, words: str) -> None:
    """Write down what operators must know, unless the same was written within the last hour."""
    same = text("""
        SELECT 1 FROM incident
        WHERE kind = :k AND object = :o AND text = :t AND at > now() - interval '1 hour' LIMIT 1
    """)
    if connection.scalar(same, {"k": kind, "o": subject, "t": words[:2000]}) is None:
        add_incident(connection, level, kind, subject, words)


def add_incident(
    connection: Connection, level: str, kind: str, subject: str, words: str, numbers: Mapping[str, object] | None = None
) -> None:
    """Write down what operators must know."""
    connection.execute(
        text("INSERT INTO incident (level, kind, object, text, numbers) VALUES (:l, :k, :o, :t, :n)").bindparams(
            bindparam("n", dict(numbers or {}), type_=JSONB)
        ),
        {"l": level, "k": kind, "o": subject, "t": words[:2000]},
    )


def age_s(connection: Connection, task_id: int) -> float:
    """For how many seconds has a task been in its stage?"""
    query = text("SELECT EXTRACT(epoch FROM now() - stage_since) FROM production_task WHERE id = :task")
    return float(connection.scalar(query, {"task": task_id}) or 0.0)


def is_leased(connection: Connection, task_id: int) -> bool:
    """Is a task's lease held now, by the database's clock?"""
    query = text("SELECT lease_until > now() FROM production_task WHERE id = :task")
    return bool(connection.scalar(query, {"task": task_id}))
