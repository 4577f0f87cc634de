"""Pops behind a forgotten transaction: CPU of a job with 100,000 pops since an old snapshot / with none open.

What a pop deletes cannot be cleaned up while anybody may still look at it, so a pop that begins at the head of its
class walks over all of it (performance.md 7). One class of one queue, which is the worst case; the age of the snapshot
does not matter, what was popped since does.
"""

import argparse

from sqlalchemy import text

from benchmarks.bench_dispatch import PATH, calls, check, taken
from benchmarks.cost import Cost, pressure, spread
from benchmarks.stand import Api, Stand, context, pop_and_hand, standing

WAITING = (1, 32)
AT_ONCE = 500


def measured(stand: Stand, api: Api, name: str, seconds: float) -> dict[int, Cost]:
    """Dispatch to one pilot after the other, and to many at once."""
    found = {}
    for waiting in WAITING:
        stand.settle()
        done = api.load(PATH, calls(1, waiting, 20_000 // waiting, 0), seconds, taken(stand), keep=True)
        check(stand, done.answers)
        found[waiting] = done.cost
        print(done.cost.line(f"{name}, {waiting} waiting"), f"  p50 {done.p50_ms:.1f} p99 {done.p99_ms:.1f} ms")
    return found


def pop_many(stand: Stand, n: int) -> None:
    """Let others take so many jobs of the class."""
    site = stand.value("SELECT id FROM site")
    class_id = stand.value("SELECT id FROM requirement_class")
    with context(stand) as ctx, ctx.engine.connect() as connection:
        for _ in range(n // AT_ONCE):
            with connection.begin():
                popped = pop_and_hand(connection, class_id, site, AT_ONCE)
            if popped != AT_ONCE:
                raise RuntimeError(f"{popped} jobs were popped, not {AT_ONCE}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pops", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with standing(1, options.pops + 300_000) as stand:
        api = Api(stand)
        try:
            measured(stand, api, "warming up", 1.0)
            fresh = [measured(stand, api, "no snapshot", options.seconds) for _ in range(options.rounds)]
            with stand.engine.connect() as forgotten:
                forgotten.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                forgotten.execute(text("SELECT count(*) FROM site"))
                pop_many(stand, options.pops)
                old = [measured(stand, api, "old snapshot", options.seconds) for _ in range(options.rounds)]
            stand.check_left()
        finally:
            api.stop()
    print(f"{options.pops} pops since the snapshot, CPU pressure {pressure():.0f} %")
    for waiting in WAITING:
        least = sorted(one[waiting].each_us for one in fresh)[len(fresh) // 2]
        ratio = spread(one[waiting].each_us / least for one in old)
        print(f"RATIO snapshot-cpu-{waiting}: {ratio}  CPU for a job behind an old snapshot / with none open")


if __name__ == "__main__":
    main()
