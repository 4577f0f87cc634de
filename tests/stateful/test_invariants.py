"""The invariants find what they say: rows are spoiled one way at a time, and the right rule complains."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import text

from panda.domain.states import JobStatus, TaskStage
from panda.domain.work import Split
from panda.embedded import Address
from panda.services import upkeep
from panda.store.engine import make_engine
from tests.support.builders import a_context
from tests.support.campaign import T1, T2, Campaign, a_reader, an_evgen
from tests.support.database import cloned_database
from tests.support.invariants import QUERIES, Reader, violations


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A statement that spoils the tables, and the beginning of a rule that must complain."""

    rule: str
    statement: str


CASES = [
    Spoiled("counters and unfolded", "UPDATE job_count SET n = n + 1"),
    Spoiled("counters and unfolded", "DELETE FROM job_event WHERE id = (SELECT max(id) FROM job_event)"),
    Spoiled("first attempts", "UPDATE production_task SET next_ordinal = next_ordinal + 1"),
    Spoiled("at most one live", "UPDATE job SET ordinal = 0, attempt = id WHERE status IS NULL"),
    Spoiled("at most one finished", "UPDATE job SET ordinal = 0, attempt = id WHERE status = 'finished'"),
    Spoiled("what is in a pilot's hand", "DELETE FROM in_hand"),
    Spoiled("what is in a pilot's hand", "UPDATE in_hand SET lease = lease + 1"),
    Spoiled("the collector's list", "DELETE FROM to_collect"),
    Spoiled("the collector's list", "INSERT INTO to_collect SELECT id, 'holding' FROM job WHERE status = 'finished'"),
    Spoiled("ready holds only", "UPDATE bunch SET state = 'assigned' WHERE state = 'activated'"),
    Spoiled("ready holds only", "INSERT INTO ready SELECT id, 1, 500 FROM job WHERE status = 'finished'"),
    Spoiled("a class's bound", "UPDATE requirement_class SET max_priority = 0"),
    Spoiled("a bunch has a site", "UPDATE bunch SET site_id = NULL"),
    Spoiled("a bunch with waiting jobs", "UPDATE bunch SET open = false"),
    Spoiled("activated means", "DELETE FROM ddm.replica WHERE rse = 'BETA_DATADISK'"),
    Spoiled("a finished job has", "DELETE FROM job_output WHERE place = 0"),
    Spoiled("only outputs of ended", "UPDATE job SET status = 'holding' WHERE status = 'finished'"),
    Spoiled("a closed dataset holds", "UPDATE job_output SET state = 'ready'"),
    Spoiled("a dataset has an output once", "UPDATE job SET ordinal = 0, attempt = id WHERE status = 'finished'"),
    Spoiled("the DDM's dataset is closed", "UPDATE ddm.dataset SET open = true"),
    Spoiled("the DDM's dataset is closed", "DELETE FROM ddm.content"),
    Spoiled("the DDM's dataset is closed", "UPDATE job_output SET adler32 = '00000000'"),
    Spoiled("the DDM's output datasets", "DELETE FROM job_output"),
    Spoiled("a job changes its state", "UPDATE job_event SET to_state = 'sent' WHERE to_state = 'running'"),
    Spoiled("a bunch changes its state", "UPDATE job_event SET from_state = 'activated' WHERE to_state = 'activated'"),
    Spoiled("a final state never", "UPDATE job_event SET from_state = 'finished' WHERE to_state = 'running'"),
    Spoiled("a job is what its last", "UPDATE job SET status = 'starting' WHERE status = 'running'"),
    Spoiled("a job is handed to one", "UPDATE job SET lease = 2 WHERE status IS NOT NULL"),
    Spoiled("a bunch is activated once", "UPDATE bunch SET generation = -1"),
    Spoiled("an ordinal is charged", "UPDATE task_file SET failures = failures + 1"),
    Spoiled("a task that has ended", "UPDATE production_task SET stage = 'finished'"),
    Spoiled("a task that has ended", "UPDATE dataset SET state = 'open'"),
    Spoiled("a done task has", "UPDATE job SET status = 'failed' WHERE status = 'finished'"),
]


@pytest.fixture(scope="module")
def busy(cluster: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A campaign with something in every state."""
    with cloned_database(cluster, "busy") as url:
        campaign = Campaign(a_context(make_engine(url), tmp_path_factory.mktemp("busy"))).load()
        parent = campaign.submit(replace(an_evgen("parent", 8), site=T1))
        assert campaign.drive(parent) == [TaskStage.DONE]
        task = campaign.submit(replace(a_reader("reader", "mc.parent.EVNT", Split(files_per_job=1)), site=T2))
        campaign.tell(task)
        campaign.move()
        upkeep.round_once(campaign.ctx)
        finished, failed, transferring, running, reported, _sent = campaign.ask(T2, 6)
        campaign.run(finished)
        campaign.fail(failed)
        upkeep.collect(campaign.ctx)
        campaign.move()
        campaign.run(transferring)
        upkeep.round_once(campaign.ctx)
        campaign.run(reported)
        campaign.say(running, JobStatus.RUNNING)
        upkeep.fold(campaign.ctx)
        campaign.ask(T2)
        assert {"finished", "failed", "transferring", "running", "holding", "sent", "activated"} <= set(
            campaign.statuses(task)
        )
        campaign.check()
        yield campaign
        campaign.ctx.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}: {case.statement[:40]}")
def test_a_spoiled_row_is_noticed(busy: Campaign, case: Spoiled) -> None:
    with busy.ctx.engine.connect() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # foreign keys look away
        assert connection.execute(text(case.statement)).rowcount > 0
        found = violations(connection)
        connection.rollback()
    assert any(one.startswith(case.rule) for one in found), found


def test_a_reader_sees_what_is_wrong_for_a_moment(busy: Campaign) -> None:
    with Reader(busy.ctx.engine.url.render_as_string(hide_password=False), every_s=0.01) as reader:
        reader.wait_for(2)
        assert reader.seen.violations == ()
        busy.change("UPDATE requirement_class SET max_priority = max_priority - 1000 WHERE max_priority > 0")
        reader.wait_for(2)
        busy.change("UPDATE requirement_class SET max_priority = max_priority + 1000 WHERE max_priority > -1000")
        reader.wait_for(2)
    seen: tuple[str, ...] = reader.seen.violations
    assert any("a class's bound" in one for one in seen)
    busy.check()


def test_every_rule_has_a_case() -> None:
    tried = tuple(case.rule for case in CASES)
    assert [rule for rule in QUERIES if not rule.startswith(tried)] == []
