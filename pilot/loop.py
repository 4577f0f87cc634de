"""A pilot's life: look around, ask for jobs, run them one after the other, deliver what others left, end."""

import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pilot import runjob
from pilot.aside import unless_stopped
from pilot.client import JsonObject, Offer, Server
from pilot.delivery import Courier
from pilot.errors import ServerAwayError, ServerRefusedError
from pilot.facts import NodeFacts, look_around
from pilot.processes import host_name, own_identity
from pilot.report import Reporter, Timing
from pilot.settings import PilotSettings
from pilot.steps import LOG, one_line
from pilot.stop import StopRequest
from pilot.storage import Storages
from pilot.workspace import Workspace, write_json

VERSION = "1"
REFUSED = 1
SERVER_AWAY = 3
_RETRY_AFTER_S = 10.0
_LONGEST_WAIT_S = 55.0
_ANSWER_MARGIN_S = 5.0
"""How much earlier than our own time limit the server has to answer who waits there."""

_SHORTEST_WAIT_S = 0.2
_LAST_BACK_OFF_S = 30.0
_JITTER = 0.1
_RECOVERY_INTERVAL_S = 30.0

Answer = TypeVar("Answer")


class Pilot:
    """One pilot. `run` is its whole life."""

    def __init__(self, settings: PilotSettings, server: Server, stop: StopRequest, began: float) -> None:
        self._settings = settings
        self._server = server
        self._asking_server = server.clone()
        self._stop = stop
        self._began = began
        self._idle_since = began
        self._recovered_at = float("-inf")
        self._jobs: list[int] = []
        self._failed = 0
        self._space = Workspace(settings.workdir)
        self._batch_id = settings.batch_id or own_identity().text

    def run(self) -> int:
        """Exit code: 0 (failed jobs are reported, not returned), REFUSED or SERVER_AWAY."""
        self._note("starting")
        code = 0
        try:
            queue = self._patiently(lambda: self._server.queue(self._settings.queue))
            self._tell_server("started")
            self._work(queue)
        except ServerRefusedError as error:
            LOG.error("the server refuses: %s", one_line(error))
            code = REFUSED
        except ServerAwayError as error:
            LOG.error("the server is away: %s", one_line(error))
            code = SERVER_AWAY
        self._note("ended", exit_code=code)
        self._tell_server("finished")
        return code

    def _work(self, queue: JsonObject) -> None:
        storages = Storages(self._server, queue)
        courier = Courier(self._server, storages, self._space, self._stop)
        around = runjob.Surroundings(
            settings=self._settings,
            queue=queue,
            server=self._server,
            heartbeat_server=self._server.clone(),
            storages=storages,
            space=self._space,
            courier=courier,
            stop=self._stop,
            reporter=self._reporter(),
        )
        self._idle_since = time.monotonic()
        initial_setup = self._idle_since - self._began
        while not self._stop.pilot_ends:
            asked_at = time.monotonic()
            offer = self._ask(queue, courier)
            if not offer.jobs:
                break
            for raw in offer.jobs:
                timing = Timing(getjob=time.monotonic() - asked_at, initial_setup=initial_setup)
                if self._run_one(raw, around, timing) == runjob.REFUSED:
                    raise ServerRefusedError("the job it offered")
            initial_setup = 0.0
            self._idle_since = time.monotonic()
            if not self._may_ask_again(queue):
                break
        LOG.info("the pilot ends after %d jobs (%d failed)", len(self._jobs), self._failed)

    def _run_one(self, raw: JsonObject, around: runjob.Surroundings, timing: Timing) -> str:
        self._note("busy", raw.get("PandaID"))
        status = runjob.run_job(raw, around, timing)
        self._jobs.append(int(raw.get("PandaID") or 0))
        self._failed += status in ("failed", runjob.REFUSED)
        return status

    def _ask(self, queue: JsonObject, courier: Courier) -> Offer:
        """Ask until there is work; an empty offer when the patience or the time is over, or the pilot must end.

        The pilot waits in the server, which wakes it when jobs come: an idle one costs one request a minute. Who is
        answered at once, since the server has no room for waiting pilots, asks again when the answer says.
        """
        self._note("idle")
        while True:
            if time.monotonic() - self._recovered_at > _RECOVERY_INTERVAL_S:
                courier.recover(self._settings.queue)
                self._recovered_at = time.monotonic()
            end = min(self._idle_since + self._settings.patience, self._deadline(queue))
            asked_at = time.monotonic()
            wait_s = self._wait_time(end - asked_at)
            offer = self._ask_once(look_around(self._settings.workdir, queue), queue, wait_s)
            if offer.jobs:
                return offer
            pause = _SHORTEST_WAIT_S
            if not wait_s or time.monotonic() - asked_at < wait_s:
                pause = max(pause, offer.retry_after if offer.retry_after is not None else _RETRY_AFTER_S)
            pause *= 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 - spreads the pilots, guards nothing
            if pause > end - time.monotonic() or self._stop.wait(pause):
                return offer

    def _wait_time(self, left: float) -> int:
        """How long (s) the server may keep the next answer back; 0: not at all."""
        return max(0, int(min(_LONGEST_WAIT_S, self._settings.http_timeout - _ANSWER_MARGIN_S, left)))

    def _ask_once(self, facts: NodeFacts, queue: JsonObject, wait_s: int) -> Offer:
        """One request for work; a lost answer is asked for again under the same request id."""
        settings = self._settings
        request: JsonObject = {
            "site_name": settings.queue,
            "computing_element": settings.queue,
            "node": facts.node,
            "prod_source_label": settings.label,
            "n_jobs": 1,
            "memory": facts.memory_mb,
            "disk_space": facts.disk_mb,
            "cpu": facts.cpu_mhz,
            "cores": facts.cores,
            "vo": settings.vo,
            "releases": list(facts.releases) if facts.releases is not None else None,
            "scheduler_id": settings.factory or "pilot",
            "harvester_id": settings.factory or None,
            "worker_id": settings.worker_id,
            "batch_id": self._batch_id,
            "request_id": str(uuid.uuid4()),
            "wait_time": wait_s,
        }

        def attempt() -> Offer:
            left = self._deadline(queue) - time.monotonic()
            remaining = {"remaining_time": max(0, int(left))} if left < float("inf") else {}
            answer = unless_stopped(lambda: self._asking_server.acquire_jobs(request | remaining), self._stop)
            return answer if answer is not None else Offer(())

        return self._patiently(attempt)

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """Repeat a call with back-off while the server is away and the patience lasts."""
        give_up = time.monotonic() + self._settings.patience
        pause = 0.5
        while True:
            try:
                return call()
            except ServerAwayError as error:
                LOG.warning("%s; next try in %.1f s", one_line(error), pause)
                if time.monotonic() + pause > give_up or self._stop.wait(pause):
                    raise
                pause = min(2 * pause, _LAST_BACK_OFF_S)

    def _deadline(self, queue: JsonObject) -> float:
        """When (monotonic) this pilot's time is over: its own lifetime, else the queue's maxtime."""
        lifetime = self._settings.lifetime or float(queue.get("maxtime") or 0)
        return self._began + lifetime if lifetime else float("inf")

    def _may_ask_again(self, queue: JsonObject) -> bool:
        """A second job is wanted by the queue's timefloor (min) or by --lifetime, if that much time is left."""
        floor_s = 60 * float(queue.get("timefloor") or 0)
        if not floor_s and self._settings.lifetime is None:
            return False
        return self._deadline(queue) - time.monotonic() > floor_s

    def _reporter(self) -> Reporter:
        settings = self._settings
        worker = str(settings.worker_id) if settings.worker_id is not None else "-"
        return Reporter(
            queue=settings.queue,
            node=host_name(),
            batch_id=self._batch_id,
            scheduler_id=settings.factory or "pilot",
            pilot_id=f"{settings.factory or 'pilot'}|{worker}|{VERSION}",
        )

    def _tell_server(self, status: str) -> None:
        """Tell the server that this worker starts or ends; not worth a failure."""
        if not self._settings.factory or self._settings.worker_id is None:
            return
        try:
            self._server.update_worker_status(
                self._settings.factory, self._settings.worker_id, status, self._settings.queue, host_name()
            )
        except (ServerAwayError, ServerRefusedError) as error:
            LOG.warning("worker status %s is not reported: %s", status, one_line(error))

    def _note(self, state: str, job_id: object = None, exit_code: int | None = None) -> None:
        """Keep the state file true: what the pilot does now, and what it has done; the factory reads it."""
        path: Path | None = self._settings.state_file
        if path is not None:
            job = int(str(job_id)) if str(job_id).isdigit() else None
            content = {"state": state, "job": job, "jobs": self._jobs[-100:], "failed": self._failed, "exit": exit_code}
            write_json(path, content, durable=False)
