"""Owns what the tests take from the package index: unmodified clients, fetched once and kept in the data folder."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / ".panda" / "clients"
UNREACHABLE = ("Max retries", "NewConnectionError", "NameResolutionError", "ConnectTimeout", "ProxyError", "timed out")


def pip(*arguments: str) -> None:
    """Run pip; skips the test when the index cannot be reached, and only then."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode and any(word in done.stderr + done.stdout for word in UNREACHABLE):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@contextmanager
def alone() -> Iterator[None]:
    """Let one test process at a time fetch clients; the others find what it made."""
    CLIENTS.mkdir(parents=True, exist_ok=True)
    with (CLIENTS / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
