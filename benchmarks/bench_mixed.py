"""The whole load of ATLAS on one machine: what it takes of the cores, how long calls take, and how tables grow.

25 jobs a second are asked for, begun and ended, the other reports make it 280 updates a second; 444 signs of life come
from 800,000 running jobs, 50 pilots a second find nothing. The conductor's duties run beside in a process of their own.
Jobs here have no outputs to register. By the clock, not as fast as it goes. `--short` is a minute with a million jobs.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench_dispatch import NODE, PATH
from benchmarks.bench_reports import UPDATE
from benchmarks.cost import of_process, of_server, pressure
from benchmarks.stand import ROOT, Api, Stand, standing
from flows.conductor import duties, run_duty
from panda import wiring
from panda.settings import load

RATES = {"ends": 25.0, "updates": 280.0, "beats": 444.0, "empty": 50.0}
STEPS = ((1.0, "starting"), (2.0, "running"), (10.0, "finished"))
TABLES = ("job", "ready", "in_hand", "job_event", "job_report", "to_collect", "job_count", "bunch", "pilot_activity",
          "requirement_class", "production_task")  # fmt: skip

_RUNNING = """
    UPDATE production_task SET outputs = '[]', ddm_mode = 'none';
    INSERT INTO job (task_id, bunch_id, ordinal, needs_id, status, site_id, lease)
    SELECT t.id, b.id, t.n_jobs + i, t.needs_id, 'running', b.site_id, 1
    FROM production_task t JOIN bunch b ON b.task_id = t.id AND b.first_ordinal = 0, generate_series(1, {per}) i;
    INSERT INTO in_hand (job_id, lease, site_id, queue, node)
    SELECT j.id, 1, j.site_id, s.name, 'wn' || j.id % 5000 FROM job j JOIN site s ON s.id = j.site_id
    WHERE j.status = 'running';
    INSERT INTO job_event (task_id, bunch_id, n, cores, to_site, to_state)
    SELECT task_id, id, n_jobs, 1, site_id, 'activated' FROM bunch;
    INSERT INTO job_event (task_id, job_id, cores, to_site, to_state)
    SELECT task_id, id, 1, site_id, 'running' FROM job WHERE status = 'running';
    VACUUM ANALYZE
"""

UNFOLDED = """
    SELECT count(*) FROM job_event
    WHERE xid >= COALESCE((SELECT below_xid FROM fold_watermark WHERE name = 'counts'), '0'::xid8)
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes and rows of the tables."""

    size: dict[str, int]
    rows: dict[str, int]


def child(url: str, folder: str) -> None:
    """Do the conductor's duties until standard input ends."""
    ctx = wiring.connect(load(database_url=url, data_dir=Path(folder) / "data"))
    stop = threading.Event()
    threads = [threading.Thread(target=run_duty, args=(one, ctx, stop)) for one in duties(ctx)]
    for one in threads:
        one.start()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for one in threads:
        one.join()


def sizes(stand: Stand) -> Sizes:
    """How large the tables are now; rows as the statistics know them."""
    size = {one: int(stand.value(f"SELECT pg_total_relation_size('{one}')")) for one in TABLES}
    query = "SELECT n_tup_ins - n_tup_del FROM pg_stat_user_tables WHERE relname = :t AND schemaname = 'public'"
    return Sizes(size, {one: int(stand.value(query, t=one) or 0) for one in TABLES})


def beats(stand: Stand, seconds: float) -> list[dict[str, object]]:
    """What the running jobs say, each once before the first speaks again."""
    n = int(seconds * (RATES["beats"] + RATES["updates"]))
    with stand.engine.connect() as connection:
        query = f"SELECT job_id, node FROM in_hand ORDER BY hashint8(job_id) LIMIT {n}"  # noqa: S608
        found = connection.exec_driver_sql(query).all()
    return [
        {"job_id": job, "attempt_nr": 1, "lease": 1, "job_status": "running", "node": node,
         "cpu_consumption_time": 1200, "max_rss": 1_900_000} for job, node in found
    ]  # fmt: skip


