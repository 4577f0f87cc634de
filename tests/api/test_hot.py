"""The hot way answers as the routes do, byte for byte; one bad request fails alone; nothing waits for ever."""

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
import requests
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.util.concurrency import await_only

from panda.domain.dispatch import JobUpdate, UpdateAnswer
from panda.domain.states import JobStatus
from panda.embedded import Address
from panda.errors import Busy, Unavailable
from panda.services.context import Context
from panda.store.engine import make_engine
from panda_api import batch
from panda_api.app import build
from panda_api.batch import Batcher, Lane
from panda_api.hot import report_in_parts
from panda_api.render import job_json, wire_job
from tests.api.conftest import load_grid
from tests.api.requests_of import a_file, a_task_form, an_ask
from tests.api.test_render import JOB
from tests.support.builders import a_context
from tests.support.database import cloned_database
from tests.support.serving import Caller, serving
from tests.support.telling import tell

PILOT = "/api/v1/pilot"
_numbers = itertools.count(1)


class Way:
    """One app on a database of its own, with a task of three jobs at ALPHA."""

    def __init__(self, cluster: Address, folder: Path, end: ExitStack, *, hot: bool) -> None:
        url = end.enter_context(cloned_database(cluster, f"way_{next(_numbers)}"))
        engine = make_engine(url)
        end.callback(engine.dispose)
        self.ctx: Context = a_context(engine, folder, notify_key="the-key", api_port=25080)
        load_grid(self.ctx, folder)
        app = build(self.ctx)
        if not hot:
            app.hot = None
        self.caller = Caller(end.enter_context(serving(app)))
        for queue in ("ALPHA", "BETA"):
            self.caller.post(f"{PILOT}/acquire_jobs", an_ask(queue))
        form = a_task_form(site="ALPHA", n_jobs=6)
        tell(self.ctx, self.caller.post("/api/v1/task/submit", {"request": form}).json()["data"])

    def said(self, path: str, body: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
        """What comes back: status, headers but the date, bytes."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | more
        answer = requests.post(self.caller.address + f"{PILOT}/{path}", data=text, headers=headers, timeout=30)
        known = {name.lower(): value for name, value in answer.headers.items() if name.lower() != "date"}
        return answer.status_code, known, answer.content


@pytest.fixture(scope="module")
def ways(cluster: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Way]]:
    """The hot way and the way of the routes."""
    with ExitStack() as end:
        yield [Way(cluster, tmp_path_factory.mktemp(f"way{hot}"), end, hot=hot) for hot in (True, False)]


def update(job_id: int, status: str, **more: Any) -> dict[str, Any]:
    return {"job_id": job_id, "attempt_nr": 1, "lease": 1, "job_status": status, "node": "wn1", **more}


def nested(depth: int) -> object:
    return {"}": nested(depth - 1), "{": 0} if depth else 1


REPORT = {"mc.t1._000001.root": a_file(), "mc.t1._000001.log.tgz": a_file()}
NUMBER = str(UUID(int=7))
STEPS: list[tuple[str, Any]] = [
    ("acquire_jobs", an_ask("BETA")),
    ("acquire_jobs", an_ask("GAMMA")),
    ("acquire_jobs", an_ask()),
    ("acquire_jobs", an_ask(n_jobs=2, request_id=NUMBER, memory="None", worker_id=4, harvester_id="h")),
    ("acquire_jobs", an_ask(n_jobs=2, request_id=NUMBER)),
    ("acquire_jobs", an_ask(n_jobs=0)),
    ("acquire_jobs", {}),
    ("acquire_jobs", an_ask(n_jobs="many", cpu="fast", request_id="none")),
    ("acquire_jobs", an_ask(prod_source_label="user")),
    ("acquire_jobs", []),
    ("acquire_jobs", b""),
    ("acquire_jobs", b"{"),
    ("acquire_jobs", b'{"site_name": NaN}'),
    ("acquire_jobs", b"[" * 100 + b"]" * 100),
    ("acquire_jobs", b'{"site_name": "ALPHA", "node": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}"),
    ("acquire_jobs", b'{"site_name": "\\ud800", "n_jobs": 1}'),
    ("update_job", update(1, "starting")),
    ("update_job", update(1, "running")),
    ("update_job", update(1, "running", cpu_consumption_time="12.5", max_rss=1000)),
    ("update_job", update(1, "running", attempt_nr=2)),
    ("update_job", update(1, "running", lease=2)),
    ("update_job", update(6, "running", lease=0)),
    ("update_job", update(999, "running")),
    ("update_job", update(1, "done")),
    ("update_job", update(1, "finished", job_output_report={"bad/name": a_file()})),
    ("update_job", update(1, "finished", job_output_report=json.dumps(REPORT))),
    ("update_job", update(1, "finished", job_output_report=REPORT)),
    ("update_job", update(1, "failed")),
    ("update_jobs_bulk", {"job_list": [update(2, "running"), {"job_id": "x"}, update(2, "running"), update(3, "failed")
    ]}),
    ("update_jobs_bulk", {"job_list": []}),
    ("update_jobs_bulk", {"job_list": [{}]}),
    ("update_jobs_bulk", {"job_list": [update(2, "running"), update(3, "running"), update(2, "running", lease=2)]}),
    ("update_jobs_bulk", {"job_list": [update(2, "running")], "harvester_id": "h"}),
    ("update_jobs_bulk", {"job_list": [update(2, "running")], "harvester_id": 7}),
    ("update_jobs_bulk", {"job_list": [update(2, "running"), update(999, "running")] * 150}),
    ("update_jobs_bulk", {"job_list": [update(2, "running")] * 1001}),
    ("update_jobs_bulk", {"job_list": [update(2, "running"), 7]}),
    ("update_jobs_bulk", {"job_list": {"a": 1}}),
    ("update_jobs_bulk", {"job_list": [update(2, "running"), update(2, "running", note=nested(40))]}),
    ("update_jobs_bulk", {"job_list": [update(2, "running")], "note": nested(40)}),
]  # fmt: skip


def test_every_answer_is_that_of_the_routes_byte_for_byte(ways: Sequence[Way]) -> None:
    hot, routes = ways
    for path, body in STEPS:
        assert hot.said(path, body) == routes.said(path, body), (path, body)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "elsewhere.example"},
        {"Content-Type": "application/json; charset=utf-8"},
    ],
)
def test_who_may_not_hears_it_in_the_same_words(ways: Sequence[Way], headers: dict[str, str]) -> None:
    hot, routes = ways
    assert hot.said("acquire_jobs", an_ask("BETA"), **headers) == routes.said("acquire_jobs", an_ask("BETA"), **headers)


def test_the_first_calls_really_took_the_hot_way(ways: Sequence[Way], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = Batcher.ask

    def noted(self: Batcher, lane: Lane[Any, Any], news: Sequence[Any]) -> Any:
        asked.append(lane.name)
        return ask(self, lane, news)

    monkeypatch.setattr(Batcher, "ask", noted)
    ways[0].said("acquire_jobs", an_ask("BETA"))
    ways[0].said("update_job", update(4711, "running"))
    ways[0].said("update_job", update(4711, "failed"))
    assert asked == ["acquire", "beat", "report"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"inputs": ()},
        {"inputs": (), "parameters": '"\\ \x01PandaID\x01 é\n'},
        {"inputs": (), "outputs": ()},
        {"inputs": (), "outputs": JOB.outputs[1:2], "cloud": None, "release": ""},
    ],
)
def test_a_form_that_is_filled_in_is_the_job(change: dict[str, Any]) -> None:
    job = JOB._replace(**change, common=("a task", str(change)))
    for one in (job, job._replace(job_id=5, ordinal=77, lease=9, priority=-3, attempt=1, parameters="x")):
        assert job_json(one, "http://x") == orjson.dumps(wire_job(one, "http://x"))


# --- the batcher ----------------------------------------------------------------------------------------------------
async def ask_all(batcher: Batcher, lane: Lane[Any, Any], asked: Sequence[object]) -> list[object]:
    return list(await asyncio.gather(*batcher.ask(lane, asked), return_exceptions=True))


def test_a_bad_one_fails_alone_and_the_others_are_served_together(ctx: Context) -> None:
    sizes: list[int] = []

    def divide(connection: Connection, numbers: Sequence[object]) -> list[object]:
        with connection.begin():
            sizes.append(len(numbers))
            return [connection.exec_driver_sql(f"SELECT 12 / {number}").scalar() for number in numbers]

    async def run() -> list[object]:
        lane = Lane(divide, "divide")
        batcher = Batcher(ctx.engine, [lane])
        batcher.start()
        try:
            return await ask_all(batcher, lane, [1, 2, 0, 4])
        finally:
            await batcher.stop()

    answers = asyncio.run(run())
    assert answers[:2] + answers[3:] == [12, 6, 3]
    assert "division by zero" in str(answers[2])
    assert sizes == [4, 1, 1, 1, 1]


def test_one_update_of_a_part_fails_alone_and_a_lost_database_fails_all() -> None:
    taken: list[int] = []

    def report(news: Sequence[JobUpdate]) -> list[UpdateAnswer]:
        jobs = [one.job_id for one in news]
        if 13 in jobs:
            raise ValueError("an unlucky number")
        if 99 in jobs:
            raise OperationalError("UPDATE", {}, Exception("the server closed the connection"))
        taken.extend(jobs)
        return [UpdateAnswer(accepted=True, note=str(job)) for job in jobs]

    def parts(*every: Sequence[int]) -> list[list[JobUpdate]]:
        return [[JobUpdate(job, JobStatus.RUNNING) for job in one] for one in every]

    together = report_in_parts(report, parts([1, 2], [3]))
    assert [[one.note for one in part if isinstance(one, UpdateAnswer)] for part in together] == [["1", "2"], ["3"]]
    (alone,) = report_in_parts(report, parts([4, 13, 5]))
    assert [isinstance(one, ValueError) for one in alone] == [False, True, False]
    assert taken == [1, 2, 3, 4, 5]
    with pytest.raises(OperationalError):
        report_in_parts(report, parts([6, 99]))


def test_a_lost_connection_fails_what_it_served_and_the_next_call_works(ctx: Context) -> None:
    def end(connection: Connection, orders: Sequence[object]) -> list[object]:
        with connection.begin():
            if "die" in orders:
                connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
            return [connection.exec_driver_sql("SELECT 1").scalar() for _ in orders]

    async def run() -> list[list[object]]:
        lane = Lane(end, "end")
        batcher = Batcher(ctx.engine, [lane])
        batcher.start()
        try:
            return [await ask_all(batcher, lane, orders) for orders in (["live"], ["die", "live"], ["live"] * 3)]
        finally:
            await batcher.stop()

    first, lost, last = asyncio.run(run())
    assert (first, last) == ([1], [1, 1, 1])
    assert all(isinstance(one, Exception) for one in lost)


def test_a_full_lane_refuses_and_what_waited_too_long_is_never_done(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_WAITING", 3)
    monkeypatch.setattr(batch, "BESIDE", 1)
    done: list[object] = []

    async def run() -> list[object]:
        begun: asyncio.Queue[None] = asyncio.Queue()
        gate = asyncio.Event()

        def serve(_connection: Connection, asked: Sequence[object]) -> list[object]:
            begun.put_nowait(None)
            await_only(gate.wait())
            done.extend(asked)
            return list(asked)

        lane = Lane(serve, "slow")
        batcher = Batcher(ctx.engine, [lane], deadline_s=0.2)
        batcher.start()
        try:
            running = []
            for name in ("first", "second"):  # as many as run at once
                running += batcher.ask(lane, [name])
                await begun.get()
            waiting = batcher.ask(lane, ["a", "b", "c"])
            with pytest.raises(Busy):
                batcher.ask(lane, ["d"])
            late = await asyncio.gather(*waiting, return_exceptions=True)
            gate.set()
            return [*late, *await asyncio.gather(*running)]
        finally:
            gate.set()
            await batcher.stop()

    answers = asyncio.run(run())
    assert [type(one) for one in answers[:3]] == [Unavailable] * 3
    assert answers[3:] == ["first", "second"]
    assert sorted(map(str, done)) == ["first", "second"]


def test_an_idle_pilot_is_woken_by_the_activation_of_jobs_at_its_site(ctx: Context, caller: Caller) -> None:
    caller.post(f"{PILOT}/acquire_jobs", an_ask("BETA"))
    caller.post(f"{PILOT}/acquire_jobs", an_ask("ALPHA"))
    task = caller.post("/api/v1/task/submit", {"request": a_task_form(site="ALPHA", n_jobs=2)}).json()["data"]
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(Caller(caller.address).post, f"{PILOT}/acquire_jobs", an_ask(node=f"wn{n}", wait_time=60))
            for n in range(2)
        ]
        nobody = pool.submit(Caller(caller.address).post, f"{PILOT}/acquire_jobs", an_ask("BETA", wait_time=1))
        assert nobody.result(30).json()["data"]["StatusCode"] == 20
        assert not any(one.done() for one in waiting)
        tell(ctx, task)
        jobs = [one.result(30).json()["data"]["jobs"] for one in waiting]
    assert sorted(len(one) for one in jobs) == [1, 1]
