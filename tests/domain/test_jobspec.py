"""Job specs of PanDA's client become loose jobs, or are refused with the attribute that no task can express."""

from typing import Any

import pytest

from panda.domain.jobspec import SpecGroups, loose_jobs
from panda.domain.templates import JobNumbers, lfn_of
from panda.domain.work import LooseJob, Resources, check_request
from panda.errors import BadRequest
from tests.support.jobspecs import State, a_file, a_spec, an_evgen_spec

PROGRAMS = "http://127.0.0.1:25080/trf/user/"


def read(*specs: State) -> SpecGroups:
    return loose_jobs(specs, owner="Ann", vo="testvo", programs=PROGRAMS)


def numbers(ordinal: int, attempt: int = 1) -> JobNumbers:
    return JobNumbers(10, 1, ordinal, attempt, 0, 0, 0, 0, {})


def test_jobs_that_write_into_the_same_datasets_are_one_task_with_literal_names() -> None:
    many: dict[str, Any] = {
        "coreCount": 4,
        "minRamCount": 2,
        "minRamUnit": "GB",
        "maxDiskCount": 500,
        "maxCpuCount": 4000,
    }
    specs = [an_evgen_spec(number, currentPriority=500 - number, computingSite="ALPHA", **many) for number in (1, 2)]
    found = read(specs[0], an_evgen_spec(5, "other"), specs[1])
    assert found.places == ((0, 0), (1, 0), (0, 1))
    both, other = found.groups
    request = check_request(both.request)
    assert (request.name, request.owner, request.vo, request.label) == ("mc.spec.EVNT", "Ann", "testvo", "managed")
    assert (request.transformation, request.site, request.priority) == ("evgen", "ALPHA", 499)
    assert request.resources == Resources(cores=4, memory_mb=2048, disk_mb=500, wall_s=1000)
    assert [(one.kind, one.dataset) for one in request.outputs] == [("output", "mc.spec.EVNT"), ("log", "mc.spec.log")]
    assert both.jobs == (
        LooseJob("--number 1 -o ${OUTPUT0}"),
        LooseJob("--number 2 -o ${OUTPUT0}", priority_offset=-1),
    )
    assert [lfn_of(one.lfn, numbers(1)) for one in request.outputs] == ["spec.first-2.root", "spec.log-2.tgz"]
    assert lfn_of(request.outputs[0].lfn, numbers(0, attempt=2)) == "spec.first-1.root.2"
    assert other.request.name == "mc.other.EVNT"


def test_inputs_are_named_with_their_datasets() -> None:
    files = [a_file("input", "a.root", "mc.in"), a_file("input", "b.root", "NULL", prodDBlock="mc.more")]
    (group,) = read(an_evgen_spec(1, inputs=files)).groups
    assert [one.datasets for one in group.request.inputs] == [("mc.in", "mc.more")]
    assert group.jobs[0].inputs == ("a.root", "b.root")


def test_only_whole_words_are_output_names() -> None:
    (group,) = read(
        a_spec(a_file("output", "out", "mc.x"), transformation="evgen", jobParameters="--output out:my.out.1 f:out out")
    ).groups
    assert group.jobs[0].parameters == "--output ${OUTPUT0}:my.out.1 f:${OUTPUT0} ${OUTPUT0}"


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"eventService": 1}, "'eventService' is not served"),
        ({"jediTaskID": 10000001}, "'jediTaskID' is not served"),
        ({"metadata": [None, None, {"a": 1}]}, "'metadata' is not served"),
        ({"destinationSE": "CERN_SE"}, "'destinationSE'"),
        ({"specialHandling": "us,ddm:rucio"}, "'specialHandling'"),
        ({"transformation": "http://elsewhere.example/trf"}, "'transformation'"),
        ({"transformation": "NULL"}, "lacks 'transformation'"),
        ({"container_name": "docker://alpine"}, "'container_name' goes with"),
        ({"AtlasRelease": "Atlas-14", "homepackage": "AtlasProduction/14"}, "'homepackage'"),
        ({"jobParameters": "-t $JEDITASKID"}, "'jobParameters' holds a placeholder"),
        ({"jobParameters": "a\x01b"}, "'jobParameters' holds a control"),
        ({"maxCpuUnit": "fortnight"}, "'maxCpuUnit'"),
        ({"minRamUnit": "stones"}, "'minRamUnit'"),
        ({"coreCount": "many"}, "'coreCount' is 'many'"),
        ({"maxDiskCount": 2**40}, "more than any site"),
    ],
)
def test_what_no_task_can_express_is_refused_by_name(attributes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(an_evgen_spec(1), an_evgen_spec(2, **attributes))
    assert says in refused.value.message
    assert "jobs[1]" in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        ([a_spec(transformation="evgen")], "no output file"),
        ([an_evgen_spec(1), an_evgen_spec(1)], "two output files are called 'spec.first-1.root'"),
        ([an_evgen_spec(1), an_evgen_spec(2, VO="charmm")], "jobs[1] differs from jobs[0] in VO"),
        ([an_evgen_spec(1), an_evgen_spec(2, coreCount=8)], "in coreCount, minRamCount"),
        ([an_evgen_spec(1), an_evgen_spec(2, inputs=[a_file("output", "x", "mc.spec.EVNT")])], "'mc.spec.EVNT', but"),
        ([an_evgen_spec(1, inputs=[a_file("pseudo_input", "x", "mc.in")])], "type 'pseudo_input'"),
        ([an_evgen_spec(1, inputs=[a_file("input", "x", "NULL")])], "names no dataset"),
        ([an_evgen_spec(1, inputs=[a_file("input", "../x", "mc.in")])], "'../x' is not a valid name"),
        ([an_evgen_spec(1, inputs=[a_file("output", "x", "mc.in", scope="user.me")])], "attribute 'scope'"),
        ([an_evgen_spec(1, inputs=[a_file("input", "x", "mc.in", prodDBlockToken="local")])], "'prodDBlockToken'"),
        ([["a", "b"]], "is not a job spec"),
        ([["text"]], "is not a job spec"),
        ([[*(["NULL"] * 200), []]], "has 200 values"),
        ([an_evgen_spec(1, inputs=[["text"] * 30])], "jobs[0].Files[0] has 30 values"),
    ],
)
def test_what_cannot_be_read_is_refused(specs: list[Any], says: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(*specs)
    assert says in refused.value.message
