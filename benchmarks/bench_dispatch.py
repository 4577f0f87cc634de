"""Dispatch through the front door against pgbench's single pop: CPU of server and database for each committed job.

`--jobs` ready jobs over `--queues` queues; `--rounds` rounds of limit, 32 waiting, 128 waiting. Jobs are counted in the
database, and every answer is compared with its row.
"""

import argparse
import json
from collections.abc import Callable

from benchmarks.cost import Cost, pressure, spread
from benchmarks.stand import POP_ONE_TABLE, POP_TWO_TABLES, Api, Stand, standing

PATH = "/api/v1/pilot/acquire_jobs"
WAITING = (32, 128)


NODE = {
    "prod_source_label": "managed", "memory": 4000, "disk_space": 20000, "cores": 1, "cpu": 2500.0,
    "computing_element": "ce1",
}  # fmt: skip


def calls(queues: int, connections: int, n: int, start: int) -> list[list[dict[str, object]]]:
    """What pilots of so many connections ask, each of another queue every time."""
    return [
        [{"site_name": f"S{1 + (start + c * 131 + i * 7) % queues}", "node": f"wn{c % 8}", **NODE} for i in range(n)]
        for c in range(connections)
    ]


def check(stand: Stand, answers: list[str]) -> None:
    """Raise RuntimeError unless every answer is a job that the database gave to nobody else."""
    jobs = [job["PandaID"] for one in answers for job in json.loads(one)["data"]["jobs"]]
    if len(jobs) != len(set(jobs)):
        raise RuntimeError("a job was handed out twice")
    found = stand.value(
        "SELECT count(*) FROM job j JOIN in_hand h ON h.job_id = j.id WHERE j.id = ANY(:jobs)", jobs=jobs
    )
    if found != len(jobs):
        raise RuntimeError(f"{len(jobs)} jobs were answered, {found} are committed")


def one_round(stand: Stand, api: Api, turn: int, seconds: float) -> tuple[Cost, dict[int, Cost]]:
    """Measure the limit, then dispatch to 32 and to 128 waiting pilots."""
    stand.settle()
    one = stand.pgbench(POP_ONE_TABLE, 32, seconds)
    two = stand.pgbench(POP_TWO_TABLES, 32, seconds)
    print(one.line("pgbench, one table"), two.line("pgbench, two tables"), sep="\n")
    mine = {}
    for waiting in WAITING:
        stand.settle()
        done = api.load(PATH, calls(stand.queues, waiting, 400, turn * 17), seconds, taken(stand), keep=True)
        check(stand, done.answers)
        if stand.value("SELECT count(*) FROM ready") < waiting:
            raise RuntimeError("the ready jobs ran out: give more --jobs")
        mine[waiting] = done.cost
        print(done.cost.line(f"HTTP dispatch, {waiting} waiting"))
        print(f"    p50 {done.p50_ms:.0f} p99 {done.p99_ms:.0f} ms, HTTP {done.statuses}")
    return min(one, two, key=lambda cost: cost.with_client_us), mine


def taken(stand: Stand) -> Callable[[], int]:
    """Count the jobs in pilots' hands."""
    return lambda: int(stand.value("SELECT count(*) FROM in_hand"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300_000)
    parser.add_argument("--queues", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with standing(options.queues, options.jobs) as stand:
        api = Api(stand)
        try:
            api.load(PATH, calls(stand.queues, 64, 100, 0), options.seconds, taken(stand))
            rounds = [one_round(stand, api, turn, options.seconds) for turn in range(options.rounds)]
        finally:
            api.stop()
    print(f"{options.jobs} ready jobs over {options.queues} queues, CPU pressure {pressure():.0f} %")
    for waiting in WAITING:
        cpu = spread(limit.with_client_us / mine[waiting].with_client_us for limit, mine in rounds)
        bare = spread(limit.each_us / mine[waiting].each_us for limit, mine in rounds)
        wall = spread(mine[waiting].rate / limit.rate for limit, mine in rounds)
        print(f"RATIO dispatch-cpu-{waiting}: {cpu}  pgbench's CPU for a pop / ours for a job, clients included")
        print(f"RATIO dispatch-cpu-{waiting}-without-clients: {bare}  the same, clients left out")
        print(f"RATIO dispatch-wall-{waiting}: {wall}  our rate / pgbench's")


if __name__ == "__main__":
    main()
