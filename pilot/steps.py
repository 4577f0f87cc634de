"""The pilot's own log: one line per step, to stderr and, while a job is in hand, to the job's pilot log."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOG = logging.getLogger("pilot")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _tame(record: logging.LogRecord) -> bool:
    """Show control characters of foreign text instead of printing them."""
    record.msg = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", record.getMessage())
    record.args = ()
    return True


def _dressed(handler: logging.Handler) -> logging.Handler:
    """UTC time, level, text in one line."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_tame)
    return handler


def log_to_stderr() -> None:
    """Show the steps; called once by a program's start."""
    LOG.addHandler(_dressed(logging.StreamHandler()))
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Write the steps to a job's pilot log as well."""
    handler = _dressed(logging.FileHandler(path, encoding="utf-8"))
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()


def one_line(error: BaseException | str) -> str:
    """Text of an error fit for a report: one line without control characters."""
    return _CONTROL.sub(" ", str(error)).strip()
