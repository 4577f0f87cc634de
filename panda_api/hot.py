"""The hot calls of pilots, in front of the documented routes (performance.md 2); connections ask here first.

It serves what it understands: a call of three paths, by a caller who may, with a body that the route's own model takes.
Everything else goes on to the routes, so there is one place that says what a request may be and how an error looks.
Answers are made by the same functions (`panda_api.answers`).
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection

from panda.domain.dispatch import HandedJob, JobUpdate, PilotAsk, UpdateAnswer
from panda.errors import Forbidden, PandaError
from panda.services import dispatch
from panda.services.board import Board
from panda.services.context import Context
from panda_api.answers import Part, bulk_envelope, jobs_json, parts_of, update_json
from panda_api.batch import Batcher, Lane
from panda_api.body import DEPTH_LIMIT, depth_exceeds, parsed
from panda_api.envelope import as_json
from panda_api.errors import DATABASE_LOST, database_lost, defect, refusal
from panda_api.heads import Heads
from panda_api.parked import Parked
from panda_api.security import Callers, Headers, Policy, may
from panda_api.wire.asks import ask_of
from panda_api.wire.beats import beat_of, update_of
from panda_api.wire.pilot import MOST_UPDATES, UpdateJobsBulk

PREFIX = "/api/v1/pilot/"
BULK = f"{PREFIX}update_jobs_bulk"
BEAT_PACE_S = 0.05
"""Signs of life come every half hour and are in no hurry; gathered, one costs a fifth (performance.md 6)."""

MANY = 128
"""Most updates of a part: who speaks for many pilots says many at a time, and two parts make a transaction."""

TRUST_S = 0.25
"""So old may be what is known of a queue while a pilot gets a job by it: a change is that late for a busy queue."""

Model = TypeVar("Model", bound=BaseModel)
Made: TypeAlias = Callable[[Any], bytes]
"""What makes the body of an answer from what the future of a call brings."""

Wanted: TypeAlias = tuple[PilotAsk, dispatch.Say]
Reported: TypeAlias = UpdateAnswer | Exception
Begun: TypeAlias = tuple["asyncio.Future[Any]", Made]
Begin: TypeAlias = Callable[[dict[str, object]], Begun]
Answer: TypeAlias = tuple[int, bytes, bytes]
"""Status, lines of headers, body."""


def as_lines(headers: Headers) -> bytes:
    """Headers as they go over the wire."""
    return b"".join([b"%b: %b\r\n" % one for one in headers])


class HotLanes:
    """The batcher of one process, its lanes, and what they keep in memory."""

    def __init__(self, context: Context) -> None:
        board = self.board = Board(trust_s=TRUST_S)
        self.parked = Parked(context.engine)

        def acquire(connection: Connection, asks: Sequence[Wanted]) -> list[dispatch.Answer]:
            return dispatch.acquire_many(context, connection, asks, board)

        def report(connection: Connection, news: Sequence[JobUpdate]) -> list[UpdateAnswer]:
            return dispatch.take_reports(connection, news, board)

        def report_parts(connection: Connection, parts: Sequence[Sequence[JobUpdate]]) -> list[list[Reported]]:
            return report_in_parts(lambda news: report(connection, news), parts)

        self.acquire = Lane(acquire, "acquire")
        self.report = Lane(report, "report")
        self.beat = Lane(report, "beat", pace_s=BEAT_PACE_S)
        self.many = Lane(report_parts, "many", most=2)
        self.batcher = Batcher(context.engine, (self.acquire, self.report, self.beat, self.many))

    def lane_of(self, news: JobUpdate) -> Lane[JobUpdate, UpdateAnswer]:
        """Reports that end a job do not wait in one batch with signs of life."""
        return self.beat if news.status in dispatch.BEATS else self.report

    async def acquired(self, ask: PilotAsk) -> tuple[HandedJob, ...]:
        """The jobs that one pilot gets, by the batch that takes its ask next."""
        (answer,) = self.batcher.ask(self.acquire, [(ask, dispatch.plainly)])
        jobs: tuple[HandedJob, ...] = await answer
        return jobs

    async def updated(self, news: JobUpdate) -> UpdateAnswer:
        """What one pilot hears on its report, once that is committed."""
        (answer,) = self.batcher.ask(self.lane_of(news), [news])
        return await answer

    async def all_updated(self, news: Sequence[JobUpdate]) -> list[UpdateAnswer]:
        """What somebody hears who reports on many jobs, in order; nothing before all is committed."""
        parts = [news[start : start + MANY] for start in range(0, len(news), MANY)]
        asked = self.batcher.ask(self.many, parts)
        if asked:
            await asyncio.wait(asked)
        answers: list[UpdateAnswer] = []
        for part in asked:
            for one in part.result():
                if isinstance(one, Exception):
                    raise one
                answers.append(one)
        return answers


def report_in_parts(
    report: Callable[[Sequence[JobUpdate]], list[UpdateAnswer]], parts: Sequence[Sequence[JobUpdate]]
) -> list[list[Reported]]:
    """Report on all parts together; a part that is tried alone has its updates tried alone, too, if they fail."""
    if len(parts) > 1:
        answers = iter(report([one for part in parts for one in part]))
        return [list(islice(answers, len(part))) for part in parts]
    found = dispatch.each_alone(report, parts[0])
    for one in found:
        if isinstance(one, Exception) and dispatch.is_down(one):
            raise one
    return [found]


class HotCalls:
    """The hot calls of one process. Each begins with a future and is finished when that is done."""

    def __init__(self, app: FastAPI, context: Context, lanes: HotLanes) -> None:
        self.heads = Heads()
        self._callers = Callers(app)
        self._settings = context.settings
        self._source = context.settings.api_url
        self._lanes = lanes
        self._calls: dict[str, tuple[Policy, Begin]] = {
            f"{PREFIX}acquire_jobs": (Policy.TAKE_JOBS, self._acquire),
            f"{PREFIX}update_job": (Policy.REPORT_JOBS, self._update),
            BULK: (Policy.REPORT_JOBS, self._update_bulk),
        }
        self._paths = {path.encode(): path for path in self._calls}

    @property
    def are_served(self) -> bool:
        """Whether hot calls are served now: not before the start, nor once the server stops."""
        return self._lanes.batcher.is_running

    def path_of(self, url: bytes) -> str | None:
        """The path of a hot call; None: it is none, or none is served now."""
        return self._paths.get(url) if self.are_served else None

    def begin(self, path: str, headers: Headers, client: tuple[str, int] | None, body: bytes) -> Begun | None:
        """Begin a call; None: the routes shall answer."""
        policy, begin = self._calls[path]
        try:
            value = _value(body)
            # Of a bulk only those updates are looked at that are more than plain words.
            if path != BULK and _may_be_deep(body):
                _check_depth(value)
            if not may(self._callers.identify(headers, client), policy):
                return None
            return begin(value)
        except (_Cold, Forbidden):
            return None
        except Exception as error:  # noqa: BLE001 - answered as those that come later are
            return _failed(error)

    def finish(self, path: str, made: Made, answer: "asyncio.Future[Any]") -> Answer:
        """The answer of a call whose future is done: status, headers, body."""
        try:
            body = made(answer.result())
        except PandaError as error:
            response = refusal(path, error)
        except DATABASE_LOST as error:
            response = database_lost("POST", path, error)
        except Exception as error:  # noqa: BLE001 - the last resort
            response = defect("POST", path, error)
        else:
            return 200, b"content-length: %d\r\ncontent-type: application/json\r\n" % len(body), body
        return response.status_code, as_lines(response.raw_headers), bytes(response.body)

    def _acquire(self, value: dict[str, object]) -> Begun:
        try:
            understood = ask_of(value)
        except ValidationError:
            raise _Cold from None
        if understood is None:
            raise _Cold  # Harvester gets other dictionaries; jobs of one task are looked for in another way
        ask, wait_s = understood
        if wait_s:
            return asyncio.ensure_future(self._waited(ask, wait_s)), self._jobs_said
        (answer,) = self._lanes.batcher.ask(self._lanes.acquire, [(ask, self._jobs_said)])
        return answer, _as_said

    def _jobs_said(self, jobs: Sequence[HandedJob]) -> bytes:
        return jobs_json(self._settings, jobs, self._source)

    async def _waited(self, ask: PilotAsk, seconds: float) -> tuple[HandedJob, ...]:
        """Ask, and again each time that jobs became ready at the pilot's site, until it gets some or time is over.

        Who waited has so much less time left for a job.
        """
        loop = asyncio.get_running_loop()
        end, parked, first = loop.time() + seconds, self._lanes.parked, ask
        woken = False
        while self._lanes.batcher.is_running:
            place = self._lanes.board.place(ask.queue)
            told = parked.told(None if place is None else place.site_id)
            if jobs := await self._lanes.acquired(ask):
                return jobs
            place = self._lanes.board.place(ask.queue)
            if place is None or not parked.has_room or (left := end - loop.time()) <= 0:
                break
            if woken:
                parked.wake(place.site_id, 1)
            woken = await parked.wait(place.site_id, left, told)
            if not woken:
                break
            if first.remaining_s is not None:
                ask = first._replace(remaining_s=max(0, int(first.remaining_s - seconds + end - loop.time())))
        return ()

    def _update(self, value: dict[str, object]) -> Begun:
        try:
            news = update_of(value)
        except ValidationError:
            raise _Cold from None
        (answer,) = self._lanes.batcher.ask(self._lanes.lane_of(news), [news])
        return answer, lambda found: update_json(news.job_id, found)

    def _update_bulk(self, value: dict[str, object]) -> Begun:
        told = _list_of(value)
        parts: Sequence[Part] | None = None if told is None else list(map(beat_of, told))  # type: ignore[arg-type]
        if not parts or not all(parts):
            _check_depth(value)
            parts = parts_of(_understood(UpdateJobsBulk, value).job_list)
        good = [one for one in parts if isinstance(one, JobUpdate)]
        answers = asyncio.ensure_future(self._lanes.all_updated(good))
        return answers, lambda found: as_json(bulk_envelope(parts, found))


def _list_of(value: dict[str, object]) -> list[dict[str, object]] | None:
    """The updates of a bulk that is nothing but a list of them; None: the model has to look at it."""
    told = value.get("job_list")
    if len(value) > 1 or told.__class__ is not list or not 0 < len(told) <= MOST_UPDATES:
        return None
    return told if all(one.__class__ is dict for one in told) else None


def _as_said(answer: bytes) -> bytes:
    return answer


class _Cold(Exception):
    """Not for the hot way: the routes shall answer."""


def _failed(error: Exception) -> Begun:
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    failed.set_exception(error)
    return failed, bytes


def _value(body: bytes) -> dict[str, object]:
    try:
        value = parsed(body)
    except (ValueError, PandaError):
        raise _Cold from None
    if not isinstance(value, dict):
        raise _Cold
    return value


def _check_depth(value: dict[str, object]) -> None:
    if depth_exceeds(value, DEPTH_LIMIT):
        raise _Cold


def _may_be_deep(body: bytes) -> bool:
    return body.count(b"{") + body.count(b"[") > DEPTH_LIMIT


def _understood(model: type[Model], value: object) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError:
        raise _Cold from None
