"""`python -m benchmarks`: the short set, its ratios into benchmarks/RESULTS.md with machine, date and conditions."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.cost import pressure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
SHORT: dict[str, list[str]] = {
    "bench_dispatch": ["--rounds", "5", "--seconds", "3"],
    "bench_reports": ["--rounds", "3", "--seconds", "3"],
    "bench_bulk": ["--jobs", "200000", "--rounds", "3"],
}

BY_HAND = "\n# Measured one by one\n"
"""What stands from here on comes from the programs that are not in the short set, and stays."""


def main() -> None:
    """Run every program, show what it says, write down its ratios."""
    machine = f"{psutil.cpu_count()} cores ({platform.machine()}), {psutil.virtual_memory().total // 2**30} GB"
    load = f"load {psutil.getloadavg()[1]:.1f}, CPU pressure {pressure():.0f} %"
    lines = [
        "# Measured ratios",
        "",
        "Written by `make bench`. A ratio compares with a limit that is measured in the same run; what each means",
        "stands in its program. Judge by CPU: wall rates mean little when the CPU pressure is above 10 %.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, Python {platform.python_version()}, {load}",
    ]
    for name, options in SHORT.items():
        command = [sys.executable, "-m", f"benchmarks.{name}", *options]
        print(f"== {name}", flush=True)
        said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(said, flush=True)
        lines += ["", f"## {name} {' '.join(options)}", "", "```", said.rstrip(), "```"]
    _, heading, kept = RESULTS.read_text(encoding="utf-8").partition(BY_HAND)
    RESULTS.write_text("\n".join(lines) + "\n" + heading + kept, encoding="utf-8")


if __name__ == "__main__":
    main()
