"""Blocks of archived tasks go, outputs stay where they were brought, and what no dataset holds is deleted."""

from dataclasses import replace

import pytest

from panda.ddm.embedded import upkeep as ddm_upkeep
from panda.ddm.port import DdmError, Did
from panda.domain.states import TaskStage
from panda.services import archive, recover, retire, upkeep
from panda.services.unneeded import SCOPE
from tests.support.campaign import T2, Campaign, an_evgen

HOME, AWAY = "ALPHA_DATADISK", "BETA_DATADISK"


def archived(campaign: Campaign) -> int:
    """A task at a tier 2 whose first attempt of one job was given up on its way home; all of it is in the archive."""
    task = campaign.submit(replace(an_evgen("evgen", 2), site=T2))
    campaign.tell(task)
    for job in campaign.ask(T2, 2):
        campaign.run(job)
    upkeep.collect(campaign.ctx)
    campaign.change("""
        UPDATE to_collect SET since = now() - interval '100 days' WHERE job_id = (SELECT min(job_id) FROM to_collect)
    """)
    recover.watch(campaign.ctx)
    assert campaign.statuses(task) == {"failed": 1, "transferring": 1, "defined": 1}
    assert campaign.drive(task) == [TaskStage.DONE]
    campaign.change("UPDATE production_task SET submitted_at = now() - interval '41 days', ended_at = now() - "
                    "interval '40 days' WHERE id = :t", t=task)  # fmt: skip
    campaign.change("UPDATE job_event SET at = at - interval '40 days' WHERE task_id = :t", t=task)
    archive.tidy(campaign.ctx)
    assert campaign.value("SELECT count(*) FROM job_archive") == 3
    return task


def copies(campaign: Campaign) -> dict[str, list[str]]:
    """Where every file of data (no logs) lies now, on disk."""
    root = campaign.ctx.settings.data_dir / "storage"
    return {rse: sorted(one.name for one in (root / rse).rglob("*.root*")) for rse in (HOME, AWAY)}


def settle(campaign: Campaign) -> None:
    """Let the DDM do what it does by and by."""
    engine = campaign.ctx.engine
    while ddm_upkeep.clear_erased(engine) or ddm_upkeep.reap(engine):
        pass


def test_blocks_of_archived_tasks_go_and_their_outputs_stay_at_the_tier1(campaign: Campaign) -> None:
    task = archived(campaign)
    assert {rse: len(found) for rse, found in copies(campaign).items()} == {HOME: 3, AWAY: 3}
    subs = [Did(SCOPE, row["name"]) for row in campaign.rows("SELECT name FROM block WHERE kind = 'sub'")]
    assert subs
    retired = 0
    for _ in range(3):
        retired += retire.retire_blocks(campaign.ctx)
        campaign.move()
    assert retired == len(subs)
    settle(campaign)
    assert [campaign.ctx.ddm.dataset(one) for one in subs] == [None] * len(subs)
    (dataset,) = campaign.rows("SELECT scope, name FROM dataset WHERE task_id = :t AND kind = 'output'", t=task)
    did = Did(dataset["scope"], dataset["name"])
    where = campaign.ctx.ddm.locations([did])[did]
    assert (where[HOME].complete, where[AWAY].complete) == (True, True)
    good = sorted(one.did.name for one in campaign.ctx.ddm.files(did))
    assert copies(campaign) == {HOME: good, AWAY: good}, "what was given up on its way is in no dataset, and is gone"
    assert retire.retire_blocks(campaign.ctx) == 0


def test_blocks_stay_while_the_task_may_go_on_or_the_ddm_is_away(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = campaign.submit(replace(an_evgen("young", 1), site=T2))
    assert campaign.drive(task) == [TaskStage.DONE]
    assert retire.retire_blocks(campaign.ctx) == 0
    campaign.change("UPDATE production_task SET archived_at = now()")

    def away(*_: object) -> None:
        raise DdmError("the catalogue does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(type(campaign.ctx.ddm), "erase", away)
        assert retire.retire_blocks(campaign.ctx) == 0
    assert retire.retire_blocks(campaign.ctx) == 1
