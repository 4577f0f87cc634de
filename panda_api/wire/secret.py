"""Requests about users' secrets."""

from typing import Annotated

from pydantic import Field

from panda_api.wire.fields import MaybeName, WireModel


class SetSecret(WireModel):
    """A secret; null for a value forgets it, null for the key forgets all."""

    key: MaybeName = None
    value: Annotated[str | None, Field(max_length=2_000_000, pattern=r"^[^\x00]*$")] = None
