"""What must hold in every snapshot of the tables (design section 7), asked by queries of their own.

`check` reads PanDA's and the DDM's tables in one REPEATABLE READ snapshot and changes nothing. `Reader` does so again
and again beside a running system.
"""

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, TextClause, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from panda.domain.states import BUNCH_CHANGES, FINAL_JOB, JOB_CHANGES

_SHOWN = 3


def _pairs(changes: set[tuple[str, str]]) -> str:
    return ", ".join(f"('{old}', '{new}')" for old, new in sorted(changes))


_WAITING = ("defined", "waiting", "assigned", "activated")
_OF_JOBS = {(old.value, new.value) for old, news in JOB_CHANGES.items() if old is not None for new in news}
_OF_JOBS |= {(old, new.value) for old in _WAITING for new in JOB_CHANGES[None] if new in FINAL_JOB}
_OF_JOBS |= {("activated", "sent")}
_OF_BUNCHES = {(old.value, new.value) for old, news in BUNCH_CHANGES.items() for new in news}
_CONSTANTS = {
    "FINAL": "('finished', 'failed', 'cancelled', 'closed')",
    "LOW": "COALESCE((SELECT below_xid FROM fold_watermark WHERE name = 'counts'), '0'::xid8)",
    "JOB_CHANGES": _pairs(_OF_JOBS),
    "BUNCH_CHANGES": _pairs(_OF_BUNCHES),
}

