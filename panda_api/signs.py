"""Signs of life: the API tells the watcher that it takes updates, so that an outage of ours kills nobody's job."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from panda.services import recover
from panda.services.context import Context

log = logging.getLogger(__name__)

LONGEST_S = 10.0


def interval_s(context: Context) -> float:
    """Time between two signs: several within the gap that counts as an outage."""
    return min(LONGEST_S, context.settings.watcher.outage_gap_s / 4)


@contextlib.asynccontextmanager
async def given(context: Context) -> AsyncIterator[None]:
    """Give signs until the block ends; the first one before it begins."""
    await _give_one(context)
    task = asyncio.create_task(_give(context))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _give(context: Context) -> None:
    while True:
        await asyncio.sleep(interval_s(context))
        await _give_one(context)


async def _give_one(context: Context) -> None:
    try:
        await anyio.to_thread.run_sync(recover.api_is_up, context)
    except SQLAlchemyError as error:
        log.warning("no sign of life: the database does not answer: %s", type(error).__name__)
