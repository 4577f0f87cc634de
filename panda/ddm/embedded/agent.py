"""The transfer agent: copies files, tells of events, keeps house. Its process is `python -m panda.ddm.embedded.agent`.

One loop claims files and writes down how copies ended (what gathered while the last commit ran is the next batch);
threads copy, listen to the database, deliver events and do what time asks. Any number of agents may run. All state is
in the database: an agent may be killed at any moment, and another one or its successor goes on.
"""

import argparse
import logging
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from sqlalchemy import Connection, Engine, create_engine, inspect, text

from panda import embedded, settings
from panda.ddm.embedded import claims, copier, events, notify, outcomes, upkeep
from panda.ddm.embedded.claims import Claim, Claimer, Limits, Round
from panda.ddm.embedded.copier import Job, Outcome
from panda.ddm.embedded.listening import Listener
from panda.ddm.embedded.notify import Courier
from panda.ddm.embedded.outcomes import Patience
from panda.ddm.embedded.pace import Buckets
from panda.ddm.embedded.schema import metadata
from panda.ddm.embedded.transactions import run
from panda.ddm.errors import Unavailable
from panda.errors import PandaError, SchemaMismatch
from panda.settings import Settings
from panda.signals import on_signals

log = logging.getLogger(__name__)

SUBSCRIPTION = "panda"
NOTIFY_PATH = "/api/v1/ddm/notify"
_MOST_COPIES = 1000  # of all agents together
_HEARTBEAT_S = 5.0
_LOOK_S = 1.0  # how soon a cancelled copy is noticed, at the latest a third of the lease
_PAUSE_S = 1.0  # after a database error
_FAREWELL_S = 5.0

