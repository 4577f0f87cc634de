"""Dispatch where everything of higher priority does not fit the pilots, against dispatch where everything fits.

Two queues of as many ready jobs in 200 classes each. At the first, 194 classes with 97 of 100 jobs want more memory
than any pilot has, and have the higher priority; at the second all fit.
"""

import argparse

from benchmarks.bench_dispatch import NODE, PATH, check, taken
from benchmarks.cost import Cost, pressure, spread
from benchmarks.stand import Api, Stand, standing

CLASSES = 200
FITTING = 6
FITS_OF_A_HUNDRED = 3

_SPREAD = """
    INSERT INTO needs (label, share, vo, memory_mb, disk_mb, cores, work_hs23_s, wall_s)
    SELECT 'managed', 'default', 'atlas', CASE WHEN site = 1 AND i >= {fitting} THEN 64000 ELSE 2000 END, i, 1, site, 0
    FROM generate_series(1, 2) site, generate_series(0, {classes} - 1) i;
    INSERT INTO requirement_class (site_id, needs_id, max_priority, gen)
    SELECT s.id, n.id, CASE WHEN n.memory_mb > 60000 THEN 900 ELSE 500 END, 1
    FROM site s JOIN needs n ON n.work_hs23_s = substr(s.name, 2)::int AND n.work_hs23_s < 3;
    CREATE TABLE dealt AS
    SELECT r.job_id, c.id AS class_id, c.max_priority AS priority
    FROM ready r JOIN job j ON j.id = r.job_id JOIN bunch b ON b.id = j.bunch_id JOIN site s ON s.id = b.site_id
    JOIN LATERAL (SELECT CASE WHEN s.name = 'S2' THEN j.ordinal % {classes}
                              WHEN j.ordinal % 100 < {fits} THEN j.ordinal % {fitting}
                              ELSE {fitting} + j.ordinal % ({classes} - {fitting}) END AS i) w ON true
    JOIN needs n ON n.work_hs23_s = substr(s.name, 2)::int AND n.disk_mb = w.i
    JOIN requirement_class c ON c.needs_id = n.id;
    TRUNCATE ready;
    INSERT INTO ready (job_id, class_id, priority) SELECT job_id, class_id, priority FROM dealt;
    DELETE FROM requirement_class c WHERE NOT EXISTS (SELECT 1 FROM ready r WHERE r.class_id = c.id);
    DROP TABLE dealt;
    VACUUM ANALYZE;
"""


def deal(stand: Stand) -> None:
    """Deal the ready jobs of both queues out over their classes."""
    statements = _SPREAD.format(classes=CLASSES, fitting=FITTING, fits=FITS_OF_A_HUNDRED)
    with stand.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for one in statements.replace("%", "%%").split(";"):
            if one.strip():
                connection.exec_driver_sql(one)


def measured(stand: Stand, api: Api, queue: str, waiting: int, seconds: float) -> Cost:
    """Dispatch at one of the queues."""
    stand.settle()
    asks = [[{"site_name": queue, "node": f"wn{c % 8}", **NODE}] * 2000 for c in range(waiting)]
    done = api.load(PATH, asks, seconds, taken(stand), keep=True)
    check(stand, done.answers)
    name = "only the last fit" if queue == "S1" else "everything fits"
    print(done.cost.line(f"{name}, {waiting} waiting"), f"  p99 {done.p99_ms:.0f} ms")
    return done.cost


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000_000)
    parser.add_argument("--waiting", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args()
    with standing(2, options.jobs, limit=False) as stand:
        deal(stand)
        api = Api(stand)
        try:
            rounds = [
                [measured(stand, api, queue, options.waiting, options.seconds) for queue in ("S2", "S1")]
                for _ in range(options.rounds + 1)
            ][1:]
        finally:
            api.stop()
        left = stand.value("SELECT count(*) FROM ready r JOIN requirement_class c ON c.id = r.class_id "
                           "WHERE c.site_id = 1 AND c.max_priority < 900")  # fmt: skip
    if not left:
        raise RuntimeError("the fitting jobs ran out before the time did: give more with --jobs, or fewer --seconds")
    print(f"{options.jobs} ready jobs at two queues, {left} fitting ones left, CPU pressure {pressure():.0f} %")
    cpu = spread(best.each_us / worst.each_us for best, worst in rounds)
    wall = spread(worst.rate / best.rate for best, worst in rounds)
    print(f"RATIO match-cpu: {cpu}  CPU for a job where everything fits / where only the last do")
    print(f"RATIO match-wall: {wall}  rate where only the last fit / where everything does")


if __name__ == "__main__":
    main()
