"""`panda fetch`: the outputs of a task come over the API into a folder, whole and under their names."""

from pathlib import Path

from panda.domain.states import TaskStage
from panda.services.context import Context
from tests.cli.conftest import Panda
from tests.support.campaign import Campaign, an_evgen


def test_outputs_come_into_a_folder_logs_if_they_are_asked_for(panda: Panda, ctx: Context, tmp_path: Path) -> None:
    campaign = Campaign(ctx).load()
    task = campaign.submit(an_evgen("t1", 2))
    assert campaign.drive(task) == [TaskStage.DONE]

    done = panda("fetch", task, "--to", tmp_path / "mine")
    assert done.code == 0, done.err
    assert "2 files in" in done.out
    assert sorted(one.name for one in (tmp_path / "mine").iterdir()) == [
        "t1.EVNT._000001.root", "t1.EVNT._000002.root",
    ]  # fmt: skip
    assert (tmp_path / "mine" / "t1.EVNT._000002.root").read_text().startswith("output of ordinal 1")

    panda("fetch", task, "--to", tmp_path / "all", "--logs")
    assert len(list((tmp_path / "all").iterdir())) == 4


def test_a_task_that_is_not_there_makes_no_folder(panda: Panda, tmp_path: Path) -> None:
    done = panda("fetch", 12_345_678, "--to", tmp_path / "mine")
    assert done.code == 1
    assert "12345678" in done.err + done.out
    assert not (tmp_path / "mine").exists()