_ENTER = text("INSERT INTO ddm.agent (host, pid) VALUES (:host, :pid) RETURNING id")
_SEEN = text("UPDATE ddm.agent SET seen_at = now() WHERE id = :id")
_COUNT = text("SELECT count(*) FROM ddm.agent WHERE seen_at > now() - interval '15 seconds'")
_GIVE_BACK = text("""
    UPDATE ddm.request SET state = 'QUEUED', not_before = now(), updated_at = now()
     WHERE state = 'RUNNING' AND agent_id = :id
""")
_LEAVE = text("DELETE FROM ddm.agent WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Options:
    """How an agent works; times in seconds. `notify_url` empty: it tells nobody. `with_faults` is for tests."""

    workers: int
    limits: Limits
    patience: Patience
    lease_s: float = 30.0
    poll_s: float = 1.0
    upkeep_s: float = 60.0
    stuck_retry_s: float = 1800.0
    notify_url: str = ""
    notify_secret: str | None = None
    ca_file: str | None = None
    with_faults: bool = False


class Agent:
    """One transfer agent; `run` returns when `stop` is called (from a signal or another thread)."""

    def __init__(self, engine: Engine, options: Options) -> None:
        self._engine = engine
        self._options = options
        self._stop = threading.Event()
        self._work = threading.Event()
        self._news = threading.Event()
        self._chores = threading.Event()
        self._ended: SimpleQueue[tuple[Claim, Outcome | None]] = SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._slots: Counter[int] = Counter()
        self._asked = threading.Event()
        self._next_claim = 0.0
        self._buckets = Buckets()
        self._agents = 1
        self._id = 0
        self._name = f"agent {socket.gethostname()}:{os.getpid()}"
        self._next_look = 0.0
        self._next_heartbeat = 0.0

    def stop(self) -> None:
        """Ask the agent to end: copies stop between two blocks and are given back."""
        self._stop.set()
        self._work.set()
        self._news.set()
        self._chores.set()

    def run(self) -> None:
        """Work until `stop`."""
        self._id = run(self._engine, self._enter)
        if self._options.notify_url:
            notify.subscribe(self._engine, SUBSCRIPTION, self._options.notify_url)
        listener = Listener(
            self._engine, self._id, {events.REQUEST_CHANNEL: self._hear_request, events.EVENT_CHANNEL: self._news.set}
        )
        courier = Courier(
            self._engine, self._options.notify_secret, self._options.ca_file, with_faults=self._options.with_faults
        )
        threads = [
            threading.Thread(target=target, args=arguments, name=name, daemon=True)
            for name, target, arguments in (
                ("listener", listener.listen, (self._stop,)),
                ("courier", self._repeat, (lambda: self._deliver(courier), self._news, self._options.poll_s)),
                ("keeper", self._repeat, (self._keep_house, self._chores, self._options.upkeep_s)),
            )
        ]
        for thread in threads:
            thread.start()
        listener.wait_until_heard(self._stop)
        log.info("%s works (id %d, %d copies at a time)", self._name, self._id, self._options.workers)
        with ThreadPoolExecutor(self._options.workers, thread_name_prefix="copy") as pool:
            self._repeat(lambda: self._turn(pool), self._work, self._options.poll_s)
            for job in list(self._jobs.values()):
                job.stop.set()
        self._say_farewell()
        for thread in threads:
            thread.join(_FAREWELL_S)
        log.info("%s ended", self._name)

    def _enter(self, connection: Connection) -> int:
        values = {"host": socket.gethostname(), "pid": os.getpid()}
        return int(connection.execute(_ENTER, values).scalar_one())

    def _repeat(self, turn: Callable[[], bool], wake: threading.Event, pause: float) -> None:
        """Do turns until the end: at once while there is more to do, else when woken or after a pause."""
        while not self._stop.is_set():
            wake.clear()
            try:
                more = turn()
            except Unavailable as error:
                log.warning("%s", error)
                more = False
                self._stop.wait(_PAUSE_S)
            if not more:
                wake.wait(min(pause, _LOOK_S) if self._jobs else pause)

    # Copying ---------------------------------------------------------------------------------------------------------

    def _hear_request(self) -> None:
        self._asked.set()
        self._work.set()

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """Write down what ended, keep leases, claim more; whether to do it again at once."""
        if self._record():
            self._asked.set()
        self._look_around()
        free = self._options.workers - len(self._slots)
        due = self._asked.is_set() or time.monotonic() >= self._next_claim
        if free <= 0 or not due or self._stop.is_set():
            return False
        self._asked.clear()
        self._next_claim = time.monotonic() + self._options.poll_s
        claimed = run(self._engine, lambda connection: self._claim(connection, free))
        slots: dict[int, list[Job]] = {}
        for claim in claimed.claims:
            job = self._jobs[claim.request_id] = Job(claim)
            slots.setdefault(claim.slot, []).append(job)
            self._slots[claim.slot] += 1
        for jobs in slots.values():
            pool.submit(self._copy, jobs)
        if claimed.present or claimed.sourceless:
            self._asked.set()
            return True
        return False

    def _claim(self, connection: Connection, places: int) -> Round:
        claimer = Claimer(self._id, self._options.lease_s, self._options.limits, self._options.with_faults)
        claimed = claims.claim(connection, claimer, places)
        happenings = outcomes.settle_present(connection, claimed.present)
        happenings += outcomes.fail_sourceless(connection, claimed.sourceless, self._options.patience)
        events.write(connection, happenings)
        return claimed

    def _copy(self, jobs: Sequence[Job]) -> None:
        """Copy the files of a slot, one after the other."""
        for job in jobs:
            try:
                outcome = copier.perform(job, self._buckets, self._agents)
            except Exception as error:  # the edge of a thread: nobody else would see it
                log.exception("copying %s failed unexpectedly", job.claim.did)
                outcome = Outcome(job.claim, f"unexpected: {error!r}")
            self._ended.put((job.claim, outcome))
            self._work.set()

    def _record(self) -> bool:
        """Write down how copies ended; whether a slot became free."""
        batch: list[tuple[Claim, Outcome | None]] = []
        while True:
            try:
                batch.append(self._ended.get_nowait())
            except Empty:
                break
        told = [outcome for _, outcome in batch if outcome is not None]
        try:
            if told:
                patience = self._options.patience
                run(self._engine, lambda connection: outcomes.record(connection, told, patience, self._name))
        except Unavailable:
            for item in batch:
                self._ended.put(item)
            raise
        before = len(self._slots)
        for claim, _ in batch:
            del self._jobs[claim.request_id]
            self._slots[claim.slot] -= 1
        self._slots = +self._slots
        return len(self._slots) < before

    def _look_around(self) -> None:
        """Keep leases, stop what is no longer ours, take over from the dead; not more often than needed."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + min(_LOOK_S, self._options.lease_s / 3)
        run(self._engine, self._renew_and_recover)
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + _HEARTBEAT_S
            self._agents = run(self._engine, self._heartbeat)

    def _renew_and_recover(self, connection: Connection) -> None:
        jobs = list(self._jobs.values())
        if jobs:
            ours = claims.renew(connection, [job.claim for job in jobs], self._options.lease_s)
            for job in jobs:
                if job.claim.request_id not in ours:
                    job.stop.set()
        recovered = claims.recover(connection, self._id)
        if recovered:
            log.warning("took over %d files of agents that ended", recovered)

    def _heartbeat(self, connection: Connection) -> int:
        connection.execute(_SEEN, {"id": self._id})
        return int(connection.execute(_COUNT).scalar_one())

    def _say_farewell(self) -> None:
        def leave(connection: Connection) -> None:
            connection.execute(_GIVE_BACK, {"id": self._id})
            connection.execute(_LEAVE, {"id": self._id})

        try:
            self._record()
            run(self._engine, leave)
        except Unavailable as error:
            log.warning("%s", error)

    # Beside the copying ----------------------------------------------------------------------------------------------

    def _deliver(self, courier: Courier) -> bool:
        return courier.deliver() > 0

    def _keep_house(self) -> bool:
        upkeep.expire(self._engine)
        while upkeep.clear_erased(self._engine) and not self._stop.is_set():
            pass
        upkeep.repair(self._engine, self._options.stuck_retry_s)
        upkeep.examine_suspicious(self._engine)
        while upkeep.reap(self._engine) and not self._stop.is_set():
            pass
        upkeep.tidy(self._engine)
        return False


# The process ---------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one agent until SIGTERM or SIGINT; the exit code is 1 when it cannot start."""
    given = _arguments().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=given.log_level)
    try:
        chosen = settings.load()
        engine = _engine(given.database or embedded.database_url(chosen))
        _check_tables(engine)
        agent = Agent(engine, _options(given, chosen))
        on_signals(agent.stop)
        agent.run()
    except PandaError as error:
        log.error("%s", error)  # noqa: TRY400  # a sentence for the operator, no traceback
        return 1
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="panda.ddm.embedded.agent", description="The DDM's transfer agent.")
    parser.add_argument("--database", help="address of the database (default: PANDA_DATABASE_URL or the embedded one)")
    parser.add_argument("--notify", metavar="URL", help="who is told of events (default: the API; '' = nobody)")
    parser.add_argument("--workers", type=int, help="copies at the same time (default: PANDA_DDM__WORKERS)")
    parser.add_argument("--lease", type=float, default=30.0, help="seconds until another agent takes over a copy")
    parser.add_argument("--faults", action="store_true", help="for tests: let the rows of ddm.fault happen")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


