"""Owns the stand: a durable PostgreSQL of its own, filled to a size, the real API as a process, and pgbench."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, create_engine, text

from benchmarks.cost import Cost, of_process, of_server, sessions
from panda import wiring
from panda.embedded import USER, Address, EmbeddedCluster, binary
from panda.services.context import Context
from panda.settings import load
from panda.store import pop

ROOT = Path(__file__).resolve().parents[1]

_GRID = """
    INSERT INTO cloud (name, tier1) VALUES ('C', 'S1');
    INSERT INTO site (name, cloud, tier, rse) SELECT 'S' || i, 'C', 2, 'R' || i FROM generate_series(1, {queues}) i;
    INSERT INTO queue (name, site_id) SELECT name, id FROM site;
    INSERT INTO needs (label, share, vo, memory_mb, disk_mb, cores, work_hs23_s, wall_s)
    SELECT 'managed', 'default', 'atlas', 1000 + 250 * (i / 2), 0, 1, 36000 + i % 2, 0 FROM generate_series(0, 9) i;
"""

# One task a queue, of jobs in bunches of 20, in one of ten classes by its number; all of them activated.
_WORK = """
    INSERT INTO production_task (name, vo, owner, label, task_type, processing_type, share, transformation, parameters,
        release, architecture, priority, cores, memory_mb, disk_mb, work_hs23_s, wall_s, max_attempts, bunch_size,
        n_jobs, outputs, ddm_mode, cloud, stage, needs_id, seed, due_at)
    SELECT 'mc.bench.' || s.id, 'atlas', 'prodmanager', 'managed', 'prod', 'evgen', 'default', 'Generate_tf.py',
        '--seed ${{SEED}} --maxEvents ${{MAXEVENTS}} --ecm 13000 --outputFile ${{OUT0}} --jobOption mc.900{queues}.py',
        'AthGeneration-23.6.1', 'x86_64-el9-gcc13-opt', 500 + s.id % 7, 1, n.memory_mb, 0,
        n.work_hs23_s, 0, 3, 20, {per},
        jsonb_build_array(
            jsonb_build_object('name', 'OUT', 'kind', 'output', 'dataset', 'mc.bench.' || s.id || '.EVNT',
                               'lfn', 'EVNT.' || s.id || '._${{SN}}.pool.root'),
            jsonb_build_object('name', 'LOG', 'kind', 'log', 'dataset', 'mc.bench.' || s.id || '.log',
                               'lfn', 'log.' || s.id || '._${{SN}}.tgz')),
        'embedded', 'C', 'running', n.id, 0, NULL
    FROM site s JOIN needs n ON n.id = 1 + s.id % 10;
    INSERT INTO bunch (task_id, state, site_id, first_ordinal, n_jobs, staged)
    SELECT t.id, 'activated', s.id, b * 20, 20, true
    FROM production_task t JOIN site s ON t.name = 'mc.bench.' || s.id, generate_series(0, ({per} - 1) / 20) b;
    INSERT INTO job (task_id, bunch_id, ordinal, needs_id, first_event, n_events)
    SELECT b.task_id, b.id, b.first_ordinal + i, t.needs_id, 0, 100
    FROM bunch b JOIN production_task t ON t.id = b.task_id,
         generate_series(0, LEAST(20, {per} - b.first_ordinal) - 1) i;
    INSERT INTO requirement_class (site_id, needs_id, max_priority, gen)
    SELECT DISTINCT b.site_id, t.needs_id, t.priority, 1 FROM bunch b JOIN production_task t ON t.id = b.task_id;
    INSERT INTO ready (job_id, class_id, priority)
    SELECT j.id, c.id, t.priority
    FROM job j JOIN bunch b ON b.id = j.bunch_id JOIN production_task t ON t.id = j.task_id
    JOIN requirement_class c ON c.site_id = b.site_id AND c.needs_id = j.needs_id;
"""

# The limit: pgbench takes the best row of a queue from one table, a commit each (performance.md 1).
_LIMIT = """
    CREATE TABLE limit_job (id bigserial PRIMARY KEY, site int NOT NULL, prio int NOT NULL, status int NOT NULL
        DEFAULT 1, pilot text, filler text NOT NULL) WITH (fillfactor = 80);
    INSERT INTO limit_job (site, prio, filler)
    SELECT 1 + i % {queues}, 500 + (i / {queues}) % 7, repeat('x', 160) FROM generate_series(0, {jobs} - 1) i;
    CREATE INDEX limit_queue ON limit_job (site, prio DESC, id) WHERE status = 1;
    CREATE TABLE limit_ready (job_id bigint PRIMARY KEY, class_id int NOT NULL, priority int NOT NULL);
    INSERT INTO limit_ready SELECT id, site, prio FROM limit_job;
    CREATE INDEX limit_ready_class ON limit_ready (class_id, priority DESC, job_id);
