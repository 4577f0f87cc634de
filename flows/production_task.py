"""The story of one production task, from its request to its closed datasets.

It takes the task as far as it can go now and ends in a state that says what it waits for; the wait is the gap between
two runs, holds no process and survives every restart (design decision 4). Each step can be run again at any time.
"""

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from panda.domain.states import TaskStage
from panda.errors import LeaseLost
from panda.services import read
from tasks.leases import Telling, telling
from tasks.plain import EXPECTED, said, speak_plainly
from tasks.report import report
from tasks.story import assign_cloud, complete_task, expand, look, place_bunches, stage_inputs
from tasks.world import world


@flow(name="production task", flow_run_name="task-{task_id}", validate_parameters=False)
def production_task(task_id: int) -> State[None]:
    """Tell one production task's story as far as it goes now; what goes wrong is the run's message, in plain words."""
    speak_plainly()
    try:
        with telling(task_id) as told:
            if told is None:
                return Completed(name="Skipped", message="somebody else tells this story now")
            return _tell(task_id, told)
    except LeaseLost as lost:
        return Completed(name="TakenOver", message=str(lost))
    except EXPECTED as error:
        return Failed(name=type(error).__name__, message=said(error))


def _tell(task_id: int, told: Telling) -> State[None]:
    """Go from chapter to chapter; one that has nothing to tell now is left out."""
    lease, made, placed = told.lease, 0, 0

    if look(lease).cloud:
        cloud = assign_cloud(lease)
        if cloud.waits_for:
            return _awaits(told, cloud.waits_for)

    if look(lease).jobs:
        jobs = expand(lease)
        made = jobs.jobs
        if jobs.failed:
            report(task_id, jobs.failed)
            told.waits_for = None
            return Failed(name="Refused", message=jobs.failed)
        if jobs.waits_for:
            return _awaits(told, jobs.waits_for)

    waits_for: str | None = None
    if look(lease).sites:
        sites = place_bunches(lease)
        placed, waits_for = sites.placed, sites.waits_for

    if look(lease).inputs:
        blocks = stage_inputs(lease)
        waits_for = blocks.waits_for or waits_for

    live = look(lease).live
    if live:
        report(task_id, waits_for or live, whole=bool(made or placed))
        return _awaits(told, waits_for or live)
    return _end(task_id, told)


def _end(task_id: int, told: Telling) -> State[None]:
    """Nothing is live any more: the datasets are closed, unless something is missing still."""
    end = complete_task(told.lease)
    if end.stage is None:
        return _awaits(told, end.waits_for or "AwaitingJobs: pilots are at work")
    told.waits_for = None
    report(task_id, None)
    kind = Failed if end.stage is TaskStage.FAILED else Completed
    return kind(name=end.stage.value.capitalize(), message=f"the task is {end.stage.value}, datasets are closed")


def _awaits(told: Telling, waits_for: str) -> State[None]:
    """End this run in a state that is named by what the task waits for."""
    told.waits_for = waits_for
    name, _, message = waits_for.partition(": ")
    return Completed(name=name, message=message or waits_for)


def tell(task_id: int) -> None:
    """Run the story with the tags by which people find it in the Prefect UI."""
    view = read.task(world(), task_id)
    more = {"cloud": view.cloud, "campaign": view.campaign}
    labels = [f"task:{task_id}", f"vo:{view.vo}", *(f"{name}:{one}" for name, one in more.items() if one)]
    with tags(*labels):
        production_task(task_id, return_state=True)
