"""From a production task to its jobs, set by set in SQL: rows of files never pass through Python (design decision 11).

A chunk is one transaction: it inserts bunches, their jobs and one event per bunch, and advances `next_ordinal` and
`next_input`, so that a crash loses nothing and doubles nothing.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sqlalchemy import Connection, RowMapping, text

from panda.store.engine import blocking

if TYPE_CHECKING:
    from psycopg2.extensions import connection as PsycopgConnection  # noqa: N812 - a class with the name of a value

_FILE_COLUMNS = ("scope", "lfn", "guid", "bytes", "adler32", "events")

_COMMON = """
    b AS (
        INSERT INTO bunch (task_id, first_ordinal, n_jobs)
        SELECT :task, min(p.ordinal), count(*) FROM plan p GROUP BY (p.ordinal - :start) / :bunch_size
        RETURNING id, first_ordinal, n_jobs
    ), e AS (
        INSERT INTO job_event (task_id, bunch_id, n, cores, to_state, why, who)
        SELECT :task, b.id, b.n_jobs, :cores, 'defined', 'expanded', 'expand' FROM b
    ), j AS (
        INSERT INTO job (task_id, bunch_id, ordinal, input_first, input_count, first_event, n_events, needs_id)
        SELECT :task, b.id, p.ordinal, p.input_first, p.input_count, p.first_event, p.n_events, :needs
        FROM plan p JOIN b ON (p.ordinal - :start) / :bunch_size = (b.first_ordinal - :start) / :bunch_size
        ORDER BY p.ordinal
        RETURNING ordinal, input_first, input_count
    )
    SELECT count(*) AS jobs, max(ordinal) AS last, COALESCE(max(input_first + input_count), 0) AS next_input FROM j
"""

# Where a job's numbers follow from its ordinal nothing is planned, joined or read back: half the CPU for a job.
_REGULAR = """
    WITH b AS (
        INSERT INTO bunch (task_id, first_ordinal, n_jobs)
        SELECT :task, f, LEAST(:bunch_size, :stop - f) FROM generate_series(:start, :stop - 1, :bunch_size) AS f
        RETURNING id, first_ordinal, n_jobs
    ), e AS (
        INSERT INTO job_event (task_id, bunch_id, n, cores, to_state, why, who)
        SELECT :task, b.id, b.n_jobs, :cores, 'defined', 'expanded', 'expand' FROM b
    )
    INSERT INTO job (task_id, bunch_id, ordinal, needs_id, {columns})
    SELECT :task, b.id, o, :needs, {values}
    FROM b CROSS JOIN LATERAL generate_series(b.first_ordinal, b.first_ordinal + b.n_jobs - 1) AS o
"""
_WITHOUT_INPUT = _REGULAR.format(
    columns="first_event, n_events",
    values="""CASE WHEN :events > 0 THEN o::bigint * :events END,
              CASE WHEN :events > 0 THEN LEAST(:events, :total_events - o::bigint * :events)::int END""",
)
_BY_FILES = _REGULAR.format(
    columns="input_first, input_count",
    values=""":next_input + (o - :start) * :per_job,
              LEAST(:per_job, :n_files - (:next_input + (o - :start) * :per_job))""",
)

# Sums of bytes do not fall, so the last file that fits is one look into their index. A job that touches the end of the
# files at hand, while the stream goes on, is left to the next chunk.
_PLAN_BY_BYTES = """
    RECURSIVE g (ordinal, first, last) AS (
        SELECT CAST(:start AS int), CAST(:next_input AS int), fit.last
        FROM stream_file h CROSS JOIN LATERAL ({fit}) fit WHERE h.ord = :next_input
      UNION ALL
        SELECT g.ordinal + 1, g.last + 1, fit.last
        FROM g JOIN stream_file h ON h.ord = g.last + 1 CROSS JOIN LATERAL ({fit}) fit WHERE g.ordinal + 1 < :stop
    ), plan AS MATERIALIZED (
        SELECT ordinal, first AS input_first, last - first + 1 AS input_count,
               NULL::bigint AS first_event, NULL::int AS n_events
        FROM g WHERE last + 1 < :end OR :end = :n_files
    )