"""
_DIRTY = frozenset({"ready", "in_hand", "job", "job_event", "job_report", "to_collect", "limit_job", "limit_ready"})
CLEARED_S = 1.0
"""Time for a server to notice that the backends of pgbench ended; a session that stays is somebody else's."""

POP_ONE_TABLE = """\\set site random(1, {queues})
WITH c AS (SELECT id FROM limit_job WHERE site = :site AND status = 1 ORDER BY prio DESC, id LIMIT 1
           FOR UPDATE SKIP LOCKED)
UPDATE limit_job j SET status = 2, pilot = 'wn' FROM c WHERE j.id = c.id RETURNING j.id, j.filler;
"""
POP_TWO_TABLES = """\\set site random(1, {queues})
WITH c AS (SELECT job_id FROM limit_ready WHERE class_id = :site ORDER BY priority DESC, job_id LIMIT 1
           FOR UPDATE SKIP LOCKED), g AS (
           DELETE FROM limit_ready r USING c WHERE r.job_id = c.job_id RETURNING r.job_id)
UPDATE limit_job j SET pilot = 'wn' FROM g WHERE j.id = g.job_id RETURNING j.id, j.filler;
"""
UPDATE_ONE = """\\set id random(1, {jobs})
UPDATE limit_job SET pilot = 'wn' WHERE id = :id;
"""