def _options(given: argparse.Namespace, chosen: Settings) -> Options:
    ddm = chosen.ddm
    url: str = f"{chosen.api_url}{NOTIFY_PATH}" if given.notify is None else given.notify
    return Options(
        workers=given.workers or ddm.workers,
        limits=Limits(_MOST_COPIES, ddm.link_limit, ddm.site_limit),
        patience=Patience(ddm.tries, ddm.backoff_s, ddm.backoff_max_s),
        lease_s=given.lease,
        poll_s=ddm.poll_s,
        upkeep_s=ddm.expiry_interval_s,
        stuck_retry_s=ddm.stuck_retry_s,
        notify_url=url,
        notify_secret=settings.notify_secret(chosen) if url else None,
        ca_file=str(chosen.ca_file) if chosen.ca_file else None,
        with_faults=given.faults,
    )


def _engine(url: str) -> Engine:
    options = "-c timezone=UTC -c jit=off -c idle_in_transaction_session_timeout=600000"
    arguments = {"application_name": "panda ddm agent", "options": options, "connect_timeout": 10}
    return create_engine(url, pool_size=4, pool_pre_ping=True, connect_args=arguments)


def _check_tables(engine: Engine) -> None:
    """Raise SchemaMismatch unless every table and column that this program uses is there."""

    def work(connection: Connection) -> list[str]:
        inspector = inspect(connection)
        missing = []
        for table in metadata.sorted_tables:
            there = inspector.has_table(table.name, schema=table.schema)
            columns = {c["name"] for c in inspector.get_columns(table.name, schema=table.schema)} if there else set()
            missing += [f"{table.fullname}.{c.name}" for c in table.columns if c.name not in columns]
        return missing

    missing = run(engine, work)
    if missing:
        raise SchemaMismatch(
            f"the database lacks {', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}",  # noqa: PLR2004
            "Run 'panda db upgrade'.",
        )


if __name__ == "__main__":
    sys.exit(main())