QUERIES: dict[str, str] = {
    "counters and unfolded events equal the live count": """
        WITH counted AS (
            SELECT task_id, site_id, status, sum(n) AS n, sum(cores) AS cores FROM (
                SELECT task_id, site_id, status::text, n, cores FROM job_count
              UNION ALL
                SELECT task_id, COALESCE(to_site, 0), to_state::text, n, n * cores FROM job_event
                WHERE to_state IS NOT NULL AND xid >= $LOW
              UNION ALL
                SELECT task_id, COALESCE(from_site, 0), from_state::text, -n, -n * cores FROM job_event
                WHERE from_state IS NOT NULL AND xid >= $LOW
            ) u GROUP BY task_id, site_id, status HAVING sum(n) <> 0 OR sum(cores) <> 0
        ), live AS (
            SELECT j.task_id, COALESCE(CASE WHEN j.status IS NULL THEN b.site_id ELSE j.site_id END, 0) AS site_id,
                   COALESCE(j.status::text, b.state::text) AS status, count(*) AS n, sum(t.cores) AS cores
            FROM job_all j JOIN bunch b ON b.id = j.bunch_id JOIN production_task t ON t.id = j.task_id GROUP BY 1, 2, 3
        )
        SELECT format('task %s site %s %s: counted %s jobs %s cores, live %s jobs %s cores', task_id, site_id, status,
                      c.n, c.cores, l.n, l.cores)
        FROM counted c FULL JOIN live l USING (task_id, site_id, status)
        WHERE c.n IS DISTINCT FROM l.n OR c.cores IS DISTINCT FROM l.cores
    """,
    "first attempts are the jobs that were expanded": """
        SELECT format('task %s: %s first attempts, %s expanded', t.id, count(j.id), t.next_ordinal)
        FROM production_task t LEFT JOIN job_all j ON j.task_id = t.id AND j.parent_id IS NULL
        GROUP BY t.id HAVING count(j.id) <> t.next_ordinal
    """,
    "at most one live job per ordinal": """
        SELECT format('task %s ordinal %s: %s live jobs', task_id, ordinal, count(*)) FROM job_all
        WHERE status IS NULL OR status NOT IN $FINAL GROUP BY task_id, ordinal HAVING count(*) > 1
    """,
    "at most one finished job per ordinal": """
        SELECT format('task %s ordinal %s: %s finished jobs', task_id, ordinal, count(*)) FROM job_all
        WHERE status = 'finished' GROUP BY task_id, ordinal HAVING count(*) > 1
    """,
    "what is in a pilot's hand is sent, starting, running, or holding without a report": """
        SELECT format('job %s is %s, but in no hand', j.id, j.status)
        FROM job_all j LEFT JOIN in_hand h ON h.job_id = j.id
        WHERE j.status IN ('sent', 'starting', 'running') AND h.job_id IS NULL
      UNION ALL
        SELECT format('job %s is %s with lease %s, in hand with lease %s', h.job_id, j.status, j.lease, h.lease)
        FROM in_hand h LEFT JOIN job_all j ON j.id = h.job_id
        WHERE j.lease IS DISTINCT FROM h.lease OR NOT (j.status IN ('sent', 'starting', 'running')
              OR j.status = 'holding' AND NOT EXISTS (SELECT 1 FROM job_report r WHERE r.job_id = j.id))
    """,
    "the collector's list is the holding and transferring jobs": """
        SELECT format('job %s is %s, the collector has %s', COALESCE(j.id, c.job_id), j.status, c.state)
        FROM (SELECT * FROM job_all WHERE status IN ('holding', 'transferring', 'merging')) j
        FULL JOIN to_collect c ON c.job_id = j.id WHERE c.state IS DISTINCT FROM j.status
    """,
    "ready holds only jobs that no pilot has, of activated bunches, in the class of their site and needs": """
        SELECT format('job %s is %s, its bunch %s', r.job_id, j.status, b.state)
        FROM ready r LEFT JOIN job_all j ON j.id = r.job_id LEFT JOIN bunch b ON b.id = j.bunch_id
        LEFT JOIN requirement_class c ON c.id = r.class_id
        WHERE j.id IS NULL OR j.status IS NOT NULL OR b.state <> 'activated' OR c.site_id IS DISTINCT FROM b.site_id
           OR c.needs_id IS DISTINCT FROM j.needs_id
    """,
    "a class's bound is not below its best job": """
        SELECT format('class %s: bound %s, job %s has %s', c.id, c.max_priority, r.job_id, r.priority)
        FROM ready r JOIN requirement_class c ON c.id = r.class_id WHERE r.priority > c.max_priority
    """,
    "a bunch has a site when it is assigned or activated, and only then": """
        SELECT format('bunch %s is %s at site %s', id, state, site_id) FROM bunch
        WHERE (state IN ('assigned', 'activated')) <> (site_id IS NOT NULL)
    """,
    "a bunch with waiting jobs is open": """
        SELECT format('bunch %s is closed, job %s waits', b.id, j.id)
        FROM job_all j JOIN bunch b ON b.id = j.bunch_id WHERE j.status IS NULL AND NOT b.open
    """,
    "activated means: every input is at the site": """
        SELECT format('job %s of bunch %s: %s is not at %s', j.id, b.id, f.lfn, s.rse)
        FROM bunch b JOIN site s ON s.id = b.site_id JOIN job_all j ON j.bunch_id = b.id AND j.status IS NULL
        JOIN production_task t ON t.id = b.task_id AND t.ddm_mode <> 'none'
        JOIN task_input i ON i.task_id = b.task_id
        CROSS JOIN LATERAL (
            SELECT sum(n_files) AS total FROM task_input x WHERE x.task_id = i.task_id AND x.stream = i.stream) w
        JOIN dataset_file f ON f.dataset_id = i.dataset_id AND CASE
            WHEN i.role = 'secondary' THEN EXISTS (
                SELECT 1 FROM generate_series(0, LEAST(COALESCE(i.files_per_job, 1), w.total) - 1) AS g
                WHERE (j.ordinal::bigint * COALESCE(i.files_per_job, 1) + g) % w.total = i.first_ordinal + f.ordinal)
            WHEN COALESCE(j.explicit_input, false) THEN EXISTS (
                SELECT 1 FROM job_input y
                WHERE y.job_id = j.id AND y.stream = i.stream AND y.ordinal = i.first_ordinal + f.ordinal)
            ELSE i.first_ordinal + f.ordinal BETWEEN j.input_first AND j.input_first + j.input_count - 1 END
        WHERE b.open AND b.state = 'activated' AND NOT EXISTS (
            SELECT 1 FROM ddm.file d JOIN ddm.replica r ON r.file_id = d.id
            WHERE d.scope = f.scope AND d.name = f.lfn AND r.rse = s.rse AND r.state = 'AVAILABLE')
    """,
    "a finished job has every output that is not optional": """
        SELECT format('job %s has %s outputs, %s are due', j.id, count(o.job_id), w.due)
        FROM job_all j JOIN production_task t ON t.id = j.task_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS due FROM jsonb_array_elements(t.outputs) AS e
            WHERE NOT COALESCE((e ->> 'optional')::boolean, false)) w
        LEFT JOIN job_output o ON o.job_id = j.id
        WHERE j.status = 'finished' GROUP BY j.id, w.due HAVING count(o.job_id) < w.due
    """,
    "only outputs of ended jobs are ready for, or in, a dataset": """
        SELECT format('%s of job %s (%s) is %s', o.lfn, j.id, j.status, o.state)
        FROM job_output o JOIN job_all j ON j.id = o.job_id
        WHERE o.state IN ('ready', 'attached') AND (j.status IS NULL OR j.status NOT IN $FINAL)
    """,
    "a closed dataset holds every output of its finished jobs": """
        SELECT format('dataset %s is closed, %s of job %s is %s', d.name, o.lfn, o.job_id, o.state)
        FROM dataset d JOIN job_output o ON o.dataset_id = d.id JOIN job_all j ON j.id = o.job_id
        WHERE d.state = 'closed' AND j.status = 'finished' AND o.state <> 'attached'
    """,
    "a dataset has an output once per ordinal": """
        SELECT format('dataset %s: place %s of ordinal %s is there %s times', d.name, o.place, j.ordinal, count(*))
        FROM dataset d JOIN job_output o ON o.dataset_id = d.id AND o.state = 'attached'
        JOIN job_all j ON j.id = o.job_id
        WHERE j.status = 'finished' GROUP BY d.name, o.place, j.ordinal HAVING count(*) > 1
    """,
    "the DDM's dataset is closed with it, and has its files with their checksums": """
        SELECT format('dataset %s: %s of job %s is not in the DDM as reported (open %s)', d.name, o.lfn, o.job_id,
                      e.open)
        FROM dataset d JOIN production_task t ON t.id = d.task_id AND t.ddm_mode <> 'none'
        JOIN job_output o ON o.dataset_id = d.id AND o.state = 'attached'
        LEFT JOIN ddm.dataset e ON e.scope = d.scope AND e.name = d.name
        LEFT JOIN ddm.file f ON f.scope = o.scope AND f.name = o.lfn
        LEFT JOIN ddm.content c ON c.dataset_id = e.id AND c.file_id = f.id
        WHERE d.kind IN ('output', 'log') AND (c.file_id IS NULL OR f.adler32 <> o.adler32 OR f.bytes <> o.bytes
              OR (d.state = 'closed' AND e.open))
    """,
    "the DDM's output datasets hold nothing but outputs of ended jobs": """
        SELECT format('dataset %s: the DDM has %s, no ended job made it', d.name, f.name)
        FROM dataset d JOIN ddm.dataset e ON e.scope = d.scope AND e.name = d.name
        JOIN ddm.content c ON c.dataset_id = e.id JOIN ddm.file f ON f.id = c.file_id
        WHERE d.kind IN ('output', 'log') AND NOT EXISTS (
            SELECT 1 FROM job_output o JOIN job_all j ON j.id = o.job_id
            WHERE o.dataset_id = d.id AND o.scope = f.scope AND o.lfn = f.name AND j.status IN $FINAL)
    """,
    "a job changes its state only along the table": """
        SELECT format('job %s went from %s to %s', job_id, from_state, to_state) FROM job_event
        WHERE job_id IS NOT NULL AND to_state IS NOT NULL
          AND (from_state::text, to_state::text) NOT IN ($JOB_CHANGES)
    """,
    "a bunch changes its state only along the table": """
        SELECT format('bunch %s went from %s to %s', bunch_id, from_state, to_state) FROM job_event
        WHERE bunch_id IS NOT NULL AND job_id IS NULL AND to_state IS NOT NULL
          AND NOT (from_state IS NULL AND to_state = 'defined')
          AND (COALESCE(from_state::text, ''), to_state::text) NOT IN ($BUNCH_CHANGES)
    """,
    "a final state never changes": """
        SELECT format('job %s was %s and became %s', job_id, from_state, to_state) FROM job_event
        WHERE from_state IN $FINAL
      UNION ALL
        SELECT format('job %s ended %s times', job_id, count(*)) FROM job_event
        WHERE job_id IS NOT NULL AND to_state IN $FINAL GROUP BY job_id HAVING count(*) > 1
    """,
    "a job is what its last event says": """
        SELECT format('job %s is %s, its history says %s', j.id, j.status, e.to_state)
        FROM job j JOIN LATERAL (
            SELECT to_state FROM job_event e WHERE e.job_id = j.id AND e.to_state IS NOT NULL
            ORDER BY e.id DESC LIMIT 1) e ON true
        WHERE j.status IS DISTINCT FROM e.to_state
    """,
    "a job is handed to one pilot at most": """
        SELECT format('job %s was handed out %s times, its lease is %s', j.id, count(e.id), j.lease)
        FROM job j LEFT JOIN job_event e ON e.job_id = j.id AND e.to_state = 'sent'
        GROUP BY j.id HAVING count(e.id) > 1 OR count(e.id) <> j.lease
    """,
    "a bunch is activated once per generation": """
        SELECT format('bunch %s was activated %s times in %s generations', b.id, count(e.id), b.generation + 1)
        FROM bunch b JOIN job_event e ON e.bunch_id = b.id AND e.job_id IS NULL AND e.to_state = 'activated'
        GROUP BY b.id HAVING count(e.id) > b.generation + 1
    """,
    "an ordinal is charged no more often than it failed": """
        SELECT format('task %s ordinal %s: charged %s, failed %s', f.task_id, f.ordinal, f.failures, count(j.id))
        FROM task_file f LEFT JOIN job_all j ON j.task_id = f.task_id AND j.status = 'failed' AND CASE
            WHEN f.stream = 0 THEN j.ordinal = f.ordinal
            ELSE f.ordinal BETWEEN j.input_first AND j.input_first + j.input_count - 1 END
        GROUP BY f.task_id, f.stream, f.ordinal, f.failures HAVING f.failures > count(j.id)
    """,
    "a task that has ended has no live job and no open dataset": """
        SELECT format('task %s is %s, job %s is %s', t.id, t.stage, j.id, j.status)
        FROM production_task t JOIN job_all j ON j.task_id = t.id AND (j.status IS NULL OR j.status NOT IN $FINAL)
        WHERE t.stage IN ('done', 'finished', 'failed', 'aborted')
      UNION ALL
        SELECT format('task %s is %s, dataset %s is %s', t.id, t.stage, d.name, d.state)
        FROM production_task t JOIN dataset d ON d.task_id = t.id AND d.kind IN ('output', 'log')
        WHERE t.stage IN ('done', 'finished', 'failed', 'aborted') AND d.state <> 'closed'
    """,
    "a done task has finished every ordinal": """
        SELECT format('task %s is done with %s of %s ordinals', t.id, count(DISTINCT j.ordinal), t.next_ordinal)
        FROM production_task t LEFT JOIN job_all j ON j.task_id = t.id AND j.status = 'finished'
        WHERE t.stage = 'done' GROUP BY t.id HAVING count(DISTINCT j.ordinal) <> t.next_ordinal
    """,
}  # fmt: skip