""".format(  # noqa: S608 - constants of this file
    fit="""
        SELECT GREATEST(h.ord, LEAST(h.ord + :max_files - 1, COALESCE((
            SELECT x.ord FROM stream_file x WHERE x.cum_bytes <= h.cum_bytes - h.bytes + :limit
            ORDER BY x.cum_bytes DESC, x.ord DESC LIMIT 1), h.ord))) AS last"""
)

_PLAN_BY_EVENTS = """
    plan AS MATERIALIZED (
        SELECT o AS ordinal, lo.ord AS input_first, hi.ord - lo.ord + 1 AS input_count,
               o::bigint * :events AS first_event,
               LEAST(:events, :total_events - o::bigint * :events)::int AS n_events
        FROM generate_series(:start, :stop - 1) AS o
        CROSS JOIN LATERAL (
            SELECT ord FROM stream_file WHERE cum_events > o::bigint * :events ORDER BY cum_events, ord LIMIT 1) lo
        CROSS JOIN LATERAL (
            SELECT ord FROM stream_file WHERE cum_events >= LEAST((o::bigint + 1) * :events, :total_events)
            ORDER BY cum_events, ord LIMIT 1) hi
    )
"""

_STREAM_FILE = """
    CREATE TEMPORARY TABLE stream_file ON COMMIT DROP AS
    SELECT ord, bytes, sum(bytes) OVER w AS cum_bytes, sum(events) OVER w + (
        SELECT COALESCE(sum(f.events), 0) FROM task_input i JOIN dataset_file f ON f.dataset_id = i.dataset_id
        WHERE i.task_id = :task AND i.stream = :stream AND i.first_ordinal + f.ordinal < :first) AS cum_events
    FROM (
        SELECT i.first_ordinal + f.ordinal AS ord, f.bytes, COALESCE(f.events, 0) AS events
        FROM task_input i CROSS JOIN LATERAL (
            SELECT * FROM dataset_file
            WHERE dataset_id = i.dataset_id AND ordinal >= :first - i.first_ordinal
              AND ordinal < :stop - i.first_ordinal OFFSET 0) f
        WHERE i.task_id = :task AND i.stream = :stream) x
    WINDOW w AS (ORDER BY ord)
