"""Requests for things that this server does not have: read as strictly as any other, then answered with "none here"."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from panda_api.wire.fields import (
    MaybeCount,
    MaybeName,
    MaybeNumber,
    Name,
    Number,
    NumberText,
    PlainText,
    WireModel,
    json_list,
)


class GetProxy(WireModel):
    """A request for a proxy, by role or subject."""

    role: MaybeName = None
    dn: MaybeName = None


class GetToken(WireModel):
    """A request for a token, or for the key that renews it."""

    client_name: Name
    token_key: MaybeName = None


class GetKeyPair(WireModel):
    """A request for the keys of an object store."""

    public_key_name: Name
    private_key_name: Name


class CountEventRanges(WireModel):
    """A question for the event ranges that a job may still take."""

    job_id: Number
    jobset_id: NumberText = None
    task_id: MaybeNumber = None


class EventRangeStatuses(WireModel):
    """A question for the states of event ranges, by pairs of task and job."""

    job_task_ids: PlainText


class AcquireEventRanges(WireModel):
    """A request for event ranges of a job."""

    job_id: NumberText
    jobset_id: NumberText = None
    task_id: MaybeNumber = None
    n_ranges: MaybeCount = 10


class UpdateEventRanges(WireModel):
    """News of event ranges: a list, or the JSON text of one; version 1 groups the ranges by job."""

    event_ranges: Annotated[list[dict[str, object]], BeforeValidator(json_list), Field(max_length=100_000)]

    @property
    def number(self) -> int:
        """How many ranges are spoken of."""
        return sum(len(inner) if isinstance(inner := one.get("eventRanges"), list) else 1 for one in self.event_ranges)


class UpdateEventRange(WireModel):
    """News of one event range."""

    event_range_id: Name
    event_range_status: MaybeName = None


class RecoverFiles(WireModel):
    """A wish that lost outputs of a task be made again; dry_run only looks."""

    task_id: Annotated[int, Field(ge=1, le=2**63 - 1)]
    dry_run: bool = False


class DeleteCheckpoint(WireModel):
    """A checkpoint to forget."""

    task_id: NumberText
    sub_id: NumberText
