"""Which chapters of a story are open: only what has something to do is told, so that a story costs little."""

from dataclasses import replace

from panda.domain.states import TaskStage
from panda.domain.work import Split
from panda.services import assign, chapters, prepare, story
from panda.services.chapters import Chapters
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen


def open_chapters(campaign: Campaign, task: int) -> Chapters:
    lease = story.claim(campaign.ctx, task)
    assert lease is not None
    try:
        return chapters.look(campaign.ctx, lease)
    finally:
        story.release(campaign.ctx, lease, None)


def test_a_task_without_input_goes_through_its_chapters(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=2))
    assert open_chapters(campaign, task) == Chapters(True, True, False, False, "AwaitingStage: the task is registered")

    lease = story.claim(campaign.ctx, task)
    assert lease is not None
    assign.assign(campaign.ctx, lease)
    assert not chapters.look(campaign.ctx, lease).cloud
    assert chapters.look(campaign.ctx, lease).jobs
    prepare.expand(campaign.ctx, lease)
    assert chapters.look(campaign.ctx, lease) == Chapters(False, False, True, False, "AwaitingSite: 2 defined")
    story.release(campaign.ctx, lease, None)

    campaign.tell(task)
    assert open_chapters(campaign, task) == Chapters(False, False, False, False, "AwaitingPilots: 2 activated")
    assert campaign.drive(task) == [TaskStage.DONE]
    assert open_chapters(campaign, task) == Chapters(False, False, False, False, None)


def test_inputs_are_a_chapter_until_they_are_asked_for(campaign: Campaign) -> None:
    parent = campaign.submit(replace(an_evgen("parent", 2), site=T1))
    assert campaign.drive(parent) == [TaskStage.DONE]
    task = campaign.submit(replace(a_reader("reader", "mc.parent.EVNT", Split(files_per_job=1)), site=T2))
    lease = story.claim(campaign.ctx, task)
    assert lease is not None
    assign.assign(campaign.ctx, lease)
    prepare.expand(campaign.ctx, lease)
    story.release(campaign.ctx, lease, None)
    assert open_chapters(campaign, task).sites

    campaign.tell(task)
    assert open_chapters(campaign, task) == Chapters(False, False, False, False, "AwaitingTransfers: 2 assigned")

    campaign.change("UPDATE bunch SET staged = false")
    assert open_chapters(campaign, task).inputs
