"""Dark data: what a lost attempt left at a storage is deleted, and nothing else."""

import pytest

from panda.ddm.port import DdmError
from panda.domain.states import JobStatus
from panda.services import dark, recover
from tests.support.campaign import T1, Campaign, an_evgen

LATER = "UPDATE job_event SET at = at - interval '2 days'"


def test_outputs_of_an_attempt_whose_report_never_came_are_deleted_a_day_later(campaign: Campaign) -> None:
    task = campaign.submit(an_evgen(n_jobs=2, site=T1))
    campaign.tell(task)
    lost, good = campaign.ask(T1, 2)
    campaign.say(lost, JobStatus.RUNNING)
    campaign.write(lost)
    places = [campaign.path(one.rse, one.scope, one.lfn) for one in lost.outputs]
    campaign.run(good)
    recover.api_is_up(campaign.ctx)
    campaign.change("UPDATE outage SET up_since = now() - interval '30 days'")
    campaign.change("UPDATE in_hand SET last_seen = now() - interval '1 day', since = now() - interval '1 day'")
    recover.watch(campaign.ctx)
    assert campaign.value("SELECT status::text FROM job WHERE id = :job", job=lost.job_id) == "failed"

    assert dark.delete_dark(campaign.ctx) == 0, "its pilot may still deliver"
    campaign.change(LATER)
    campaign.turn()
    assert dark.delete_dark(campaign.ctx) == len(places)

    assert not any(place.exists() for place in places)
    for output in good.outputs:
        assert campaign.path(output.rse, output.scope, output.lfn).exists()
    assert dark.delete_dark(campaign.ctx) == 0


def test_while_the_ddm_is_away_nothing_is_forgotten(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.tell(campaign.submit(an_evgen(n_jobs=1, site=T1)))
    [job] = campaign.ask(T1)
    campaign.write(job)
    campaign.fail(job)
    campaign.turn()
    campaign.change(LATER)

    def away(*_: object) -> None:
        raise DdmError("the catalogue does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(type(campaign.ctx.ddm), "delete_dark", away)
        assert dark.delete_dark(campaign.ctx) == 0
    assert dark.delete_dark(campaign.ctx) == len(job.outputs)
