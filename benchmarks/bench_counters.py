"""Pops with the counters' rows of history, and their folding every second, against pops without: one hot site.

The statement of the product against the same without its part that writes `job_event`, in turn, from one class, over
several connections. CPU of the database and of this process counts, that of the folder too.
"""

import argparse
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench_bulk import measured
from benchmarks.cost import Cost, pressure, spread
from benchmarks.stand import Stand, context, pop_and_hand, standing
from panda.services import upkeep
from panda.services.context import Context
from panda.store import pop
from panda.store.prepared import Prepared

COUNTED = pop._HAND  # noqa: SLF001 - what is measured
BARE = Prepared("panda_hand_bare", re.sub(r", event AS \(.*?\n    \)", "", COUNTED.text, flags=re.DOTALL))
AT_ONCE = (1, 16)
CONNECTIONS = 4
TUNING = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off"
"""As the hot calls' connections have it."""


def pop_for(stand: Stand, ctx: Context, statement: Prepared, at_once: int, seconds: float) -> Cost:
    """Pop over several connections for a while, folding meanwhile where there is something to fold."""
    class_id, site = (stand.value(f"SELECT id FROM {table}") for table in ("requirement_class", "site"))  # noqa: S608
    over = threading.Event()

    def work(_: int) -> None:
        with ctx.engine.connect() as connection:
            connection.exec_driver_sql(TUNING)
            connection.commit()
            while time.perf_counter() < stop_at:
                with connection.begin():
                    pop_and_hand(connection, class_id, site, at_once)

    def fold() -> None:
        while not over.wait(1.0):
            upkeep.fold(ctx)
        upkeep.fold(ctx)

    def both() -> None:
        folding = threading.Thread(target=fold)
        if statement is COUNTED:
            folding.start()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(work, range(CONNECTIONS)))
        over.set()
        if statement is COUNTED:
            folding.join()

    pop._HAND = statement  # noqa: SLF001
    stand.settle()
    before = stand.value("SELECT count(*) FROM in_hand")
    stop_at = time.perf_counter() + seconds
    cost = measured(stand, 1, both)
    done = stand.value("SELECT count(*) FROM in_hand") - before
    stand.check_left()
    return Cost(done, cost.seconds, cost.database_s, 0.0, cost.server_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    found: dict[int, list[tuple[Cost, Cost]]] = {}
    with standing(1, options.jobs, limit=False) as stand, context(stand) as ctx:
        for at_once in AT_ONCE:
            pop_for(stand, ctx, BARE, at_once, 1.0)
            for _ in range(options.rounds):
                bare, counted = (pop_for(stand, ctx, one, at_once, options.seconds) for one in (BARE, COUNTED))
                print(bare.line(f"{at_once} a statement, no counters"), counted.line("with counters"), sep="\n")
                found.setdefault(at_once, []).append((bare, counted))
    print(f"{options.jobs} jobs of one class, {CONNECTIONS} connections, CPU pressure {pressure():.0f} %")
    for at_once, rounds in found.items():
        cpu = spread(bare.with_client_us / counted.with_client_us for bare, counted in rounds)
        database = spread(bare.each_us / counted.each_us for bare, counted in rounds)
        wall = spread(counted.rate / bare.rate for bare, counted in rounds)
        print(f"RATIO counters-cpu-{at_once}: {cpu}  CPU of a pop without counters / with them and their folding")
        print(f"RATIO counters-database-{at_once}: {database}  the same of the database alone")
        print(f"RATIO counters-wall-{at_once}: {wall}  pops a second with counters / without")


if __name__ == "__main__":
    main()