"""
FILES_AT_ONCE = 50_000
"""So many files of a stream are looked at for a chunk of jobs: all of them for each chunk would be a square of time."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one chunk of an expansion made: jobs, and where the next chunk begins."""

    jobs: int
    next_ordinal: int
    next_input: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What every chunk of a task needs to know."""

    task_id: int
    needs_id: int
    cores: int
    bunch_size: int
    start: int
    next_input: int

    def values(self, **others: object) -> dict[str, object]:
        """The parameters that every statement has, and those of one."""
        return {
            "task": self.task_id,
            "needs": self.needs_id,
            "cores": self.cores,
            "bunch_size": self.bunch_size,
            "start": self.start,
            **others,
        }


def _run(connection: Connection, plan: Plan, with_plan: str, **values: object) -> Chunk:
    # the parts are constants of this file
    row = connection.execute(text(f"WITH {with_plan}, {_COMMON}"), plan.values(**values)).one()
    if not row.jobs:
        return Chunk(0, plan.start, plan.next_input)
    return _advance(connection, plan, Chunk(row.jobs, row.last + 1, row.next_input))


def _advance(connection: Connection, plan: Plan, chunk: Chunk) -> Chunk:
    connection.execute(
        text("UPDATE production_task SET next_ordinal = :ordinal, next_input = :input WHERE id = :task"),
        {"ordinal": chunk.next_ordinal, "input": chunk.next_input, "task": plan.task_id},
    )
    return chunk


def expand_without_input(
    connection: Connection, plan: Plan, *, stop: int, events: int | None, total_events: int | None
) -> Chunk:
    """Make jobs `plan.start` to `stop` - 1 of a task without input; `events` per job, the last one takes the rest."""
    total = total_events if total_events is not None else (events or 0) * stop
    values = plan.values(stop=stop, events=events or 0, total_events=total)
    connection.execute(text(_WITHOUT_INPUT), values)
    return _advance(connection, plan, Chunk(stop - plan.start, stop, plan.next_input))


def expand_by_files(connection: Connection, plan: Plan, *, per_job: int, n_files: int, max_jobs: int) -> Chunk:
    """Make at most `max_jobs` jobs of `per_job` consecutive files each; the last one takes what is left."""
    jobs = min(-(-(n_files - plan.next_input) // per_job), max_jobs)
    stop = plan.start + jobs
    values = plan.values(stop=stop, per_job=per_job, n_files=n_files, next_input=plan.next_input)
    connection.execute(text(_BY_FILES), values)
    return _advance(connection, plan, Chunk(jobs, stop, min(n_files, plan.next_input + jobs * per_job)))


def expand_by_bytes(
    connection: Connection, plan: Plan, *, stream: int, limit: int, max_files: int, n_files: int, max_jobs: int
) -> Chunk:
    """Fill jobs with consecutive files up to `limit` bytes and `max_files` files; a larger file gets a job alone."""
    end = min(n_files, plan.next_input + max(FILES_AT_ONCE, 2 * max_files))
    _make_stream_file(connection, plan.task_id, stream, plan.next_input, end, "cum_bytes")
    return _run(
        connection,
        plan,
        _PLAN_BY_BYTES,
        stop=plan.start + max_jobs,
        limit=limit,
        max_files=max_files,
        n_files=n_files,
        next_input=plan.next_input,
        end=end,
    )


def expand_by_events(
    connection: Connection, plan: Plan, *, stream: int, events: int, total_events: int, n_files: int, max_jobs: int
) -> Chunk:
    """Give each job `events` consecutive events and the files that hold them (neighbours may share a file)."""
    first, at_once = max(0, plan.next_input - 1), FILES_AT_ONCE
    jobs = 0
    while jobs <= 0:
        end = min(n_files, first + at_once)
        known = _make_stream_file(connection, plan.task_id, stream, first, end, "cum_events")
        jobs = (-(-total_events // events) if end == n_files else known // events) - plan.start
        at_once *= 4
    return _run(
        connection,
        plan,
        _PLAN_BY_EVENTS,
        stop=plan.start + min(jobs, max_jobs),
        events=events,
        total_events=total_events,
    )


def _make_stream_file(connection: Connection, task_id: int, stream: int, first: int, stop: int, by: str) -> int:
    """Lay files `first` to `stop` - 1 of a stream out with their sums; returns the events of all up to there."""
    connection.execute(text("DROP TABLE IF EXISTS pg_temp.stream_file"))
    values = {"task": task_id, "stream": stream, "first": first, "stop": stop}
    connection.execute(text(_STREAM_FILE), values)
    connection.execute(text("CREATE UNIQUE INDEX ON stream_file (ord)"))
    connection.execute(text(f"CREATE INDEX ON stream_file ({by}, ord)"))
    connection.execute(text("ANALYZE stream_file"))
    return int(connection.scalar(text("SELECT max(cum_events) FROM stream_file")) or 0)


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """How much a task's primary input stream holds; `unknown_events` counts files whose events nobody told."""

    stream: int
    n_files: int
    bytes: int
    events: int
    unknown_events: int


def stream_totals(connection: Connection, task_id: int, stream: int, *, most: int | None) -> StreamTotals:
    """Sum up one numbered input stream, of which at most the first `most` files are taken."""
    row = connection.execute(
        text("""
            SELECT count(*) AS n, COALESCE(sum(f.bytes), 0) AS bytes, COALESCE(sum(f.events), 0) AS events,
                   count(*) FILTER (WHERE f.events IS NULL) AS unknown
            FROM task_input i JOIN dataset_file f ON f.dataset_id = i.dataset_id
            WHERE i.task_id = :task AND i.stream = :stream
              AND (CAST(:most AS int) IS NULL OR i.first_ordinal + f.ordinal < :most)
        """),
        {"task": task_id, "stream": stream, "most": most},
    ).one()
    return StreamTotals(stream, row.n, int(row.bytes), int(row.events), row.unknown)


