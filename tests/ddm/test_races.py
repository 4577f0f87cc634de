"""Callers and agents at the same time: whatever the order, the counters are right and nothing is forgotten."""

import random
import threading
from collections.abc import Callable

from sqlalchemy import text
from typing_extensions import override

from panda.ddm.embedded import upkeep
from panda.ddm.port import Closed, Did, NotFound, TransferRequest, TransferState
from tests.ddm.bench import Bench, eventually

# Each query finds what must not be.
INVARIANTS = {
    "a hold that waits has a request": """
        SELECT h.* FROM ddm.hold h WHERE h.state <> 'OK' AND NOT EXISTS (
            SELECT FROM ddm.request r WHERE r.file_id = h.file_id AND r.rse = h.rse)""",
    "a request has somebody who waits": """
        SELECT r.* FROM ddm.request r WHERE NOT EXISTS (
            SELECT FROM ddm.hold h WHERE h.file_id = r.file_id AND h.rse = r.rse AND h.state <> 'OK')""",
    "what is held as there is there": """
        SELECT h.* FROM ddm.hold h WHERE h.state = 'OK' AND NOT EXISTS (
            SELECT FROM ddm.replica r WHERE r.file_id = h.file_id AND r.rse = h.rse AND r.state <> 'DELETING')""",
    "a transfer counts its holds": """
        SELECT t.* FROM ddm.transfer t
          LEFT JOIN (SELECT h.transfer_id, count(*) AS total, count(*) FILTER (WHERE h.state = 'OK') AS ok,
                            count(*) FILTER (WHERE h.state = 'STUCK') AS stuck,
                            sum(f.bytes) FILTER (WHERE h.state = 'OK') AS bytes
                       FROM ddm.hold h JOIN ddm.file f ON f.id = h.file_id GROUP BY h.transfer_id) h
                 ON h.transfer_id = t.id
         WHERE t.state IN ('QUEUED', 'MOVING', 'OK', 'STUCK')
           AND (t.total, t.ok, t.stuck, t.bytes)
               <> (coalesce(h.total, 0), coalesce(h.ok, 0), coalesce(h.stuck, 0), coalesce(h.bytes, 0))""",
    "a transfer holds all its dataset's files": """
        SELECT t.* FROM ddm.transfer t JOIN ddm.dataset d ON d.id = t.dataset_id
         WHERE t.state IN ('QUEUED', 'MOVING', 'OK', 'STUCK') AND t.total <> d.files""",
    "a transfer's state follows from its counters": """
        SELECT t.* FROM ddm.transfer t
         WHERE t.state IN ('QUEUED', 'MOVING', 'OK', 'STUCK') AND (t.state = 'OK') <> (t.ok = t.total)""",
    "an ended transfer holds nothing": """
        SELECT h.* FROM ddm.hold h JOIN ddm.transfer t ON t.id = h.transfer_id
         WHERE t.state IN ('CANCELLED', 'EXPIRED')""",
    "a dataset counts its files": """
        SELECT d.* FROM ddm.dataset d
         WHERE NOT d.container AND d.erased_at IS NULL
           AND d.files <> (SELECT count(*) FROM ddm.content c WHERE c.dataset_id = d.id)""",
    "space is the sum of the copies": """
        SELECT e.name FROM ddm.rse e
         WHERE (SELECT coalesce(sum(bytes), 0) FROM ddm.space s WHERE s.rse = e.name)
            <> (SELECT coalesce(sum(f.bytes), 0) FROM ddm.replica r JOIN ddm.file f ON f.id = r.file_id
                 WHERE r.rse = e.name)""",
}


def check_invariants(bench: Bench) -> None:
    with bench.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        for what, query in INVARIANTS.items():
            assert connection.execute(text(query)).all() == [], what


