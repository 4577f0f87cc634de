"""Routes of numbers and definitions that factories ask for: live jobs by queue, resource types."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter

from panda.domain.resource_types import RESOURCE_TYPES
from panda.services import jobcounts
from panda.services.context import Context
from panda_api.body import WireRoute
from panda_api.context import Ctx
from panda_api.envelope import Envelope, WireResponse, succeeded
from panda_api.render import wire_resource_type
from panda_api.security import Identity, Policy, permit

router = APIRouter(prefix="/api/v1", tags=["statistics"], route_class=WireRoute)

Reader = Annotated[Identity, permit(Policy.READ_DEMAND)]

ALWAYS = ("assigned", "activated", "running")
"""States that are named even when no job is in them: Harvester reads them without asking."""


@router.get("/statistics/active_job_stats_by_site", response_model=Envelope)
def active_job_stats_by_site(ctx: Ctx, _caller: Reader) -> WireResponse:
    """Live jobs of each queue by state."""
    return succeeded(job_numbers(ctx))


def job_numbers(ctx: Context) -> dict[str, dict[str, int]]:
    """Live jobs by queue and state."""
    return {queue: _numbers(sum(kinds.values(), Counter())) for queue, kinds in jobcounts.by_queue(ctx).items()}


@router.get("/statistics/active_job_detailed_stats_by_site", response_model=Envelope)
def active_job_detailed_stats_by_site(ctx: Ctx, _caller: Reader) -> WireResponse:
    """Live jobs of each queue by resource type, label and state; queues without jobs are left out."""
    found: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for queue, kinds in jobcounts.by_queue(ctx).items():
        for kind, counted in kinds.items():
            by_label = found.setdefault(queue, {}).setdefault(kind.resource_type, {})
            by_label[kind.label] = _numbers(counted)
    return succeeded(found)


@router.get("/metaconfig/get_resource_types", response_model=Envelope)
def get_resource_types(_caller: Annotated[Identity, permit(Policy.READ_TOPOLOGY)]) -> WireResponse:
    """The kinds of slots: bounds of cores, and of memory (MB) per core."""
    return succeeded([wire_resource_type(one) for one in RESOURCE_TYPES])


def _numbers(counted: Counter[str]) -> dict[str, int]:
    return {**dict.fromkeys(ALWAYS, 0), **{state: n for state, n in sorted(counted.items()) if state != "merging"}}