def number_inputs(connection: Connection, task_id: int) -> None:
    """Give each dataset of each stream its first ordinal: one numbering per stream, over several datasets."""
    connection.execute(
        text("""
            UPDATE task_input t SET first_ordinal = s.first, n_files = s.n
            FROM (
                SELECT i.stream, i.place, d.n_files AS n,
                       COALESCE(sum(d.n_files) OVER (PARTITION BY i.stream ORDER BY i.place
                                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS first
                FROM task_input i JOIN dataset d ON d.id = i.dataset_id WHERE i.task_id = :task
            ) s
            WHERE t.task_id = :task AND t.stream = s.stream AND t.place = s.place
        """),
        {"task": task_id},
    )


def snapshot_own_dataset(connection: Connection, dataset_id: int) -> int:
    """Number the files of a closed dataset of ours by the ordinal of the jobs that made them; returns how many."""
    connection.execute(text("DELETE FROM dataset_file WHERE dataset_id = :d"), {"d": dataset_id})
    made = connection.execute(
        text("""
            INSERT INTO dataset_file (dataset_id, ordinal, scope, lfn, guid, bytes, adler32, events)
            SELECT :d, row_number() OVER (ORDER BY j.ordinal, o.place) - 1, o.scope, o.lfn, o.guid, o.bytes,
                   o.adler32, COALESCE(o.events, j.n_events)
            FROM job_output o JOIN job_all j ON j.id = o.job_id
            WHERE o.dataset_id = :d AND o.state = 'attached'
        """),
        {"d": dataset_id},
    ).rowcount
    connection.execute(
        text("""
            UPDATE dataset SET n_files = :n, bytes = (
                SELECT COALESCE(sum(bytes), 0) FROM dataset_file WHERE dataset_id = :d)
            WHERE id = :d
        """),
        {"d": dataset_id, "n": made},
    )
    return made


def has_contents(connection: Connection, dataset_id: int) -> bool:
    """Tell whether the contents of a dataset were numbered before."""
    found = text("SELECT EXISTS (SELECT 1 FROM dataset_file WHERE dataset_id = :d)")
    return bool(connection.scalar(found, {"d": dataset_id}))


def set_input_dataset(connection: Connection, row: RowMapping, dataset_id: int) -> None:
    """Say which numbered dataset stands at one place of a stream."""
    connection.execute(
        text("UPDATE task_input SET dataset_id = :d WHERE task_id = :t AND stream = :s AND place = :p"),
        {"d": dataset_id, "t": row["task_id"], "s": row["stream"], "p": row["place"]},
    )


def add_files(connection: Connection, dataset_id: int, start: int, files: Sequence[Mapping[str, object]]) -> None:
    """Append files (scope, lfn, guid, bytes, adler32, events) to a dataset's numbered contents, by COPY."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    for place, one in enumerate(files):
        writer.writerow([dataset_id, start + place, *(one[name] for name in _FILE_COLUMNS)])
    rows.seek(0)
    driver = cast("PsycopgConnection", connection.connection.driver_connection)
    with blocking(), driver.cursor() as cursor:
        cursor.copy_expert(
            f"COPY dataset_file (dataset_id, ordinal, {', '.join(_FILE_COLUMNS)}) FROM STDIN"
            " (FORMAT csv, FORCE_NOT_NULL (scope, lfn, adler32))",
            rows,
        )


def sum_dataset(connection: Connection, dataset_id: int) -> None:
    """Write a dataset's number of files and bytes from its numbered contents."""
    connection.execute(
        text("""
            UPDATE dataset d SET n_files = s.n, bytes = s.bytes FROM (
                SELECT count(*) AS n, COALESCE(sum(bytes), 0) AS bytes FROM dataset_file WHERE dataset_id = :d) s
            WHERE d.id = :d
        """),
        {"d": dataset_id},
    )