class Caller(threading.Thread):
    """Somebody who does things in random order; refusals that are right are no failure."""

    def __init__(self, bench: Bench, world: "World", seed: int) -> None:
        super().__init__()
        self.bench = bench
        self.world = world
        self.chance = random.Random(seed)
        self.error: BaseException | None = None

    @override
    def run(self) -> None:
        """Sixty random actions."""
        try:
            for _ in range(60):
                self.chance.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0](self)
        except BaseException as error:  # noqa: BLE001  # told in the test's thread
            self.error = error

    def register(self) -> None:
        """Write files and register them."""
        source = self.chance.choice(self.world.rses)
        specs = [self.bench.write(source, size=500) for _ in range(self.chance.randint(1, 4))]
        dataset = self.chance.choice(self.world.datasets)
        result = self.bench.ddm.register_replicas(source, specs, dataset=dataset)
        assert all(isinstance(error, Closed) for _, error in result.failed)
        self.world.files += [spec.did for spec in specs]

    def attach(self) -> None:
        """Attach known files."""
        files = self.chance.sample(self.world.files, min(5, len(self.world.files)))
        self.bench.ddm.attach(self.chance.choice(self.world.datasets), files)

    def ask(self) -> None:
        """Request transfers."""
        asked = [
            TransferRequest(dataset, self.chance.choice(self.world.rses), priority=self.chance.randint(1, 5))
            for dataset in self.chance.sample(self.world.datasets, 2)
        ]
        result = self.bench.ddm.request(asked)
        assert result.failed == []
        self.world.transfers += [i for i in result.ids if i is not None]

    def cancel(self) -> None:
        """Cancel one."""
        if self.world.transfers:
            self.bench.ddm.cancel([self.chance.choice(self.world.transfers)]).raise_first()

    def retry(self) -> None:
        """Try again what is stuck, at another priority."""
        result = self.bench.ddm.update(self.world.transfers[-5:], retry_now=True, priority=2)
        assert all(isinstance(error, NotFound) for _, error in result.failed)

    def lose(self) -> None:
        """Lose a copy that a transfer brought."""
        if self.world.files:
            did = self.chance.choice(self.world.files)
            copies = [c for c in self.bench.ddm.replicas([did]) if "agent" in c.written_by]
            if copies:
                self.bench.ddm.declare_lost(copies[0].rse, [did], "race")

    def keep_house(self) -> None:
        """What time would do."""
        upkeep.reap(self.bench.engine)
        upkeep.repair(self.bench.engine, 0.0)
        upkeep.tidy(self.bench.engine)

    def look(self) -> None:
        """The invariants hold in every snapshot."""
        check_invariants(self.bench)


ACTIONS: dict[Callable[[Caller], None], int] = {
    Caller.register: 6,
    Caller.attach: 4,
    Caller.ask: 5,
    Caller.cancel: 2,
    Caller.retry: 1,
    Caller.lose: 2,
    Caller.keep_house: 1,
    Caller.look: 2,
}


class World:
    """What the callers share."""

    def __init__(self, bench: Bench) -> None:
        self.rses = [bench.rse() for _ in range(3)]
        self.datasets = [bench.dataset() for _ in range(6)]
        self.files: list[Did] = []
        self.transfers: list[str] = []


def test_callers_and_agents_at_once(alone: Bench) -> None:
    world = World(alone)
    for _ in range(2):
        alone.agent()
    callers = [Caller(alone, world, seed) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [caller.error for caller in callers] == [None] * 4
    check_invariants(alone)
    live = [TransferRequest(dataset, rse) for dataset in world.datasets for rse in world.rses]
    transfers = [i for i in alone.ddm.request(live).ids if i is not None]
    alone.ddm.update(transfers, retry_now=True)
    states = eventually(lambda: settled(alone, transfers), "all transfers to end")
    assert states == {TransferState.OK}
    check_invariants(alone)
    for dataset in world.datasets:
        for info in alone.ddm.files(dataset):
            assert all(alone.path(rse, info.did).stat().st_size == info.bytes for rse in world.rses)
    told = [event.seq for event in alone.ddm.changes(0, limit=100_000)]
    assert told == sorted(set(told))


def settled(bench: Bench, transfers: list[str]) -> set[TransferState]:
    """The states of transfers, nothing while one still moves."""
    states = {status.state for status in bench.ddm.status(transfers).values()}
    return states if states <= {TransferState.OK, TransferState.STUCK} else set()
