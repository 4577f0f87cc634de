"""`python -m pilot.factory`: keeps every queue supplied with pilots, and knows its pilots again after a crash."""

import argparse
import fcntl
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pilot.client import Server
from pilot.errors import ServerAwayError, ServerRefusedError, SettingsError
from pilot.names import NAME
from pilot.processes import host_name
from pilot.settings import add_server_options, positive
from pilot.steps import LOG, log_to_stderr, one_line
from pilot.stop import StopRequest
from pilot.submitters import BatchState, LocalSubmitter, PilotSpec, Submitter
from pilot.supply import QueueDemand, SupplyRules, pilots_to_submit
from pilot.workers import Worker, WorkerBook, WorkerState
from pilot.workspace import read_json

_LAST_BACK_OFF_S = 30.0
_DEFAULT_LIFETIME_S = 86_400
_STOP_POLL_S = 0.05
_REMIND_S = 60.0
_HTTP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class FactorySettings:
    """One factory's settings. Times in s."""

    server: str
    name: str
    workdir: Path
    cycle: float = 2.0
    queues: tuple[str, ...] = ()
    rules: SupplyRules = field(default_factory=SupplyRules)
    pilot_options: tuple[str, ...] = ()
    token_file: Path | None = None
    ca_file: Path | None = None
    http_timeout: float = _HTTP_TIMEOUT_S
    stop_pilots_on_exit: bool = False
    stop_grace: float = 10.0