def _asked(query: str) -> TextClause:
    for name, value in _CONSTANTS.items():
        query = query.replace(f"${name}", value)
    return text(f"{query} LIMIT {_SHOWN}")


def check(connection: Connection) -> list[str]:
    """Give what is violated in one snapshot of the tables, each with up to three examples; empty when all is well.

    The connection must have no transaction open; it has none afterwards.
    """
    with connection.execution_options(isolation_level="REPEATABLE READ").begin():
        return violations(connection)


def violations(connection: Connection) -> list[str]:
    """Look in the transaction that is open."""
    found = []
    for rule, query in QUERIES.items():
        examples = connection.execute(_asked(query)).scalars().all()
        if examples:
            found.append(f"{rule}: {'; '.join(examples)}")
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader saw: how many snapshots, and every violation with the number of its snapshot."""

    snapshots: int
    violations: tuple[str, ...]


class Reader:
    """Looks at a running system's tables every so many seconds, in a thread, until the block ends.

    A database that is away for a while (it may be killed and started again) is waited for.
    """

    def __init__(self, url: str, every_s: float = 0.5) -> None:
        self._engine = create_engine(url, poolclass=NullPool, connect_args={"options": "-c jit=off"})
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reader", daemon=True)
        self._looked = threading.Condition()
        self._snapshots = 0
        self._violations: list[str] = []
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)
        self._engine.dispose()
        if self._error is not None and error is None:
            raise self._error

    def wait_for(self, more: int) -> None:
        """Wait until so many snapshots more have been begun and looked at."""
        with self._looked:
            wanted = self._snapshots + more
            assert self._looked.wait_for(lambda: self._snapshots >= wanted, 60), "the reader sees nothing"

    @property
    def seen(self) -> Seen:
        """What was seen until now."""
        return Seen(self._snapshots, tuple(self._violations))

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
                self._stop.wait(self._every_s)
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: told where the block ends
            self._error = error

    def _look(self) -> None:
        try:
            with self._engine.connect() as connection:
                found = check(connection)
        except OperationalError:
            return
        with self._looked:
            self._snapshots += 1
            self._violations += [f"snapshot {self._snapshots}: {one}" for one in found]
            self._looked.notify_all()
