"""Notifications of the data management: entries of its feed, at least once, in any order."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from panda.ddm.port import DdmEvent, Did, EventKind
from panda_api.wire.fields import Number, WireModel


class Event(WireModel):
    """One entry of the feed."""

    seq: Number
    at: datetime
    kind: EventKind
    transfer_id: Annotated[str, Field(max_length=255)] = ""
    scope: Annotated[str, Field(max_length=255)] = ""
    name: Annotated[str, Field(max_length=255)] = ""
    rse: Annotated[str, Field(max_length=255)] = ""
    detail: Annotated[str, Field(max_length=10_000)] = ""

    def event(self) -> DdmEvent:
        """The entry as the port knows it."""
        return DdmEvent(
            self.seq, self.at, self.kind, self.transfer_id, Did(self.scope, self.name), self.rse, self.detail
        )


class Notification(WireModel):
    """A batch of entries."""

    events: Annotated[list[Event], Field(max_length=10_000)]
