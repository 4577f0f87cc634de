"""Housekeeping of Prefect's own records: runs that died without saying so, and the automation that finds others."""

from datetime import timedelta

from prefect import flow, get_client, get_run_logger
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypeFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.states import Completed, Crashed

from flows.names import run_name
from panda.services import story
from tasks.world import world

ZOMBIES = "crash runs without heartbeat"
PAGE = 200


@flow(name="housekeeping", flow_run_name=run_name("housekeeping"))
def housekeeping() -> State[None]:
    """Mark dead runs as Crashed: those of the conductor by their task's lease, those of workers by their heartbeat."""
    crashed = _crash_stories_without_lease()
    made = _make_zombie_automation()
    get_run_logger().info("%d dead runs marked; automation %s", crashed, "made" if made else "is there")
    return Completed(name="Tidy", message=f"{crashed} dead runs marked as Crashed")


def _crash_stories_without_lease() -> int:
    """Stories run inside the conductor without heartbeats: whose lease is gone is dead (design section 6)."""
    done = 0
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["production task"])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=StateTypeFilter(any_=[StateType.RUNNING, StateType.PENDING]))
            ),
            limit=PAGE,
        )
        for run in runs:
            if _is_old(run) and not story.is_told(world(), int(run.parameters.get("task_id", 0))):
                client.set_flow_run_state(
                    run.id, Crashed(message="its process is gone: the task's lease has ended"), True
                )
                done += 1
    return done


def _is_old(run: FlowRun) -> bool:
    return run.start_time is not None and world().clock() - run.start_time > timedelta(minutes=5)


def _make_zombie_automation() -> bool:
    """Make the automation that crashes runs of worker processes whose heartbeats stop; False if it is there."""
    wanted = AutomationCore(
        name=ZOMBIES,
        description="A run in a worker process that stops to beat is marked as Crashed",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=120),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message="no heartbeat", force=False)],
    )
    with get_client(sync_client=True) as client:
        if client.read_automations_by_name(ZOMBIES):
            return False
        client.create_automation(wanted)
    return True
