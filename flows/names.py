"""Names of flow runs that say what runs and when it began, where no parameter says which one it is."""

from collections.abc import Callable
from datetime import UTC, datetime


def run_name(what: str) -> Callable[[], str]:
    """Give what names a run: `bamboo 2026-11-22 20:10 UTC`."""
    return lambda: f"{what} {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
