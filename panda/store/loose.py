"""SQL of loose jobs: what is each one's own in a task of several, its parameters, its priority, its input files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, text

from panda.domain.names import scope_of
from panda.store.schema import dataset_file

_FILE_COLUMNS = ("scope", "lfn", "guid", "bytes", "adler32", "events")


def set_own_parameters(connection: Connection, task_id: int, parameters: list[str], offsets: list[int]) -> list[int]:
    """Give each job of an implicit task its own parameters and priority offset, by ordinal; returns the ids."""
    rows = connection.execute(
        text("""
            UPDATE job j SET parameters = u.parameters, priority_offset = NULLIF(u.priority, 0)
            FROM unnest(CAST(:parameters AS text[]), CAST(:offsets AS int[])) WITH ORDINALITY
                AS u (parameters, priority, n)
            WHERE j.task_id = :task AND j.ordinal = u.n - 1
            RETURNING j.ordinal, j.id
        """),
        {"task": task_id, "parameters": parameters, "offsets": offsets},
    ).all()
    return [row.id for row in sorted(rows, key=lambda row: row.ordinal)]


@dataclass(frozen=True, slots=True)
class OwnInput:
    """A file that a job reads: its place in the stream's numbering, the stream's dataset that holds it, its facts."""

    number: int
    place: int
    file: Mapping[str, object]


def set_own_inputs(connection: Connection, task_id: int, files: Sequence[OwnInput], counts: Sequence[int]) -> None:
    """Give each job, by ordinal, its next `counts` files of the primary stream, whose numbering runs over all `files`.

    Each dataset of the stream is stood for by one of the task's own (kind "selection") with the files that are read of
    it under their numbers. A file that several jobs read has a number for each, so that their failures stay apart.
    """
    rows = connection.execute(
        text("SELECT place, dataset FROM task_input WHERE task_id = :task AND stream = 1 ORDER BY place"),
        {"task": task_id},
    ).all()
    for row in rows:
        held = [one for one in files if one.place == row.place]
        _set_place(connection, task_id, row, held)
    connection.execute(
        text("""
            UPDATE job j SET input_first = u.total - u.n, input_count = u.n
            FROM (SELECT c.n, c.place - 1 AS ordinal, sum(c.n) OVER (ORDER BY c.place) AS total
                  FROM unnest(CAST(:counts AS int[])) WITH ORDINALITY AS c (n, place)) u
            WHERE j.task_id = :task AND j.ordinal = u.ordinal AND u.n > 0
        """),
        {"task": task_id, "counts": list(counts)},
    )


def _set_place(connection: Connection, task_id: int, row: Any, held: Sequence[OwnInput]) -> None:
    """Number the files that are read of one dataset; several of a task may have the same numbering: it has gaps."""
    name = f"{row.dataset}.jobs.{task_id}.{row.place}"
    made: int = connection.execute(
        text("""
            INSERT INTO dataset (scope, name, kind, n_files, bytes) VALUES (:scope, :name, 'selection', :n, :bytes)
            RETURNING id
        """),
        {
            "scope": scope_of(name),
            "name": name,
            "n": len(held),
            "bytes": sum(int(str(one.file["bytes"])) for one in held),
        },
    ).scalar_one()
    numbered = [
        {"dataset_id": made, "ordinal": one.number, **{column: one.file[column] for column in _FILE_COLUMNS}}
        for one in held
    ]
    if numbered:
        connection.execute(insert(dataset_file), numbered)
    connection.execute(
        text("""
            UPDATE task_input SET dataset_id = :made, first_ordinal = 0, n_files = :n
            WHERE task_id = :task AND stream = 1 AND place = :place
        """),
        {"made": made, "n": len(held), "task": task_id, "place": row.place},
    )
