"""The embedded DDM when agents die: whatever the moment, the work ends as it would have."""

from sqlalchemy import text

from panda.ddm.embedded import faults
from panda.ddm.embedded.faults import Fault, FaultKind
from panda.ddm.port import EventKind, TransferState
from tests.ddm.bench import Bench, eventually

TERMINATE_OTHERS = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
""")


def test_killed_in_the_middle_of_a_copy(alone: Bench) -> None:
    source, target = alone.rse(), alone.rse()
    dataset, files = alone.filled(source, count=3)
    slow = faults.inject(alone.engine, Fault(FaultKind.DELAY, amount=3600))
    victim = alone.agent("--lease", "3600")
    transfer = alone.ask(dataset, target)
    eventually(lambda: alone.parts(target), "the copy to begin")
    victim.kill()
    assert not any(alone.path(target, spec.did).exists() for spec in files)
    faults.lift(alone.engine, slow)
    alone.agent()
    assert alone.reaches(transfer, TransferState.OK).ok == 3
    assert all(alone.content_is_right(target, spec) for spec in files)
    assert alone.parts(target) == []


def test_crashed_between_copy_and_commit(alone: Bench) -> None:
    source, target = alone.rse(), alone.rse()
    dataset, (spec,) = alone.filled(source, count=1)
    faults.inject(alone.engine, Fault(FaultKind.CRASH, remaining=1))
    victim = alone.agent()
    transfer = alone.ask(dataset, target)
    assert victim.process.wait(60) == 70
    written = alone.path(target, spec.did).stat()
    assert alone.status(transfer).state is TransferState.MOVING
    alone.agent()
    alone.reaches(transfer, TransferState.OK)
    assert alone.path(target, spec.did).stat().st_ino == written.st_ino, "a complete file is accepted, not copied again"
    told = [e.kind for e in alone.ddm.changes(0)]
    assert (told.count(EventKind.FILE_ARRIVED), told.count(EventKind.TRANSFER_OK)) == (1, 1)


def test_one_of_several_agents_dies(alone: Bench) -> None:
    source, target = alone.rse(), alone.rse()
    dataset, files = alone.filled(source, count=40, size=200_000)
    faults.inject(alone.engine, Fault(FaultKind.DELAY, amount=0.05))
    victim, _ = alone.agent(), alone.agent()
    transfer = alone.ask(dataset, target)
    eventually(lambda: alone.status(transfer).ok > 4, "some files")
    victim.kill()
    assert alone.reaches(transfer, TransferState.OK).ok == 40
    assert all(alone.content_is_right(target, spec) for spec in files)
    told = [e.did for e in alone.ddm.changes(0) if e.kind is EventKind.FILE_ARRIVED]
    assert sorted(told) == sorted(spec.did for spec in files), "each file arrived once"
    assert alone.ddm.rses(target)[0].used_bytes == 40 * 200_000


def test_a_lease_that_ran_out_is_taken_over_and_its_late_word_ignored(alone: Bench) -> None:
    source, target = alone.rse(), alone.rse()
    dataset, (spec,) = alone.filled(source, count=1)
    alone.agent()
    slow = faults.inject(alone.engine, Fault(FaultKind.DELAY, amount=3600, remaining=1))
    transfer = alone.ask(dataset, target)
    eventually(lambda: alone.parts(target), "the copy to begin")
    with alone.engine.begin() as connection:
        connection.execute(text("UPDATE ddm.request SET lease = lease + 1, lease_until = now()"))
    alone.reaches(transfer, TransferState.OK)
    assert alone.content_is_right(target, spec)
    eventually(lambda: not alone.parts(target), "the first copy to be stopped")
    faults.lift(alone.engine, slow)


def test_an_agent_ends_cleanly_and_gives_its_work_back(alone: Bench) -> None:
    source, target = alone.rse(), alone.rse()
    dataset, _ = alone.filled(source)
    faults.inject(alone.engine, Fault(FaultKind.DELAY, amount=3600))
    agent = alone.agent()
    transfer = alone.ask(dataset, target)
    eventually(lambda: alone.parts(target), "the copy to begin")
    assert agent.end() == 0
    assert alone.parts(target) == []
    health = alone.ddm.health()
    assert (health.agents, health.running, health.queued, health.ok) == (0, 0, 3, False)
    faults.lift(alone.engine)
    alone.agent()
    alone.reaches(transfer, TransferState.OK)


def test_a_lost_database_connection_is_survived(alone: Bench) -> None:
    source, target = alone.rse(), alone.rse()
    agent = alone.agent()
    alone.reaches(alone.ask(alone.filled(source)[0], target), TransferState.OK)
    with alone.engine.begin() as connection:
        connection.execute(TERMINATE_OTHERS)
    alone.engine.dispose()
    alone.reaches(alone.ask(alone.filled(source)[0], target), TransferState.OK)
    assert agent.process.poll() is None
