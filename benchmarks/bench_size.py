"""A task of many jobs and an input dataset of as many files, until its window is placed and staged: time and memory.

For each size the database is filled in one process and the services run in another, whose greatest memory is measured.
The memory of a million files must not be much more than that of ten thousand.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import text

from benchmarks.cost import of_server, pressure
from benchmarks.stand import ROOT, Stand, standing
from panda import wiring
from panda.services import place, prepare, stage, story
from panda.settings import load

_FILES = """
    INSERT INTO ddm.rse (name, site, cloud, tier, root, available_read, available_write, attributes)
    SELECT 'R' || i, 'S' || i, 'C', 2, 'file:///none/R' || i, true, true, '{{}}' FROM generate_series(1, 10) i
    ON CONFLICT DO NOTHING;
    INSERT INTO pilot_activity (site_id, node, last_get_job) SELECT id, 'wn', now() FROM site ON CONFLICT DO NOTHING;
    INSERT INTO storage (rse, cloud, root, space_gb) SELECT rse, 'C', 'none', 1e6 FROM site ON CONFLICT DO NOTHING;
    INSERT INTO ddm.dataset (scope, name, container, open, files, bytes, meta)
    VALUES ('mc', 'mc.size{n}', false, false, {n}, {n} * 1000000::bigint, '{{}}');
    INSERT INTO ddm.file (scope, name, bytes, adler32, guid, events)
    SELECT 'mc', 'EVNT.{n}._' || i, 1000000, '0a0b0c0d', gen_random_uuid(), 1000 FROM generate_series(1, {n}) i;
    INSERT INTO ddm.content (dataset_id, position, file_id)
    SELECT d.id, row_number() OVER (ORDER BY f.id) - 1, f.id FROM ddm.dataset d, ddm.file f
    WHERE d.name = 'mc.size{n}' AND f.name LIKE 'EVNT.{n}.%';
    INSERT INTO ddm.replica (file_id, rse, state, transferred, written_by)
    SELECT id, 'R1', 'AVAILABLE', false, '' FROM ddm.file WHERE name LIKE 'EVNT.{n}.%';
    ANALYZE;
"""
_TASK = """
    INSERT INTO production_task (name, vo, owner, label, task_type, processing_type, share, transformation, parameters,
        release, architecture, priority, cores, memory_mb, disk_mb, work_hs23_s, wall_s, max_attempts, bunch_size,
        files_per_job, bytes_per_job, outputs, ddm_mode, cloud, stage, needs_id)
    VALUES ('mc.size', 'atlas', 'prodmanager', 'managed', 'prod', 'evgen', 'default', 'Generate_tf.py', '', '', '', 500,
        1, 1000, 0, 36000, 0, 3, 20, :files, :bytes, '[]', 'embedded', 'C', 'assigned', 1) RETURNING id
"""


def child(url: str, folder: str, task: int) -> None:
    """Tell the task's story as far as it goes now; print times and the greatest memory of this process."""
    ctx = wiring.connect(load(database_url=url, data_dir=Path(folder) / "data"))
    lease = story.claim(ctx, task)
    if lease is None:
        raise RuntimeError("nobody else can tell this task")
    found: dict[str, float] = {}
    start = time.perf_counter()
    found["jobs"] = prepare.expand(ctx, lease).jobs
    found["expand_s"], start = time.perf_counter() - start, time.perf_counter()
    found["placed"] = place.place(ctx, lease).placed
    found["place_s"], start = time.perf_counter() - start, time.perf_counter()
    found["staged"] = stage.stage(ctx, lease).bunches
    found["stage_s"] = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    found["cpu_s"], found["peak_mb"] = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(json.dumps(found))


def one(stand: Stand, n: int, per_job: str) -> dict[str, float]:
    """Fill the catalogue with `n` files and tell the story of a task that reads them."""
    with stand.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(_FILES.format(n=n).replace("%", "%%"))
        values = {"files": 1 if per_job == "files" else None, "bytes": 1_000_000 if per_job == "bytes" else None}
        task = int(connection.execute(text(_TASK), values).scalar_one())
        connection.execute(
            text("""INSERT INTO task_input (task_id, stream, place, name, role, dataset)
                    VALUES (:t, 1, 0, 'IN', 'primary', :d)"""),
            {"t": task, "d": f"mc.size{n}"},
        )
    command = [sys.executable, "-m", "benchmarks.bench_size", "--child", stand.url, str(stand.folder), str(task)]
    database = of_server(stand.address.pid)
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(said)
    found["database_s"] = of_server(stand.address.pid) - database
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--by", choices=("files", "bytes"), default="files")
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1], int(options.child[2]))
        return
    peaks = []
    for n in options.sizes:
        with standing(10, 10) as stand:
            found = one(stand, n, options.by)
        if found["jobs"] != n:
            raise RuntimeError(f"{found['jobs']} jobs were made of {n} files")
        print(f"  {n:8d} files: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
        peaks.append(found["peak_mb"])
    print(f"by {options.by}, CPU pressure {pressure():.0f} %")
    print(f"RATIO size-memory: {peaks[-1] / peaks[0]:.2f}  greatest memory with the most files / with the fewest")


if __name__ == "__main__":
    main()