@dataclass(slots=True)
class Stand:
    """A filled database with its server process, and what is measured on it."""

    folder: Path
    address: Address
    engine: Engine
    url: str
    queues: int
    jobs: int

    def value(self, query: str, **values: object) -> Any:
        """One value."""
        with self.engine.connect() as connection:
            return connection.execute(text(query), values).scalar()

    def settle(self) -> None:
        """Write out what is dirty, clean up what is dead: not to be paid for by what is measured next.

        What the limit left behind would else be cleaned up by autovacuum while our own is measured, and the other way
        round (performance.md 11).
        """
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            there = connection.exec_driver_sql("SELECT relname FROM pg_class WHERE relkind = 'r'").scalars().all()
            connection.exec_driver_sql(f"VACUUM (ANALYZE) {', '.join(sorted(_DIRTY.intersection(there)))}")
            connection.exec_driver_sql("CHECKPOINT")

    def check_left(self, least: int = 1) -> None:
        """Raise RuntimeError if fewer jobs are ready: what was measured last then lacked some for a while."""
        if self.value("SELECT count(*) FROM (SELECT FROM ready LIMIT :least) AS few", least=least) < least:
            raise RuntimeError("the jobs ran out before the time did: give more of them, or fewer seconds")

    def pgbench(self, script: str, clients: int, seconds: float, **names: int) -> Cost:
        """Run one script; its transactions and their cost, pgbench's own beside."""
        path = self.folder / "script.sql"
        path.write_text(script.format(queues=self.queues, jobs=self.jobs, **names), encoding="utf-8")
        command = [str(binary("pgbench")), "-n", "-M", "prepared", "-h", self.address.socket, "-U", USER, "-j", "1",
                   "-c", str(clients), "-T", str(int(seconds)), "-f", str(path), "panda"]  # fmt: skip
        before, own = of_server(self.address.pid), os.times()
        start = time.perf_counter()
        known = set(sessions(self.address.pid))
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        took = time.perf_counter() - start
        patience = time.monotonic() + CLEARED_S
        while set(sessions(self.address.pid)) - known and time.monotonic() < patience:
            time.sleep(0.01)  # what a backend used is the postmaster's once that has noticed
        after, ours = of_server(self.address.pid), os.times()
        n = int(said.split("number of transactions actually processed: ")[1].split("/")[0].split()[0])
        client = ours.children_user + ours.children_system - own.children_user - own.children_system
        return Cost(n, took, after - before, 0.0, client)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a load brought back, and its cost; `cost.n` is to be what the database says."""

    cost: Cost
    statuses: dict[str, int]
    answers: list[str]
    p50_ms: float
    p99_ms: float


class Api:
    """The API in a process of its own."""

    def __init__(self, stand: Stand, **settings: str) -> None:
        variables = {"PANDA_DATABASE_URL": stand.url.replace("+psycopg2", ""), "PANDA_API_PORT": "0",
                     "PANDA_DATA_DIR": str(stand.folder / "data"), **settings}  # fmt: skip
        self._stand = stand
        self.process = subprocess.Popen(
            [sys.executable, "-m", "panda.launch", "panda_api.__main__"],
            env=os.environ | variables,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        parts = urlsplit(line.split()[-1] if line else "")
        if parts.hostname is None or parts.port is None:
            raise RuntimeError(f"the API did not start: {line!r}")
        self.host, self.port = parts.hostname, parts.port

    def load(
        self, path: str, calls: Sequence[Sequence[Any]], seconds: float, count: Callable[[], int], *, keep: bool = False
    ) -> Answered:
        """Let each connection make its calls one after another; `count` says in the database how much was done."""
        job = {"host": self.host, "port": self.port, "path": path, "calls": calls, "seconds": seconds, "keep": keep,
               "to": str(self._stand.folder / "answers.json")}  # fmt: skip
        generator = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.generator"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            text=True,
        )
        done = count()
        database, server = of_server(self._stand.address.pid), of_process(self.process.pid)
        generator.communicate(json.dumps(job))
        database = of_server(self._stand.address.pid) - database
        server = of_process(self.process.pid) - server
        if generator.returncode:
            raise RuntimeError(f"the generator ended with {generator.returncode}")
        found = json.loads(Path(str(job["to"])).read_text(encoding="utf-8"))
        cost = Cost(count() - done, found["seconds"], database, server, found["cpu_s"])
        return Answered(cost, found["statuses"], found["answers"], found["p50_ms"], found["p99_ms"])

    def stop(self) -> None:
        """End it in good order."""
        self.process.terminate()
        self.process.wait(60)


@contextlib.contextmanager
def context(stand: Stand) -> Iterator[Context]:
    """The services' own way into the stand's database."""
    ctx = wiring.connect(load(database_url=stand.url, data_dir=stand.folder / "data"))
    try:
        yield ctx
    finally:
        ctx.close()


def pop_and_hand(connection: Connection, class_id: int, site_id: int, n: int) -> int:
    """Pop so many jobs for one pilot, without making what it is told of them; returns how many there were."""
    found = pop.take(connection, [pop.Want(class_id, site_id, n)])
    handings = [pop.Handing(one, site_id, pop.Holder("S1", "wn", None, None, None)) for one in found]
    return pop.hand(connection, handings, lambda: len(found)) if found else 0


@contextlib.contextmanager
def standing(queues: int, jobs: int, *, limit: bool = True, kept: Path | None = None) -> Iterator[Stand]:
    """A stand with so many ready jobs over so many queues, and the limit's tables beside; all is gone afterwards.

    In a folder `kept` it stays as it is left; a second time what is there is taken as it is.
    """
    with contextlib.nullcontext(kept) if kept else _passing() as folder:
        new = not (folder / "db").exists()
        cluster = EmbeddedCluster(folder / "db", databases=("panda",))
        address = cluster.start()
        try:
            engine = create_engine(address.url("panda"), connect_args={"options": "-c jit=off"})
            stand = Stand(folder, address, engine, address.url("panda"), queues, jobs)
            if new:
                _furnish(stand, limit=limit)
            yield stand
            engine.dispose()
        finally:
            cluster.stop()


@contextlib.contextmanager
def _passing() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="panda-bench-") as name:
        yield Path(name)


def _furnish(stand: Stand, *, limit: bool) -> None:
    """Make the tables, the grid and the ready jobs."""
    ctx = wiring.connect(load(database_url=stand.url, data_dir=stand.folder / "data"), check=False)
    wiring.upgrade_schema(ctx)
    ctx.close()
    names = {"queues": stand.queues, "jobs": stand.jobs, "per": stand.jobs // stand.queues}
    with stand.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET session_replication_role = replica")  # the keys are right as they are
        for part in (_GRID, _WORK, _LIMIT if limit else "ANALYZE"):
            connection.exec_driver_sql(part.format(**names).replace("%", "%%"))
        connection.exec_driver_sql("VACUUM ANALYZE")
