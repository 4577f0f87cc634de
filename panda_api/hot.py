"""The hot calls of pilots as a bare ASGI callable in front of the documented routes (performance.md 2).

It serves what it understands: a call of three paths, by a caller who may, with a body that the route's own model takes.
Everything else goes on to the routes with its body unread, so there is one place that says what a request may be and
how an error looks. Answers are made by the same functions (`panda_api.answers`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from panda.domain.dispatch import HandedJob, JobUpdate, PilotAsk, UpdateAnswer
from panda.errors import Forbidden, PandaError
from panda.services import dispatch
from panda.services.board import Board
from panda.services.context import Context
from panda_api.answers import bulk_envelope, jobs_envelope, parts_of, update_envelope
from panda_api.batch import Batcher, Lane
from panda_api.body import DEPTH_LIMIT, depth_exceeds, parsed
from panda_api.envelope import as_json
from panda_api.errors import DATABASE_LOST, database_lost, refusal
from panda_api.parked import Parked
from panda_api.security import Permit, Policy
from panda_api.wire.pilot import AcquireJobs, UpdateJob, UpdateJobsBulk

PREFIX = "/api/v1/pilot/"
BEAT_PACE_S = 0.05
"""Signs of life come every half hour and are in no hurry; gathered, one costs a fifth (performance.md 6)."""

_JSON = b"application/json"
_START = {"type": "http.response.start", "status": 200}

Given = TypeVar("Given")
Model = TypeVar("Model", bound=BaseModel)
Serve = Callable[[object], Awaitable[bytes]]


class HotLanes:
    """The batcher of one process, its lanes, and what they keep in memory."""

    def __init__(self, context: Context) -> None:
        board = self.board = Board()
        self.parked = Parked(context.engine)

        def acquire(connection: Connection, asks: Sequence[PilotAsk]) -> list[dispatch.Answer]:
            return dispatch.acquire_many(context, connection, asks, board)

        def report(connection: Connection, news: Sequence[JobUpdate]) -> list[UpdateAnswer]:
            return dispatch.take_reports(connection, news, board)

        self.acquire = Lane(acquire, "acquire")
        self.report = Lane(report, "report")
        self.beat = Lane(report, "beat", pace_s=BEAT_PACE_S)
        self.batcher = Batcher(context.engine, (self.acquire, self.report, self.beat))

    def lane_of(self, news: JobUpdate) -> Lane[JobUpdate, UpdateAnswer]:
        """Reports that end a job do not wait in one batch with signs of life."""
        return self.beat if news.status in dispatch.BEATS else self.report

    async def acquired(self, ask: PilotAsk) -> tuple[HandedJob, ...]:
        """The jobs that one pilot gets, by the batch that takes its ask next."""
        (answer,) = self.batcher.ask(self.acquire, [ask])
        return dispatch.jobs_of(await answer)

    async def updated(self, news: JobUpdate) -> UpdateAnswer:
        """What one pilot hears on its report, once that is committed."""
        (answer,) = self.batcher.ask(self.lane_of(news), [news])
        return await answer

    async def all_updated(self, news: Sequence[JobUpdate]) -> list[UpdateAnswer]:
        """What somebody hears who reports on many jobs, in order; nothing before all is committed."""
        answers = self.batcher.ask(self.report, news)
        if len(answers) > 1:
            await asyncio.wait(answers)
        return [await one for one in answers]


class HotCalls:
    """The hot calls, and behind them everything else."""

    def __init__(self, app: ASGIApp, context: Context, lanes: HotLanes) -> None:
        self.app = app
        self._context = context
        self._lanes = lanes
        take, report = Permit(Policy.TAKE_JOBS), Permit(Policy.REPORT_JOBS)
        self._calls: dict[str, tuple[Permit, Serve]] = {
            f"{PREFIX}acquire_jobs": (take, self._acquire),
            f"{PREFIX}update_job": (report, self._update),
            f"{PREFIX}update_jobs_bulk": (report, self._update_bulk),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or let the routes do it."""
        call = self._calls.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if call is None or not self._lanes.batcher.is_running or not _is_plain(scope):
            await self.app(scope, receive, send)
            return
        message = await receive()
        permit, serve = call
        try:
            value = _value(message)
            await permit(Request(scope))
            body = await serve(value)
        except (_Cold, Forbidden):
            await self.app(scope, _replayed(message, receive), send)
        except _Answered as answered:
            await answered.response(scope, receive, send)
        else:
            headers = [(b"content-length", b"%d" % len(body)), (b"content-type", _JSON)]
            await send({**_START, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _acquire(self, value: object) -> bytes:
        wanted = _understood(AcquireJobs, value)
        if wanted.is_harvesters:
            raise _Cold
        ask = wanted.ask()
        jobs = await (self._waited(ask, wanted.wait_time) if wanted.wait_time else self._jobs(ask))
        return as_json(jobs_envelope(self._context.settings, jobs))

    async def _jobs(self, ask: PilotAsk) -> tuple[HandedJob, ...]:
        return await _answered("acquire_jobs", self._lanes.acquired(ask))

    async def _waited(self, ask: PilotAsk, seconds: float) -> tuple[HandedJob, ...]:
        """Ask, and again each time that jobs became ready at the pilot's site, until it gets some or time is over."""
        loop = asyncio.get_running_loop()
        end, parked = loop.time() + seconds, self._lanes.parked
        woken = False
        while self._lanes.batcher.is_running:
            place = self._lanes.board.place(ask.queue)
            told = parked.told(None if place is None else place.site_id)
            if jobs := await self._jobs(ask):
                return jobs
            place = self._lanes.board.place(ask.queue)
            if place is None or not parked.has_room or (left := end - loop.time()) <= 0:
                break
            if woken:
                parked.wake(place.site_id, 1)
            woken = await parked.wait(place.site_id, left, told)
            if not woken:
                break
        return ()

    async def _update(self, value: object) -> bytes:
        told = _understood(UpdateJob, value)
        answer = await _answered("update_job", self._lanes.updated(told.update()))
        return as_json(update_envelope(told.job_id, answer))

    async def _update_bulk(self, value: object) -> bytes:
        parts = parts_of(_understood(UpdateJobsBulk, value))
        good = [one.update() for one in parts if isinstance(one, UpdateJob)]
        answers = await _answered("update_jobs_bulk", self._lanes.all_updated(good))
        return as_json(bulk_envelope(parts, answers))


class _Cold(Exception):
    """Not for the hot way: the routes shall answer."""


class _Answered(Exception):
    """The answer is an error's."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def _answered(call: str, answer: Awaitable[Given]) -> Given:
    """An answer of the lanes; raises what is to be answered instead."""
    path = PREFIX + call
    try:
        return await answer
    except PandaError as error:
        raise _Answered(refusal(path, error)) from error
    except DATABASE_LOST as error:
        raise _Answered(database_lost("POST", path, error)) from error


def _is_plain(scope: Scope) -> bool:
    return any(name == b"content-type" and value.startswith(_JSON) for name, value in scope["headers"])


def _value(message: Message) -> object:
    if message["type"] != "http.request" or message.get("more_body", False):
        raise _Cold
    try:
        value = parsed(message["body"])
    except ValueError:
        raise _Cold from None
    except PandaError:
        raise _Cold from None
    if not isinstance(value, dict) or depth_exceeds(value, DEPTH_LIMIT):
        raise _Cold
    return value


def _understood(model: type[Model], value: object) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError:
        raise _Cold from None


def _replayed(message: Message, receive: Receive) -> Receive:
    first = [message]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again
