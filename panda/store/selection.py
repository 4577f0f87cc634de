"""SQL of a task's choice of files: an input stream takes only some files of its datasets (`domain.work.Selection`).

The chosen files are numbered in a dataset of the task's own, of kind "selection"; the stream keeps the names of the
datasets that hold the files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.exc import DataError

from panda.domain.names import scope_of
from panda.domain.work import Selection
from panda.errors import Refused

_CHOSEN = """
    (cardinality(CAST(:include AS text[])) = 0 OR f.lfn ~ ANY(CAST(:include AS text[])))
    AND NOT f.lfn ~ ANY(CAST(:exclude AS text[]))
    AND (cardinality(CAST(:files AS text[])) = 0 OR f.lfn = ANY(CAST(:files AS text[])))
"""

_COPY = text(f"""
    WITH made AS (
        INSERT INTO dataset (scope, name, kind) VALUES (:scope, :name, 'selection') RETURNING id
    ), chosen AS MATERIALIZED (
        SELECT f.*, row_number() OVER (ORDER BY f.ordinal) - 1 - :skip AS number
        FROM dataset_file f WHERE f.dataset_id = :source AND {_CHOSEN}
    ), copied AS (
        INSERT INTO dataset_file (dataset_id, ordinal, scope, lfn, guid, bytes, adler32, events)
        SELECT m.id, c.number, c.scope, c.lfn, c.guid, c.bytes, c.adler32, c.events FROM chosen c, made m
        WHERE c.number >= 0
    )
    SELECT m.id, (SELECT count(*) FROM chosen) AS n FROM made m
""")  # noqa: S608 - a constant of this file

_INPUTS = text("""
    SELECT i.*, d.name AS source FROM task_input i JOIN dataset d ON d.id = i.dataset_id
    WHERE i.task_id = :task AND i.selection IS NOT NULL AND d.kind <> 'selection' ORDER BY i.stream, i.place
""")

_USE = text("""
    UPDATE task_input SET dataset_id = :made WHERE task_id = :task AND stream = :stream AND place = :place
""")

_TOTAL = text("""
    UPDATE dataset d SET n_files = s.n, bytes = s.bytes FROM (
        SELECT count(*) AS n, COALESCE(sum(bytes), 0) AS bytes FROM dataset_file WHERE dataset_id = :made) s
    WHERE d.id = :made
""")


def choose(connection: Connection, task_id: int) -> None:
    """Number the chosen files of each stream that has a choice; what is numbered already stays.

    The files to skip are the first of the stream, over all its datasets in order.
    """
    left: dict[int, int] = {}
    for row in connection.execute(_INPUTS, {"task": task_id}).mappings().all():
        skip = left.get(row["stream"], row["selection"]["skip"])
        left[row["stream"]] = max(0, skip - _copy(connection, row, skip))


def _copy(connection: Connection, row: RowMapping, skip: int) -> int:
    """Give how many files of one dataset were chosen, the skipped ones among them."""
    name = f"{row['source']}.selection.{row['task_id']}.{row['stream']}.{row['place']}"
    place = {"task": row["task_id"], "stream": row["stream"], "place": row["place"]}
    values = {**_values(row["selection"]), "source": row["dataset_id"], "scope": scope_of(name), "name": name}
    made = connection.execute(_COPY, {**values, "skip": skip}).one()
    connection.execute(_TOTAL, {"made": made.id})
    connection.execute(_USE, {**place, "made": made.id})
    return int(made.n)


def positions(connection: Connection, lfns: Sequence[str], wanted: Selection) -> list[int]:
    """Which of these files, in order, does a choice take? Raises Refused for a pattern that cannot be read."""
    query = text(f"SELECT f.n - 1 FROM unnest(CAST(:lfns AS text[])) WITH ORDINALITY AS f (lfn, n) WHERE {_CHOSEN}"  # noqa: S608 - a constant of this file
                 " ORDER BY f.n OFFSET :skip")  # fmt: skip
    values = _values(asdict(wanted))
    try:
        with connection.begin_nested():
            return list(connection.execute(query, {**values, "lfns": list(lfns), "skip": wanted.skip}).scalars())
    except DataError as error:
        words = str(error.orig).splitlines()[0]
        patterns = ", ".join(repr(one) for one in (*wanted.include, *wanted.exclude))
        raise Refused(f"a pattern for input files cannot be read: {words}", hint=f"look at {patterns}") from error


def _values(selection: Mapping[str, Any]) -> dict[str, object]:
    return {name: list(selection[name]) for name in ("include", "exclude", "files")}
