"""The conductor's stories: a few at the same time, each task once at a time, and errors do not end them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from flows.conductor import Stories
from panda import wiring
from panda.services import story
from panda.services.context import Context
from panda.settings import load
from panda.store import work
from tests.support.campaign import an_evgen

LIMIT_S = 30.0


@pytest.fixture
def ctx(engine: Engine, database: str, tmp_path: Path) -> Iterator[Context]:
    made = wiring.connect(load(database_url=database.replace("+psycopg2", ""), data_dir=tmp_path))
    yield made
    made.close()


def due_tasks(ctx: Context, n: int) -> list[int]:
    """Some tasks that are due."""
    with ctx.engine.begin() as connection:
        return [work.insert_task(connection, an_evgen(str(i)), parent_id=None, bunch_size=1) for i in range(n)]


@contextmanager
def running(stories: Stories, stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=stories.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_two_stories_are_told_at_the_same_time_and_no_task_twice_at_once(ctx: Context) -> None:
    tasks = due_tasks(ctx, 3)
    both = threading.Barrier(2)
    told: list[int] = []
    ended = threading.Event()

    def tell(task_id: int) -> None:
        lease = story.claim(ctx, task_id)
        assert lease is not None, "another thread tells the same story"
        told.append(task_id)
        if len(told) <= 2:
            both.wait(LIMIT_S)  # breaks, and fails the story, unless a second one is told meanwhile
        story.release(ctx, lease, None)
        if len(told) == len(tasks):
            ended.set()

    stop = threading.Event()
    with running(Stories(ctx, stop, tell), stop):
        assert ended.wait(LIMIT_S)
    assert sorted(told) == tasks
    assert not both.broken


def test_a_story_that_cannot_be_told_is_tried_again(ctx: Context) -> None:
    [task] = due_tasks(ctx, 1)
    tries: list[int] = []
    ended = threading.Event()

    def tell(task_id: int) -> None:
        tries.append(task_id)
        if len(tries) == 1:
            raise ConnectionError("Prefect is away")
        lease = story.claim(ctx, task_id)
        assert lease is not None
        story.release(ctx, lease, None)
        ended.set()

    stop = threading.Event()
    with running(Stories(ctx, stop, tell), stop):
        assert ended.wait(LIMIT_S)
    assert tries == [task, task]