class Factory:
    """One factory; `cycle` is all it does, again and again."""

    def __init__(self, settings: FactorySettings, server: Server, submitter: Submitter, book: WorkerBook) -> None:
        self._settings = settings
        self._server = server
        self._submitter = submitter
        self._book = book
        self._knows_last_id = False
        self._reminded_at = float("-inf")
        self._reasons: dict[str, str] = {}

    def adopt(self, now: float) -> None:
        """After a restart: find pilots whose start was intended but never noted."""
        intended = [worker for worker in self._book.alive() if not worker.native_id]
        found = self._submitter.find([self._spec(worker, ()) for worker in intended])
        for worker in intended:
            native_id = found.get(worker.worker_id)
            if native_id is None and self._state_file(worker).exists():
                self._book.keep([self._look_at(worker, BatchState.GONE, now)])
            elif native_id is None:
                missed = replace(worker, state=WorkerState.MISSED, ended_at=now, diagnosis="was never started")
                self._book.keep([missed])
            else:
                self._book.keep([replace(worker, state=WorkerState.SUBMITTED, native_id=native_id)])
        self._book.save(durable=True)
        LOG.info("factory %s knows %d living pilots", self._settings.name, len(self._book.alive()))

    def cycle(self, now: float) -> None:
        """Look at the own pilots, tell the server, hear what is wanted, submit. Raises ServerAwayError."""
        self.poll(now)
        self.report(now)
        if not self._knows_last_id:
            known = self._server.current_worker_id(self._settings.name)
            self._book.last_id = max(self._book.last_id, known)
            self._knows_last_id = True
        for raw in self._server.demand():
            demand = QueueDemand.parse(raw)
            if not self._settings.queues or demand.queue in self._settings.queues:
                self._supply(demand, now)

    def poll(self, now: float) -> None:
        """Learn what became of the pilots: the batch system knows who is there, their state files what they do."""
        alive = [worker for worker in self._book.alive() if worker.native_id]
        states = self._submitter.poll([worker.native_id for worker in alive])
        changed = [self._look_at(worker, states[worker.native_id], now) for worker in alive]
        news = [after for before, after in zip(alive, changed, strict=True) if before != after]
        self._book.keep(news)
        forgettable = self._book.forgettable(now)
        for worker in forgettable:
            del self._book.workers[worker.worker_id]
            for path in (self._log_file(worker), self._state_file(worker)):
                path.unlink(missing_ok=True)
        if news or forgettable:
            self._book.save(durable=False)

    def report(self, now: float) -> None:
        """Tell the server every state it does not know, and from time to time that the living are alive."""
        if now - self._reminded_at > _REMIND_S:
            self._book.keep(replace(worker, told=False) for worker in self._book.alive())
            self._reminded_at = now
        untold = [w for w in self._book.workers.values() if not w.told and w.state != WorkerState.SUBMITTING]
        if not untold:
            return
        node = host_name()
        taken = self._server.update_workers(self._settings.name, [worker.wire(node) for worker in untold])
        if not all(taken):
            LOG.warning("the server did not take the state of %d pilots", taken.count(False))
        self._book.keep(replace(worker, told=True) for worker in untold)
        self._book.save(durable=False)

    def stop_pilots(self, wait: Callable[[float], object]) -> None:
        """End all pilots by their identity: first so that they can report, after the grace at once."""
        give_up = time.monotonic() + self._settings.stop_grace
        self._submitter.cancel(self._living())
        while self._living() and time.monotonic() < give_up:
            wait(_STOP_POLL_S)
        self._submitter.cancel(self._living(), force=True)
        while self._living():
            wait(_STOP_POLL_S)
        self.poll(time.time())

    def _living(self) -> list[str]:
        states = self._submitter.poll([worker.native_id for worker in self._book.alive() if worker.native_id])
        return [native_id for native_id, state in states.items() if state != BatchState.GONE]

    def _supply(self, demand: QueueDemand, now: float) -> None:
        if NAME.fullmatch(demand.queue) is None:
            LOG.error("a queue named %r is ignored", demand.queue)
            return
        supply = pilots_to_submit(demand, self._book.stock(demand.queue, now), self._settings.rules)
        if self._reasons.get(demand.queue) != supply.reason or supply.count:
            LOG.info("%s: %d pilots (%s)", demand.queue, supply.count, supply.reason)
            self._reasons[demand.queue] = supply.reason
        if supply.count:
            self._submit(demand, supply.count, now)

    def _submit(self, demand: QueueDemand, count: int, now: float) -> None:
        """Write the intention, start, note the native ids: a crash in between loses and doubles no pilot."""
        first = self._book.last_id + 1
        workers = [
            Worker(number, demand.queue, WorkerState.SUBMITTING, now, cores=demand.cores or 1)
            for number in range(first, first + count)
        ]
        self._book.keep(workers)
        self._book.save(durable=True)
        options = self._pilot_options(demand)
        native_ids = self._submitter.submit([self._spec(worker, options) for worker in workers])
        for worker in workers:
            native_id = native_ids.get(worker.worker_id)
            if native_id is None:
                failed = replace(worker, state=WorkerState.MISSED, ended_at=now, diagnosis="could not be submitted")
                self._book.keep([failed])
            else:
                self._book.keep([replace(worker, state=WorkerState.SUBMITTED, native_id=native_id)])
        self._book.save(durable=False)

    def _look_at(self, worker: Worker, batch_state: BatchState, now: float) -> Worker:
        """The worker as it is now."""
        said = read_json(self._state_file(worker)) or {}
        jobs = [*said.get("jobs", []), *([said["job"]] if said.get("job") is not None else [])]
        seen = replace(worker, jobs=tuple(jobs), failed=int(said.get("failed", 0)))
        state = worker.state
        if batch_state == BatchState.GONE:
            ended_well = said.get("state") == "ended" and said.get("exit") == 0
            state = WorkerState.FINISHED if ended_well else WorkerState.FAILED
            diagnosis = "" if ended_well else f"ended with {said['exit']}" if said.get("exit") else "was killed"
            seen = replace(seen, ended_at=now, diagnosis=diagnosis)
        elif said.get("state") in ("busy", "idle"):
            state = WorkerState.RUNNING if said["state"] == "busy" else WorkerState.IDLE
            seen = replace(seen, started_at=worker.started_at or now)
        if state == worker.state and seen.jobs == worker.jobs:
            return seen
        return replace(seen, state=state, told=False)

    def _spec(self, worker: Worker, options: tuple[str, ...]) -> PilotSpec:
        """Factory, number and folder name a pilot among all processes of the machine."""
        folder = self._settings.workdir / worker.queue
        factory, number = self._settings.name, str(worker.worker_id)
        mark = ("--factory", factory, "--worker-id", number, "--workdir", str(folder))
        state_file = ("--state-file", str(self._state_file(worker)))
        return PilotSpec(worker.worker_id, mark, (*state_file, *options), self._log_file(worker))

    def _pilot_options(self, demand: QueueDemand) -> tuple[str, ...]:
        settings = self._settings
        options = ["--server", settings.server, "--queue", demand.queue, "--label", demand.label or "managed"]
        options += ["--lifetime", str(demand.max_time_s or _DEFAULT_LIFETIME_S)]
        for option, path in (("--token-file", settings.token_file), ("--ca-file", settings.ca_file)):
            options += [option, str(path)] if path is not None else []
        return (*options, *settings.pilot_options)

    def _log_file(self, worker: Worker) -> Path:
        return self._settings.workdir / worker.queue / "pilots" / f"{worker.worker_id}.log"

    def _state_file(self, worker: Worker) -> Path:
        return self._settings.workdir / worker.queue / "pilots" / f"{worker.worker_id}.json"


