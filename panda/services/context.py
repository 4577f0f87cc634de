"""What every use case gets: the database, the data manager, the settings and the clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from panda.ddm.port import DataManager
from panda.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The outside world of the services. `clock` gives aware UTC times; leases use the database's own clock."""

    engine: Engine
    ddm: DataManager
    settings: Settings
    clock: Callable[[], datetime]

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()
