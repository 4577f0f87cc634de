"""Flow runs inside one process without the thread that sends heartbeats: it costs every sync flow a second."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings


@contextmanager
def quick_flows() -> Iterator[None]:
    """Run flows in this block without heartbeats; whoever drives them holds leases in the database instead."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
