"""The monitor's pages and `panda why` on a large past against a trivial query: CPU of server and database for each.

`--final` jobs have ended, `--active` live. The trivial query reads one job by its number, through the same driver.
Every page has a limit, a ratio to that query; the program ends with 1 if one is above it.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests
from sqlalchemy import text

from benchmarks.archive import fill
from benchmarks.cost import of_process, of_server, pressure
from benchmarks.stand import Api, Stand, standing

# Limits, as ratios to a query that takes 100 us on a quiet machine: what somebody who looks is content with.
LOOK_UP = 1000
"""At once, a tenth of a second: what one thing is, a page of a list by number."""
STORY = 3000
"""A third of a second: what is put together from many places, or summed up by a dozen attributes."""
LIST = 5000
"""Half a second: every site with every state, among a million living jobs."""
SUM = 10_000
"""A second: what adds up all that ended in a day, a hundred thousand jobs here."""
DAYS = 80_000
"""Under the ten seconds after which a page is refused: all that ended in three days by node, or in thirty without."""

TRIVIAL = text("SELECT * FROM job WHERE id = :id")
WHY = "/api/v1/monitor/why?kind={}&name={}"


def pages(stand: Stand) -> dict[str, tuple[str, float]]:
    """What is measured: name -> address and limit, as a ratio to the trivial query."""
    live = stand.value("SELECT max(job_id) FROM ready")
    held = stand.value("SELECT max(job_id) FROM in_hand")
    ended = stand.value("SELECT max(job_id) FROM job_report")
    task = stand.value("SELECT task_id FROM job WHERE id = :job", job=live)
    past = stand.value("SELECT task_id FROM job WHERE id = :job", job=ended)
    user = stand.value("SELECT owner FROM production_task WHERE id = :task", task=past)
    dataset = stand.value("SELECT name FROM dataset WHERE task_id = :task", task=past)
    return {
        "dashboard": ("/", SUM),
        "dashboard of a task": (f"/?task={task}", LIST),
        "tasks": ("/tasks", LOOK_UP),
        "live task": (f"/task/{task}", STORY),
        "past task": (f"/task/{past}", STORY),
        "jobs": ("/jobs", LIST),
        "jobs failed": ("/jobs?status=failed", STORY),
        "jobs running": ("/jobs?status=running", STORY),
        "jobs of a site": ("/jobs?site=S1", STORY),
        "jobs of a live task": (f"/jobs?task={task}", STORY),
        "jobs of a past task": (f"/jobs?task={past}", STORY),
        "live job": (f"/job/{live}", STORY),
        "past job": (f"/job/{ended}", LOOK_UP),
        "datasets": ("/datasets", LOOK_UP),
        "dataset": (f"/dataset/{dataset}", LOOK_UP),
        "errors": ("/errors", SUM),
        "errors of 3 days": ("/errors?days=3", DAYS),
        "errors of 30 days": ("/errors?days=30", DAYS),
        "errors of a site": ("/errors?site=S1", LOOK_UP),
        "ddm": ("/ddm", STORY),
        "sites": ("/sites", LIST),
        "site": ("/site/S1", LIST),
        "workers": ("/workers", STORY),
        "users": ("/users", LIST),
        "user": (f"/user/{user}", SUM),
        "shares": ("/shares", LOOK_UP),
        "incidents": ("/incidents", LOOK_UP),
        "health": ("/health", LOOK_UP),
        "report": ("/report", SUM),
        "why ready job": (WHY.format("job", live), STORY),
        "why held job": (WHY.format("job", held), LOOK_UP),
        "why ended job": (WHY.format("job", ended), LOOK_UP),
        "why live task": (WHY.format("task", task), STORY),
        "why past task": (WHY.format("task", past), STORY),
        "why site": (WHY.format("site", "S1"), STORY),
        "why pilot": (WHY.format("pilot", f"local:{held}"), LOOK_UP),
        "why dataset": (WHY.format("dataset", dataset), LOOK_UP),
    }


class Meter:
    """CPU (s) of the server and the database for something that is done again and again."""

    def __init__(self, stand: Stand, api: Api) -> None:
        self._stand, self._api = stand, api

    def each(self, do: Callable[[], object], seconds: float, least: int) -> tuple[float, float]:
        """CPU and wall time (s) of one: it is done for so many seconds, `least` times at least."""
        cpu, start, n = self._used(), time.perf_counter(), 0
        while n < least or time.perf_counter() - start < seconds:
            do()
            n += 1
        return (self._used() - cpu) / n, (time.perf_counter() - start) / n

    def _used(self) -> float:
        return of_server(self._stand.address.pid) + of_process(self._api.process.pid)


def measure(stand: Stand, api: Api, options: argparse.Namespace) -> list[str]:
    """Measure every page between two measurements of the trivial query; returns those above their limits."""
    meter, above = Meter(stand, api), []
    session = requests.Session()
    session.trust_env = False
    top = stand.value("SELECT max(id) FROM job")
    connection = stand.engine.connect()

    def trivial() -> float:
        number = iter(range(top, 0, -7))
        return meter.each(lambda: connection.execute(TRIVIAL, {"id": next(number)}).one(), 0.5, 1000)[0]

    before = trivial()
    for name, (path, limit) in pages(stand).items():
        if options.only and options.only not in name:
            continue
        address = f"http://{api.host}:{api.port}{path}"

        def get(address: str = address) -> None:
            answer = session.get(address, timeout=120)
            if answer.status_code != 200:
                raise RuntimeError(f"{address}: {answer.status_code} {answer.text[:300]}")

        try:
            get()
            cpu, wall = meter.each(get, options.seconds, 3)
        except RuntimeError as error:  # a page that the database takes too long for is refused
            print(f"  {name:22s} NO ANSWER: {error}", flush=True)
            above.append(name)
            continue
        after = trivial()
        unit = statistics.mean((before, after))
        before, ratio = after, cpu / unit
        verdict = "" if ratio <= limit else "  ABOVE ITS LIMIT"
        took = f"{1e3 * cpu:8.1f} ms CPU {1e3 * wall:8.1f} ms wall"
        print(f"  {name:22s} {took}   ratio {ratio:7.0f} of {limit:.0f}{verdict}", flush=True)
        above += [name] if verdict else []
    print(f"  trivial query: {1e6 * before:.0f} us CPU of the database")
    return above


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--final", type=int, default=1_000_000)
    parser.add_argument("--active", type=int, default=100_000)
    parser.add_argument("--daily", type=int, default=100_000, help="how many jobs ended a day")
    parser.add_argument("--queues", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help="pages whose name has this in it")
    parser.add_argument("--keep", type=Path, help="fill a database in this folder, or take the one filled there")
    parser.add_argument("--fill-only", action="store_true", help="measure nothing")
    options = parser.parse_args()
    with standing(options.queues, options.active, limit=False, kept=options.keep) as stand:
        _filled(stand, options)
        if options.fill_only:
            return
        api = Api(stand)
        try:
            above = measure(stand, api, options)
        finally:
            api.stop()
        print(f"{options.final:,} ended and {options.active:,} living jobs, CPU pressure {pressure():.0f} %")
    print(f"RATIO pages above their limits: {len(above)} {json.dumps(above)}")
    sys.exit(bool(above))


def _filled(stand: Stand, options: argparse.Namespace) -> None:
    """Make the past, unless it was made before with the same numbers."""
    wanted, noted = [options.queues, options.active, options.final, options.daily], stand.folder / "filled.json"
    if noted.exists():
        if json.loads(noted.read_text(encoding="utf-8")) != wanted:
            raise SystemExit(f"{stand.folder} was filled with other numbers: {noted.read_text(encoding='utf-8')}")
        return
    if stand.value("SELECT EXISTS (SELECT FROM production_task WHERE name LIKE 'mc.past.%')"):
        raise SystemExit(f"{stand.folder} is only half filled: remove it, or name another folder")
    start = time.perf_counter()
    fill(stand.engine, options.queues, options.final, options.daily)
    noted.write_text(json.dumps(wanted), encoding="utf-8")
    print(f"filled in {time.perf_counter() - start:.0f} s: {_size(stand)}", flush=True)


def _size(stand: Stand) -> str:
    found: str = stand.value("SELECT pg_size_pretty(pg_database_size(current_database()))")
    return found


if __name__ == "__main__":
    main()