def work(stand: Stand, api: Api, seconds: float) -> dict[str, Any]:
    """Say what the generator is to do."""
    said = beats(stand, seconds)
    others = RATES["updates"] - len(STEPS) * RATES["ends"]
    cut = int(others * seconds)
    asks = [{"site_name": f"S{1 + n * 7 % stand.queues}", "node": f"wn{n % 5000}", **NODE}
            for n in range(int(RATES["ends"] * seconds))]  # fmt: skip
    empty = [one | {"prod_source_label": "user"} for one in asks[:5000]]
    lanes = [
        {"name": "report", "path": UPDATE, "rate": others, "bodies": said[:cut]},
        {"name": "sign of life", "path": UPDATE, "rate": RATES["beats"], "bodies": said[cut:]},
        {"name": "nothing to be had", "path": PATH, "rate": RATES["empty"], "bodies": empty},
    ]
    lives = {"rate": RATES["ends"], "acquire": PATH, "update": UPDATE, "asks": asks, "steps": STEPS}
    return {"host": api.host, "port": api.port, "seconds": seconds, "lanes": lanes, "lives": lives,
            "to": str(stand.folder / "paced.json")}  # fmt: skip


def say(found: dict[str, Any]) -> float:
    """Print how long each kind of call took; the 99th per cent of all (ms)."""
    for lane, taken in found["taken"].items():
        times = sorted(taken)
        p50, p99, most = (1000 * times[min(len(times) - 1, int(len(times) * one))] for one in (0.5, 0.99, 1.0))
        print(f"  {lane:20s} {len(times):8d}   p50 {p50:6.1f} p99 {p99:6.1f} max {most:7.1f} ms  "
              f"HTTP {found['statuses'][lane]}")  # fmt: skip
    every = sorted(one for taken in found["taken"].values() for one in taken)
    return 1000.0 * float(every[int(len(every) * 0.99)])


def grown(before: Sizes, after: Sizes) -> None:
    """Print what became larger, with its new rows."""
    for table in TABLES:
        more, rows = after.size[table] - before.size[table], after.rows[table] - before.rows[table]
        each = f", {more / rows:.0f} bytes each" if rows > 0 and more > 0 else ""
        print(f"  {table:20s} {before.size[table] / 1e6:8.1f} MB  {more / 1e6:+7.1f} MB  {rows:+8d} rows{each}")


def measure(stand: Stand, api: Api, conductor: int, seconds: float) -> None:
    """Put the load on, and print what it took."""
    job = work(stand, api, seconds)
    before = sizes(stand)
    pids = (api.process.pid, conductor)
    spent, database, start = [of_process(one) for one in pids], of_server(stand.address.pid), time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.paced"], cwd=ROOT, check=True, input=json.dumps(job), text=True)
    took = time.perf_counter() - start
    parts = {"database": of_server(stand.address.pid) - database}
    parts |= {name: of_process(one) - then for name, one, then in zip(("API", "duties"), pids, spent, strict=True)}
    time.sleep(1)  # what the backends counted reaches the statistics
    after = sizes(stand)
    found = json.loads(Path(job["to"]).read_text(encoding="utf-8"))
    p99 = say(found)
    grown(before, after)
    cores = psutil.cpu_count() or 1
    shares = ", ".join(f"{name} {100 * used / took / cores:.1f} %" for name, used in parts.items())
    used = sum(parts.values()) / took / cores
    shares += f", generator {100 * found['cpu_s'] / took / cores:.1f} %"
    print(f"{stand.jobs} ready jobs over {stand.queues} queues, {took:.0f} s, {found['lines']} connections, "
          f"{shares}, CPU pressure {pressure():.0f} %")  # fmt: skip
    print(f"RATIO mixed-cores: {used:.2f}  of {cores} cores used by API, database and duties")
    print(f"MS mixed-p99: {p99:.0f}  99 of 100 calls took no longer")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--running", type=int, default=800_000)
    parser.add_argument("--queues", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    if options.short:
        options.jobs, options.seconds = 1_000_000, 60.0
    with standing(options.queues, options.jobs, limit=False) as stand:
        with stand.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for one in _RUNNING.format(per=options.running // options.queues).replace("%", "%%").split(";"):
                connection.exec_driver_sql(one)
        api = Api(stand)
        conductor = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bench_mixed", "--child", stand.url, str(stand.folder)],
            cwd=ROOT, env=os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            if conductor.stdout is None or conductor.stdout.readline() != b"ready\n":
                raise RuntimeError("the duties did not start")
            while stand.value(UNFOLDED):
                time.sleep(1)  # the history of all those jobs is new to the counters
            stand.settle()
            measure(stand, api, conductor.pid, options.seconds)
        finally:
            conductor.communicate(timeout=120)
            api.stop()


if __name__ == "__main__":
    main()
