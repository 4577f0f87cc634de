"""Heartbeats and steps of the state through the front door against pgbench's update of one row: CPU for each.

Jobs are handed out first; each connection then speaks for jobs of its own. `starting` is a step, `running` again and
again is a heartbeat, `finished` with the report of its outputs is a final report. What was done is counted in the
database.
"""

import argparse
import json
from collections.abc import Callable

from benchmarks.bench_dispatch import PATH, calls, taken
from benchmarks.cost import Cost, pressure, spread
from benchmarks.stand import UPDATE_ONE, Api, Stand, standing

UPDATE = "/api/v1/pilot/update_job"
BULK = "/api/v1/pilot/update_jobs_bulk"
WAITING = 64


def spoken(jobs: list[dict[str, object]], status: str, repeated: int = 1) -> list[list[dict[str, object]]]:
    """What the pilots of these jobs say, dealt out over the connections."""
    said = [
        {"job_id": job["PandaID"], "attempt_nr": 1, "lease": job["lease"], "job_status": status,
         "node": f"wn{n % WAITING}", "cpu_consumption_time": 1200, "max_rss": 1_900_000,
         **(_ended(job) if status == "finished" else {})}
        for n, job in enumerate(jobs)
    ]  # fmt: skip
    return [said[n::WAITING] * repeated for n in range(WAITING)]


def _ended(job: dict[str, object]) -> dict[str, object]:
    """What a final report has besides: the outputs as the pilot stored them, the time, the code."""
    files = {
        lfn: {"guid": f"{n:08x}-0000-4000-8000-{job['PandaID']:012d}", "fsize": 123_456_789, "adler32": "0a1b2c3d",
              "endpoint": "R1"}
        for n, lfn in enumerate(str(job["outFiles"]).split(","))
    }  # fmt: skip
    return {"trans_exit_code": 0, "start_time": "2026-11-23 04:00:00", "end_time": "2026-11-23 05:00:00",
            "n_events": 100, "job_output_report": json.dumps(files)}  # fmt: skip


def counted(stand: Stand, state: str) -> Callable[[], int]:
    """Count the steps into a state."""
    return lambda: int(stand.value("SELECT count(*) FROM job_event WHERE job_id > 0 AND to_state::text = :s", s=state))


def one_round(stand: Stand, api: Api, turn: int, seconds: float, n: int) -> dict[str, Cost]:
    """Measure the limit, then every kind of report on fresh jobs."""
    found = {"limit": stand.pgbench(UPDATE_ONE, 32, seconds)}
    asks = calls(stand.queues, WAITING, n // WAITING, turn * 17)
    answers = api.load(PATH, asks, 60.0, taken(stand), keep=True).answers
    jobs = [job for one in answers for job in json.loads(one)["data"].get("jobs", [])]
    stand.settle()
    found["starting"] = api.load(UPDATE, spoken(jobs, "starting"), 60.0, counted(stand, "starting")).cost
    found["running"] = api.load(UPDATE, spoken(jobs, "running"), 60.0, counted(stand, "running")).cost
    beats = api.load(UPDATE, spoken(jobs, "running", 1000), seconds, lambda: 0)
    found["heartbeat"] = Cost(beats.statuses["200"], beats.cost.seconds, *beats.cost.parts)
    every = [one for said in spoken(jobs, "running") for one in said]
    hundreds = [{"job_list": every[start : start + 100]} for start in range(0, len(every), 100)]
    many = [hundreds[n::4] * 50 for n in range(4)]
    bulk = api.load(BULK, many, seconds, lambda: 0, keep=True)
    told = sum(len(json.loads(one)["data"]) for one in bulk.answers)
    found["heartbeat in bulk"] = Cost(told, bulk.cost.seconds, *bulk.cost.parts)
    found["final"] = api.load(UPDATE, spoken(jobs, "finished"), 60.0, counted(stand, "holding")).cost
    for name, cost in found.items():
        print(cost.line(name))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--queues", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--each", type=int, default=6400)
    options = parser.parse_args()
    with standing(options.queues, options.jobs) as stand:
        api = Api(stand)
        try:
            one_round(stand, api, 99, 1.0, 320)
            rounds = [one_round(stand, api, turn, options.seconds, options.each) for turn in range(options.rounds)]
        finally:
            api.stop()
    print(f"{options.jobs} jobs over {options.queues} queues, {WAITING} waiting, CPU pressure {pressure():.0f} %")
    for name in rounds[0]:
        if name != "limit":
            database = spread(
                one[name].database_s / one[name].n / (one["limit"].database_s / one["limit"].n) for one in rounds
            )
            whole = spread(one[name].each_us / one["limit"].each_us for one in rounds)
            print(
                f"RATIO report-{name.replace(' ', '-')}-database: {database}  database's CPU for one / pgbench's update"
            )
            print(f"RATIO report-{name.replace(' ', '-')}-cpu: {whole}  CPU of server and database / pgbench's update")


if __name__ == "__main__":
    main()
