"""Dispatch from a long queue against a short one: CPU for a job and rate, with 10 million and with 100,000 ready jobs.

Two stands at once, each with its own database and API, asked in turn.
"""

import argparse
from contextlib import ExitStack

from benchmarks.bench_dispatch import PATH, WAITING, calls, check, taken
from benchmarks.cost import Cost, pressure, spread
from benchmarks.stand import Api, Stand, standing

WARMING, MEASURED = 6_400, 12_800
"""Most jobs handed out before a round and in each measurement: the short queue has to last."""
LEFT = 2_000
"""Ready jobs below which most queues are empty."""


def measured(stand: Stand, api: Api, turn: int, seconds: float) -> dict[int, Cost]:
    """Dispatch to 32 and to 128 waiting pilots, after some that warm the pages of the queues' heads.

    The first change of a page after a checkpoint writes the whole page to the log: a long queue has more of them.
    """
    found = {}
    stand.settle()
    api.load(PATH, calls(stand.queues, max(WAITING), WARMING // max(WAITING), turn * 31), 1.0, taken(stand))
    for waiting in WAITING:
        asks = calls(stand.queues, waiting, MEASURED // waiting, turn * 17)
        done = api.load(PATH, asks, seconds, taken(stand), keep=True)
        check(stand, done.answers)
        stand.check_left(LEFT)
        found[waiting] = done.cost
        print(
            done.cost.line(f"{stand.jobs} ready, {waiting} waiting"), f"  p50 {done.p50_ms:.0f} p99 {done.p99_ms:.0f}"
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs=2, default=[100_000, 10_000_000])
    parser.add_argument("--queues", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with ExitStack() as stack:
        stands = [stack.enter_context(standing(options.queues, jobs, limit=False)) for jobs in options.jobs]
        apis = []
        for stand in stands:
            apis.append(Api(stand))
            stack.callback(apis[-1].stop)
        both = list(zip(stands, apis, strict=True))
        rounds = []
        for turn in range(options.rounds + 1):
            found = [measured(stand, api, turn, options.seconds) for stand, api in both]
            if turn:  # the first one fills the caches
                rounds.append(found)
    print(f"{options.jobs} ready jobs over {options.queues} queues, CPU pressure {pressure():.0f} %")
    for waiting in WAITING:
        cpu = spread(short[waiting].each_us / long[waiting].each_us for short, long in rounds)
        wall = spread(long[waiting].rate / short[waiting].rate for short, long in rounds)
        print(f"RATIO length-cpu-{waiting}: {cpu}  CPU for a job from the short queue / from the long one")
        print(f"RATIO length-wall-{waiting}: {wall}  rate from the long queue / from the short one")


if __name__ == "__main__":
    main()
