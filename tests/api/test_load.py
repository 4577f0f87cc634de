"""Dispatch under load: no job goes out twice, what is answered is committed, a server that is killed loses nothing."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, text

from panda.services import recover
from panda.services.context import Context
from tests.api.conftest import load_grid
from tests.api.requests_of import a_task_form, an_ask
from tests.support.api_process import api_process
from tests.support.builders import a_context
from tests.support.serving import Caller
from tests.support.telling import tell

ACQUIRE = "/api/v1/pilot/acquire_jobs"
UPDATE = "/api/v1/pilot/update_job"
PILOTS = 24


@pytest.fixture
def ctx(engine: Engine, database: str, tmp_path: Path) -> Context:
    """The grid of two sites on a database that other processes reach too."""
    made = a_context(engine, tmp_path, database_url=database)
    load_grid(made, tmp_path)
    return made


def rows(ctx: Context, query: str, **values: Any) -> list[Any]:
    with ctx.engine.connect() as connection:
        return list(connection.execute(text(query), values))


def a_task(ctx: Context, caller: Caller, name: str, n_jobs: int, **more: Any) -> int:
    """A task whose jobs are all ready at ALPHA."""
    for queue in ("ALPHA", "BETA"):
        caller.post(ACQUIRE, an_ask(queue))
    task = caller.post(
        "/api/v1/task/submit", {"request": a_task_form(name, site="ALPHA", n_jobs=n_jobs, bunch_size=n_jobs, **more)}
    )
    waits_for = tell(ctx, task.json()["data"])
    assert rows(ctx, "SELECT count(*) FROM ready")[0][0] == n_jobs, waits_for
    return int(task.json()["data"])


def together(work: Callable[[int], list[Any]], n: int) -> list[Any]:
    """What n pilots bring back that begin at once."""
    gate = threading.Barrier(n)

    def one(number: int) -> list[Any]:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(n) as pool:
        return [answer for found in pool.map(one, range(n)) for answer in found]


def taken(addresses: Sequence[str]) -> Callable[[int], list[dict[str, Any]]]:
    """A pilot that takes jobs until there are none, or until its server is gone, from one of the servers."""

    def pilot(number: int) -> list[dict[str, Any]]:
        caller = Caller(addresses[number % len(addresses)])
        mine: list[dict[str, Any]] = []
        while True:
            try:
                answer = caller.post(ACQUIRE, an_ask(node=f"wn{number}", n_jobs=1 + number % 3)).json()
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return mine
            if not answer["success"]:
                return mine
            mine += [job | {"asked_by": f"wn{number}"} for job in answer["data"]["jobs"]]

    return pilot


def check_answers(ctx: Context, answers: Sequence[dict[str, Any]]) -> None:
    """Each job went to one pilot, and the database says the same."""
    twice = [job for job, n in Counter(one["PandaID"] for one in answers).items() if n > 1]
    assert not twice
    holders = {
        row.job_id: (row.node, row.lease, row.status)
        for row in rows(ctx, "SELECT h.job_id, h.node, j.lease, j.status FROM in_hand h JOIN job j ON j.id = h.job_id")
    }
    assert {one["PandaID"]: (one["asked_by"], one["lease"], "sent") for one in answers}.items() <= holders.items()


def test_two_servers_on_one_database_share_the_queue(ctx: Context) -> None:
    with api_process(ctx.settings) as first, api_process(ctx.settings) as second:
        a_task(ctx, first.caller, "mc.t1", 240)
        answers = together(taken([first.caller.address, second.caller.address]), PILOTS)
    assert len(answers) == 240
    check_answers(ctx, answers)
    assert rows(ctx, "SELECT count(*) FROM ready")[0][0] == 0
    assert len(rows(ctx, "SELECT 1 FROM job_event WHERE to_state = 'sent'")) == 240


def test_a_server_killed_in_mid_load_loses_nothing(ctx: Context) -> None:
    recover.api_is_up(ctx)
    with api_process(ctx.settings) as api:
        task = a_task(ctx, api.caller, "mc.t1", 400)
        pilot = taken([api.caller.address])

        def killing(number: int) -> list[dict[str, Any]]:
            if number:
                return pilot(number)
            mine = [Caller(api.caller.address).post(ACQUIRE, an_ask(node="wn0")).json() for _ in range(12)]
            api.kill()
            return [job | {"asked_by": "wn0"} for one in mine for job in one["data"]["jobs"]]

        answers = together(killing, PILOTS)
    check_answers(ctx, answers)
    sent = {row.id for row in rows(ctx, "SELECT id FROM job WHERE status = 'sent'")}
    answered = {one["PandaID"] for one in answers}
    assert answered <= sent
    left = rows(ctx, "SELECT count(*) FROM ready")[0][0]
    assert left + len(sent) == 400
    # The pilots that got their answer confirm; what nobody knows of is closed and replaced.
    with ctx.engine.connect() as connection:
        for one in answers:
            connection.execute(text("UPDATE job SET status = 'starting' WHERE id = :j"), {"j": one["PandaID"]})
        connection.execute(text("UPDATE in_hand SET last_seen = now() - interval '1 hour' WHERE job_id = ANY(:jobs)"),
                           {"jobs": sorted(sent - answered)})  # fmt: skip
        connection.execute(text("UPDATE outage SET up_since = now() - interval '1 day', seen_at = now()"))
        connection.commit()
    assert recover.watch(ctx).replaced == len(sent - answered)
    live = rows(
        ctx,
        """SELECT count(*), count(DISTINCT ordinal) FROM job
           WHERE task_id = :t AND (status IS NULL OR status IN ('sent', 'starting'))""",
        t=task,
    )
    assert tuple(live[0]) == (400, 400)


def test_reports_under_load_are_kept_once_and_in_order(ctx: Context) -> None:
    with api_process(ctx.settings) as api:
        a_task(ctx, api.caller, "mc.t1", 48)
        jobs = together(taken([api.caller.address]), 8)

        def life(number: int) -> list[dict[str, Any]]:
            caller = Caller(api.caller.address)
            said = []
            for job in jobs[number::PILOTS]:
                known = {"job_id": job["PandaID"], "attempt_nr": 1, "lease": 1, "node": job["asked_by"]}
                for status in ("starting", "running", "running", "running", "failed", "failed"):
                    body = known | {"job_status": status, "trans_exit_code": 3 if status == "failed" else 0}
                    said.append(caller.post(UPDATE, body).json())
            return said

        answers = together(life, PILOTS)
    assert len(answers) == 48 * 6
    assert all(one["success"] and one["data"] == {"StatusCode": 0, "command": None} for one in answers)
    steps: dict[int, list[str]] = {}
    for row in rows(ctx, "SELECT job_id, to_state FROM job_event WHERE job_id IS NOT NULL ORDER BY id"):
        steps.setdefault(row.job_id, []).append(row.to_state)
    assert set(map(tuple, steps.values())) == {("sent", "starting", "running", "holding")}
    assert len(rows(ctx, "SELECT 1 FROM job_report WHERE verdict = 'failed'")) == 48
    assert rows(ctx, "SELECT count(*) FROM in_hand")[0][0] == 0


def test_shares_and_priorities_hold_over_two_servers_under_load(ctx: Context) -> None:
    """Eight pilots at once on two servers: a share is off by no more than what is under way, a priority too."""
    pilots, turns = 8, 15
    dispatch = ctx.settings.dispatch.model_copy(update={"shares": {"mc": 1.0, "data": 3.0}})
    settings = ctx.settings.model_copy(update={"dispatch": dispatch})
    with api_process(settings) as first, api_process(settings) as second:
        for queue in ("ALPHA", "BETA"):
            first.caller.post(ACQUIRE, an_ask(queue))
        for name, share, priority in (("mc.data", "data", 100), ("mc.low", "mc", 700), ("mc.high", "mc", 900)):
            form = a_task_form(name, site="ALPHA", n_jobs=120, bunch_size=120, share=share, priority=priority)
            tell(ctx, first.caller.post("/api/v1/task/submit", {"request": form}).json()["data"])
        assert rows(ctx, "SELECT count(*) FROM ready")[0][0] == 360
        addresses = [first.caller.address, second.caller.address]

        def pilot(number: int) -> list[dict[str, Any]]:
            caller = Caller(addresses[number % 2])
            asked = [caller.post(ACQUIRE, an_ask(node=f"wn{number}")).json() for _ in range(turns)]
            return [job | {"asked_by": f"wn{number}"} for one in asked for job in one["data"]["jobs"]]

        answers = together(pilot, pilots)
        check_answers(ctx, answers)
        jobs = [one["PandaID"] for one in answers]
        of_share = "SELECT t.share FROM job j JOIN production_task t ON t.id = j.task_id WHERE j.id = ANY(:jobs)"
        given = Counter(row.share for row in rows(ctx, of_share, jobs=jobs))
        assert sum(given.values()) == pilots * turns
        assert abs(given["data"] - 90) <= pilots, given
        together(taken(addresses), pilots)
    order = [
        row.priority
        for row in rows(
            ctx,
            """SELECT t.priority FROM job_event e JOIN production_task t ON t.id = e.task_id
               WHERE e.to_state = 'sent' AND t.share = 'mc' ORDER BY e.id""",
        )
    ]
    assert Counter(order) == {900: 120, 700: 120}
    last_high = max(place for place, priority in enumerate(order) if priority == 900)
    assert order[:last_high].count(700) <= 3 * pilots, "jobs went before others of higher priority"
