"""Campaign files: what they become, how they are changed, and what they are refused for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from panda.domain.campaign import parse_campaign, with_tag
from panda.domain.work import InputSpec
from panda.errors import BadRequest, PandaError, Refused

EXAMPLES = Path(__file__).parents[2] / "examples"


def a_document() -> dict[str, Any]:
    return {
        "campaign": "mc09",
        "defaults": {"vo": "atlas", "transformation": "run", "parameters": "", "resources": {"memory_mb": 1000}},
        "tasks": {
            "merge": {
                "parent": "evgen",
                "split": {"files_per_job": 2},
                "outputs": [{"name": "AOD", "dataset": "mc.AOD", "lfn": "AOD._${SN}"}],
            },
            "evgen": {
                "split": {"n_jobs": 3},
                "resources": {"cores": 2},
                "outputs": [
                    {"name": "log", "kind": "log", "dataset": "mc.log", "lfn": "log._${SN}"},
                    {"name": "EVNT", "dataset": "mc.EVNT", "lfn": "EVNT._${SN}"},
                ],
            },
        },
    }


@pytest.mark.parametrize("name", ["zboson", "charmm"])
def test_our_own_campaigns_are_good(name: str) -> None:
    campaign = parse_campaign(yaml.safe_load((EXAMPLES / name / "campaign.yaml").read_text()))
    assert campaign.name == name
    assert campaign.tasks


def test_parents_come_first_and_their_children_read_what_they_write() -> None:
    evgen, merge = parse_campaign(a_document()).tasks
    assert (evgen.key, evgen.parent, evgen.request.inputs) == ("evgen", None, ())
    assert (merge.key, merge.parent, merge.request.inputs) == ("merge", "evgen", (InputSpec("IN", ("mc.EVNT",)),))


def test_defaults_are_merged_group_by_group_and_names_are_filled_in() -> None:
    evgen = parse_campaign(a_document()).tasks[0].request
    assert (evgen.resources.memory_mb, evgen.resources.cores) == (1000, 2)
    assert (evgen.name, evgen.campaign, evgen.vo) == ("evgen", "mc09", "atlas")


def test_values_are_changed_by_their_path() -> None:
    campaign = parse_campaign(a_document(), {"evgen.split.n_jobs": 7, "defaults.priority": 901, "campaign": "mc10"})
    assert [one.request.split.n_jobs for one in campaign.tasks] == [7, None]
    assert [one.request.priority for one in campaign.tasks] == [901, 901]
    assert campaign.tasks[0].request.campaign == "mc10"


def test_a_file_may_be_one_task() -> None:
    part = {**a_document()["defaults"], **a_document()["tasks"]["evgen"]}
    campaign = parse_campaign(part, {"split.n_jobs": 5, "name": "mine"})
    assert [(one.request.name, one.request.split.n_jobs) for one in campaign.tasks] == [("mine", 5)]


def test_a_tag_renames_everything_the_campaign_makes_and_nothing_else() -> None:
    document = a_document()
    document["tasks"]["evgen"]["inputs"] = [{"stream": "IN", "datasets": ["other.raw"]}]
    evgen, merge = (one.request for one in with_tag(parse_campaign(document), "r2").tasks)
    assert evgen.name == "evgen.r2"
    assert [(one.dataset, one.lfn) for one in evgen.outputs] == [
        ("mc.log.r2", "r2.log._${SN}"),
        ("mc.EVNT.r2", "r2.EVNT._${SN}"),
    ]
    assert [one.datasets for one in (*evgen.inputs, *merge.inputs)] == [("other.raw",), ("mc.EVNT.r2",)]
    with pytest.raises(Refused, match="tag 'r 2' is not a valid name"):
        with_tag(parse_campaign(a_document()), "r 2")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"merge.parent": "evgem"},
            "tasks.merge.parent is 'evgem', which is no task of this file. Tasks: merge, evgen",
        ),
        ({"evgen.parent": "merge"}, "The tasks merge, evgen are each other's parents"),
        ({"evgen.split.n_job": 3}, "tasks.evgen.split has the unknown key 'n_job'. Did you mean 'n_jobs'"),
        ({"evgen.split.n_jobs": 0}, "tasks.evgen: n_jobs is 0; it must be at least 1"),
        ({"evgen.split.n_jobs": "many"}, "tasks.evgen.split.n_jobs is 'many', but has to be a whole number"),
        ({"evgen.priorty": 3}, "tasks.evgen has the unknown key 'priorty'. Did you mean 'priority'"),
        ({"evgen.proddb_task": 3}, "tasks.evgen has the unknown key 'proddb_task'"),
        ({"defaults.vos": "atlas"}, "defaults has the unknown key 'vos'. Did you mean 'vo'"),
        ({"priority": 3}, "'priority' names no task. Begin with one of merge, evgen, defaults"),
        ({"evgen.label": "managd"}, "tasks.evgen: label 'managd' is unknown"),
        ({"evgen.name": "a b"}, "tasks.evgen: task name 'a b' is not a valid name"),
        ({"evgen.outputs": []}, "tasks.evgen: the task has no output"),
        (
            {"evgen.outputs": [{"name": "log", "kind": "log", "dataset": "mc.log", "lfn": "log._${SN}"}]},
            "tasks.merge.parent is 'evgen', which writes no dataset but its log",
        ),
        ({"tasks": {}}, "The file has no tasks"),
        ({"tasks": []}, "tasks is [], not a list of keys with values"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(changes: dict[str, object], says: str) -> None:
    with pytest.raises(PandaError) as error:
        parse_campaign(a_document(), changes)
    assert says in str(error.value)
    assert isinstance(error.value, BadRequest)


def test_a_file_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(BadRequest, match="the file is"):
        parse_campaign(["a"])