def run_factory(settings: FactorySettings, stop: StopRequest) -> None:
    """Cycle until somebody wants the end; a server that is away is asked again with back-off, pilots go on."""
    with (settings.workdir / "factory.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"another factory works in {settings.workdir}: use another --workdir") from None
        server = Server(
            settings.server, token_file=settings.token_file, ca_file=settings.ca_file, timeout_s=settings.http_timeout
        )
        factory = Factory(settings, server, LocalSubmitter(), WorkerBook.open(settings.workdir / "factory.json"))
        factory.adopt(time.time())
        pause = settings.cycle
        while True:
            try:
                factory.cycle(time.time())
                pause = settings.cycle
            except (ServerAwayError, ServerRefusedError) as error:
                LOG.warning("no cycle: %s", one_line(error))
                pause = min(2 * pause, max(_LAST_BACK_OFF_S, settings.cycle))
            if stop.wait(pause):
                break
        if settings.stop_pilots_on_exit:
            factory.stop_pilots(time.sleep)
        with suppress(ServerAwayError, ServerRefusedError):
            factory.report(time.time())
        LOG.info("factory %s ends", settings.name)


def parse_settings(arguments: Sequence[str] | None = None) -> FactorySettings:
    """Read the command line; prints what is wrong and exits with 2 if it cannot work."""
    parser = argparse.ArgumentParser("pilot.factory", description="Keep the server's queues supplied with pilots.")
    add_server_options(parser)
    parser.add_argument("--name", required=True, help="name of this factory, unique among those of the server")
    parser.add_argument("--queue", action="append", default=[], help="serve this queue only; may be repeated")
    parser.add_argument("--cycle", type=positive, default=2.0, help="seconds between two looks at the demand (2)")
    parser.add_argument("--max-pending", type=int, default=SupplyRules().max_pending, help="per queue (20)")
    parser.add_argument("--pilot-options", default="", help="further options for every pilot, in one text")
    parser.add_argument("--stop-pilots-on-exit", action="store_true", help="do not leave the pilots running")
    parser.add_argument("--stop-grace", type=positive, default=10.0, help="time between asking and killing (10 s)")
    given = parser.parse_args(arguments)
    if NAME.fullmatch(given.name) is None:
        parser.error(f"--name {given.name!r} has other characters than letters, digits and . _ : + -")
    return FactorySettings(
        server=given.server,
        name=given.name,
        workdir=given.workdir,
        cycle=given.cycle,
        queues=tuple(given.queue),
        rules=SupplyRules(max_pending=given.max_pending),
        pilot_options=tuple(shlex.split(given.pilot_options)),
        token_file=given.token_file,
        ca_file=given.ca_file,
        http_timeout=given.http_timeout or _HTTP_TIMEOUT_S,
        stop_pilots_on_exit=given.stop_pilots_on_exit,
        stop_grace=given.stop_grace,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one factory to its end."""
    settings = parse_settings(arguments)
    log_to_stderr()
    stop = StopRequest()
    stop.listen()
    try:
        run_factory(settings, stop)
    except SettingsError as error:
        LOG.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
