"""Our dispatch with HTTP against the bare claim of one job by procrastinate and pgqueuer: rate and CPU, same cluster.

The peers claim by their own call, over 32 connections of a process of theirs, from as many jobs in as many queues; no
HTTP, no matching, no answer for a pilot. They are installed from PyPI into an environment of their own (`--python`
names one that has them). Claims are counted in the database.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, text

from benchmarks.bench_dispatch import PATH, calls, check, taken
from benchmarks.cost import Cost, of_server, pressure, spread
from benchmarks.stand import ROOT, Api, Stand, standing

CLAIMED = {
    "procrastinate": "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'",
    "pgqueuer": "SELECT count(*) FROM pgqueuer WHERE status = 'picked'",
}
PACKAGES = ("procrastinate", "pgqueuer[asyncpg]")
CONNECTIONS = 32


def environment(folder: Path) -> str:
    """Install the peers; their Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=subprocess.DEVNULL)
    return python


class Peer:
    """Another queue in a database of its own on the same cluster."""

    def __init__(self, stand: Stand, python: str, name: str) -> None:
        self._stand, self._python, self._name = stand, python, name
        self._engine = create_engine(stand.address.url("peers"))
        with stand.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("DROP DATABASE IF EXISTS peers WITH (FORCE)")
            connection.exec_driver_sql("CREATE DATABASE peers")
            connection.exec_driver_sql("ALTER DATABASE peers SET jit = off")  # as ours has it
        self._run("fill", stand.jobs)
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")

    def _run(self, what: str, amount: float) -> dict[str, float]:
        command = [self._python, str(ROOT / "benchmarks" / "peers.py"), self._name, what, self._stand.address.socket,
                   str(self._stand.queues), str(amount), str(CONNECTIONS)]  # fmt: skip
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found: dict[str, float] = json.loads(said)
        return found

    def _claimed(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(text(CLAIMED[self._name])).scalar_one())

    def claim(self, seconds: float) -> Cost:
        """Claim for a while."""
        before, database = self._claimed(), of_server(self._stand.address.pid)
        found = self._run("claim", seconds)
        database = of_server(self._stand.address.pid) - database
        return Cost(self._claimed() - before, found["seconds"], database, 0.0, found["cpu_s"])

    def close(self) -> None:
        """Let go of it."""
        self._engine.dispose()


def against(stand: Stand, api: Api, python: str, name: str, options: argparse.Namespace) -> list[tuple[Cost, Cost]]:
    """Ours and theirs in turn."""
    peer = Peer(stand, python, name)
    rounds = []
    for turn in range(options.rounds):
        stand.settle()
        done = api.load(
            PATH, calls(stand.queues, CONNECTIONS, 400, turn * 17), options.seconds, taken(stand), keep=True
        )
        check(stand, done.answers)
        theirs = peer.claim(options.seconds)
        print(done.cost.line("HTTP dispatch, 32 waiting"), theirs.line(f"{name}, bare claim of one"), sep="\n")
        rounds.append((done.cost, theirs))
    peer.close()
    return rounds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--queues", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--python")
    options = parser.parse_args()
    found = {}
    with (
        tempfile.TemporaryDirectory(prefix="panda-bench-") as folder,
        standing(options.queues, options.jobs, limit=False) as stand,
    ):
        python = options.python or environment(Path(folder) / "peers")
        api = Api(stand)
        try:
            api.load(PATH, calls(stand.queues, CONNECTIONS, 100, 0), options.seconds, taken(stand))
            for name in CLAIMED:
                found[name] = against(stand, api, python, name, options)
        finally:
            api.stop()
    print(f"{options.jobs} jobs over {options.queues} queues, {CONNECTIONS} claiming, CPU pressure {pressure():.0f} %")
    for name, rounds in found.items():
        rate = spread(ours.rate / theirs.rate for ours, theirs in rounds)
        cpu = spread(theirs.with_client_us / ours.with_client_us for ours, theirs in rounds)
        database = spread(theirs.database_s / theirs.n * ours.n / ours.database_s for ours, theirs in rounds)
        print(f"RATIO {name}-rate: {rate}  jobs a second of our dispatch with HTTP / of its bare claim of one")
        print(f"RATIO {name}-cpu: {cpu}  its CPU for a claim / ours for a dispatched job, clients included")
        print(f"RATIO {name}-database: {database}  the same of the database alone")


if __name__ == "__main__":
    main()
