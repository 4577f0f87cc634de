"""Requests about sites."""

from typing import Annotated, Literal

from pydantic import Field

from panda_api.wire.fields import Name, WireModel


class SetSiteStatus(WireModel):
    """A site's new status: `brokeroff` gets no new work, `test` only test jobs, `offline` hands out nothing."""

    site: Name
    status: Literal["online", "brokeroff", "test", "offline"]
    comment: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
