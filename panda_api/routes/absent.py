"""Calls whose things this server does not have, answered truthfully and in the shape that clients expect.

No proxies or keys are handed out (pilots bring their own), there is no event service and no hyper-parameter search.
"""

from typing import Annotated

from fastapi import APIRouter, Query, UploadFile

from panda.services import ownership, read
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, failed, succeeded
from panda_api.render import STATUS_OK
from panda_api.security import Identity, Policy, permit
from panda_api.wire.absent import (
    AcquireEventRanges,
    CountEventRanges,
    DeleteCheckpoint,
    EventRangeStatuses,
    GetKeyPair,
    GetProxy,
    GetToken,
    RecoverFiles,
    UpdateEventRange,
    UpdateEventRanges,
)

router = APIRouter(prefix="/api/v1", tags=["absent"], route_class=WireRoute)

Worker = Annotated[Identity, permit(Policy.REPORT_JOBS)]
Reader = Annotated[Identity, permit(Policy.READ_JOBS)]

NO_EVENTS = "none here: this server has no event service, every job gets its events with its parameters"
NO_RECOVERY = (
    "a lost copy is copied again from another storage by the data management itself; files without any copy are made "
    "again by a new task with the parameters of task {task}"
)
NO_CHECKPOINTS = "none here: this server has no hyper-parameter search, so no checkpoints"


@router.get("/creds/get_proxy", response_model=Envelope)
def get_proxy(_wanted: Annotated[GetProxy, Query()], _caller: Worker) -> WireResponse:
    """No proxy: a pilot that needs one brings it."""
    return failed("none here: this server keeps no proxies, the pilot brings its own")


@router.get("/creds/get_token_key", response_model=Envelope)
def get_token_key(_wanted: Annotated[GetToken, Query()], _caller: Worker) -> WireResponse:
    """No key that renews tokens."""
    return failed("none here: this server renews no tokens, ask the token's issuer")


@router.get("/creds/get_access_token", response_model=Envelope)
def get_access_token(_wanted: Annotated[GetToken, Query()], _caller: Worker) -> WireResponse:
    """No tokens."""
    return failed("none here: this server renews no tokens, ask the token's issuer")


@router.get("/creds/get_key_pair", response_model=Envelope)
def get_key_pair(_wanted: Annotated[GetKeyPair, Query()], _caller: Worker) -> WireResponse:
    """No keys of object stores."""
    return failed("none here: this server keeps no keys of object stores")


@router.post("/event/acquire_event_ranges", response_model=Envelope)
def acquire_event_ranges(_wanted: AcquireEventRanges, _caller: Worker) -> WireResponse:
    """An empty list: there are no event ranges."""
    return succeeded({"StatusCode": STATUS_OK, "eventRanges": []}, NO_EVENTS)


@router.get("/event/get_available_event_range_count", response_model=Envelope)
def get_available_event_range_count(_wanted: Annotated[CountEventRanges, Query()], _caller: Worker) -> WireResponse:
    """None are available."""
    return succeeded(0, NO_EVENTS)


@router.get("/event/get_event_range_statuses", response_model=Envelope)
def get_event_range_statuses(_wanted: Annotated[EventRangeStatuses, Query()], _caller: Reader) -> WireResponse:
    """No range has a status."""
    return succeeded({}, NO_EVENTS)


@router.post("/event/update_event_ranges", response_model=Envelope)
def update_event_ranges(told: UpdateEventRanges, _caller: Worker) -> WireResponse:
    """False for each range: it is not one of ours."""
    return succeeded({"StatusCode": STATUS_OK, "Returns": [False] * told.number, "Commands": {}}, NO_EVENTS)


@router.post("/event/update_single_event_range", response_model=Envelope)
def update_single_event_range(_told: UpdateEventRange, _caller: Worker) -> WireResponse:
    """There is no such range."""
    return failed(NO_EVENTS)


@router.post("/file_server/upload_file_recovery_request", response_model=Envelope)
def upload_file_recovery_request(
    wanted: RecoverFiles, ctx: Ctx, caller: Annotated[Identity, permit(Policy.STEER_TASKS)]
) -> WireResponse:
    """Nothing is queued: there is no daemon that takes such requests."""
    ownership.check_tasks(ctx, caller, [wanted.task_id])
    task = read.task(ctx, wanted.task_id)
    return failed(f"none here: {NO_RECOVERY.format(task=task.id)}")


@router.post("/file_server/upload_hpo_checkpoint", response_model=Envelope)
def upload_hpo_checkpoint(file: UploadFile, _caller: Worker) -> WireResponse:
    """Nothing is kept."""
    return failed(f"{file.filename or 'the file'} is not kept; {NO_CHECKPOINTS}")


@router.post("/file_server/delete_hpo_checkpoint", response_model=Envelope)
def delete_hpo_checkpoint(_told: DeleteCheckpoint, _caller: Worker) -> WireResponse:
    """There is nothing to delete."""
    return failed(NO_CHECKPOINTS)
