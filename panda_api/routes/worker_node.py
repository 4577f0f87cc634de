"""Routes of pilots that describe their nodes. No book of nodes is kept: what matching needs comes with each request."""

from typing import Annotated

from fastapi import APIRouter

from panda_api.body import WireRoute
from panda_api.envelope import Envelope, WireResponse, failed
from panda_api.security import Identity, Policy, permit
from panda_api.wire.worker_node import WorkerNode

router = APIRouter(prefix="/api/v1/pilot", tags=["pilot"], route_class=WireRoute)

NO_BOOK = "none here: this server keeps no book of worker nodes, nothing was stored"
Worker = Annotated[Identity, permit(Policy.REPORT_WORKERS)]


@router.post("/update_worker_node", response_model=Envelope)
def update_worker_node(_told: WorkerNode, _caller: Worker) -> WireResponse:
    """A node's processors, memory and disk are not kept; pilots go on (wire-protocol.md 4.1)."""
    return failed(NO_BOOK)


@router.post("/update_worker_node_gpu", response_model=Envelope)
def update_worker_node_gpu(_told: WorkerNode, _caller: Worker) -> WireResponse:
    """A node's graphics processors are not kept."""
    return failed(NO_BOOK)
