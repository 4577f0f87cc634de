"""task_parameters as PanDA's clients send them become the request that was meant, or a refusal that names the key."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from panda.domain.refine import refine
from panda.domain.templates import JobNumbers, fill, lfn_of
from panda.domain.work import InputSpec, OutputSpec, Resources, Selection, Split, TaskRequest, check_request
from panda.errors import BadRequest, PandaError, Refused

OUTPUT = "user.tester.$JEDITASKID._${SN/P}.out.txt"
LOG = "user.tester.t1.log.$JEDITASKID.${SN}.log.tgz"


def constant(value: str, **more: object) -> dict[str, object]:
    return {"type": "constant", "value": value, **more}


def template(kind: str, value: str, dataset: str, **more: object) -> dict[str, object]:
    return {"type": "template", "param_type": kind, "value": value, "dataset": dataset, **more}


def prun(**more: object) -> dict[str, object]:
    """What `prun --exec 'bash run.sh' --outDS user.tester.t1 --outputs out.txt --nJobs 1 --noBuild` sends (7.2)."""
    return {
        "taskName": "user.tester.t1/",
        "uniqueTaskName": True,
        "vo": "testvo",
        "architecture": None,
        "transUses": "",
        "transHome": None,
        "processingType": "panda-client-2.2.0-jedi-run",
        "prodSourceLabel": "user",
        "site": "TESTQ",
        "excludedSite": [],
        "includedSite": None,
        "nEvents": 1,
        "nEventsPerJob": 1,
        "cliParams": "prun ...",
        "osInfo": "Linux",
        "nMaxFilesPerJob": 200,
        "respectSplitRule": True,
        "sourceURL": "http://127.0.0.1:25080",
        "noInput": True,
        "log": template("log", LOG, "user.tester.t1.log/", container="user.tester.t1.log/"),
        "jobParameters": [
            constant('-j "" --sourceURL ${SURL}'),
            constant("-r ."),
            constant("__delimiter__", hidden=True),
            constant("-a jobO.1b2c.tar.gz"),
            template("output", OUTPUT, "user.tester.t1_out.txt/", container="user.tester.t1_out.txt/", hidden=True),
            constant(f"-o \"{{'out.txt': '{OUTPUT}'}}\""),
            constant('-p "', padding=False),
            constant("bash%20run.sh", padding=False),
            constant('"'),
        ],
        **more,
    }


STEPS: dict[str, object] = {
    "preprocess": {"command": "${TRF}", "args": "--preprocess ${TRF_ARGS}"},
    "postprocess": {"command": "${TRF}", "args": "--postprocess ${TRF_ARGS}"},
    "containerOptions": {"containerExec": "/bin/sh __run_main_exec.sh", "containerImage": "docker://alpine:3.20"},
}


def test_an_image_is_taken_with_the_steps_that_prun_sends_for_it() -> None:
    plain = refine(prun(), owner="tester")
    request = refine(prun(container_name="docker://alpine:3.20", multiStepExec=STEPS), owner="tester")
    assert request.container == "docker://alpine:3.20"
    assert replace(request, container="", wire_parameters=None) == replace(plain, wire_parameters=None)


def test_what_prun_sends_without_input() -> None:
    request = refine(prun(), owner="tester")
    expected = TaskRequest(
        name="user.tester.t1/",
        transformation="runGen",
        parameters=(
            '-j "" --sourceURL http://127.0.0.1:25080 -r . -a jobO.1b2c.tar.gz'
            " -o \"{'out.txt': '${OUTPUT0}'}\" -p \"bash%20run.sh\""
        ),
        outputs=(
            OutputSpec("output0", "user.tester.t1_out.txt", OUTPUT),
            OutputSpec("log", "user.tester.t1.log", LOG, kind="log"),
        ),
        split=Split(events_per_job=1, n_events=1),
        vo="testvo",
        owner="tester",
        label="user",
        task_type="anal",
        processing_type="panda-client-2.2.0-jedi-run",
        priority=1000,
        site="TESTQ",
        wire_parameters=request.wire_parameters,
    )
    assert request == expected
    assert check_request(request) is request
    assert json.loads(request.wire_parameters or "")["nMaxFilesPerJob"] == 200


def test_the_names_in_the_parameters_are_those_of_the_attempt() -> None:
    request = refine(prun(), owner="tester")
    numbers = JobNumbers(
        task_id=10_000_042, job_id=7, ordinal=0, attempt=2, first_event=0, n_events=1, skip_events=0, seed=0, inputs={}
    )
    lfn = lfn_of(request.outputs[0].lfn, numbers)
    filled = fill(request.parameters.replace("${OUTPUT0}", lfn), numbers)
    assert lfn == "user.tester.10000042._000001.out.txt.2"
    assert f"'out.txt': '{lfn}'" in filled


def test_input_datasets_become_numbered_streams() -> None:
    parameters = prun(
        noInput=None,
        nEvents=None,
        nEventsPerJob=None,
        nFilesPerJob="3",
        jobParameters=[
            template("input", '-i "${IN/T}"', "data:run1/,data:run2", exclude=r"\.log\.tgz(\.\d+)*$", expand=True),
            template("input", "${MINBIAS}", "mc.pileup/", hidden=True, ratio=2),
            constant("--pileup ${MINBIAS/T}"),
            template("output", "--out=EVNT.$JEDITASKID._${SN}.root", "user.tester.out"),
        ],
    )
    request = refine(parameters, owner="tester")
    assert request.inputs == (
        InputSpec("IN", ("data:run1/", "data:run2"), "primary", 3),
        InputSpec("MINBIAS", ("mc.pileup",), "secondary", 2),
    )
    assert request.split == Split(files_per_job=3)
    assert request.parameters == '-i "${IN/T}" --pileup ${IN/MINBIAS/T} --out=${OUTPUT0}'
    assert request.outputs[0].lfn == "EVNT.$JEDITASKID._${SN}.root"


def test_a_choice_of_files_belongs_to_its_stream() -> None:
    usual = r"\.log\.tgz(\.\d+)*$"
    items = [
        template(
            "input", '-i "${IN/T}"', "a.b", exclude=f"{usual},.*old", include="x.*,y", offset=3, files=["x1", "y"]
        ),
        template("input", "${MB}", "a.c", hidden=True, offset="2"),
        template("output", OUTPUT, "user.tester.o", hidden=True),
    ]
    first, second = refine(prun(jobParameters=items, noInput=None), owner="t").inputs
    assert first.selection == Selection(("x.*", "y"), (".*old",), ("x1", "y"), 3)
    assert second.selection == Selection(skip=2)


@pytest.mark.parametrize("pattern", ["x" * 256, r"(a)\1"])
def test_a_pattern_that_is_too_much_is_refused(pattern: str) -> None:
    items = [template("input", "${IN}", "a.b", include=pattern), template("output", OUTPUT, "user.tester.o")]
    with pytest.raises(Refused, match="input stream 'IN'"):
        check_request(refine(prun(jobParameters=items, noInput=None), owner="t"))


def test_a_build_step_becomes_a_task_that_makes_a_library_for_every_job() -> None:
    spec = {"archiveName": "sources.1.tar.gz", "jobParameters": "-i ${IN} -o ${OUT} --sourceURL ${SURL} -r . "}
    parameters = prun(
        buildSpec=spec, jobParameters=[constant("-l ${LIB}"), template("output", OUTPUT, "user.tester.o")]
    )
    request = refine(parameters, owner="tester", programs="http://s/trf/user/")
    assert request.inputs == (InputSpec("LIB", ("user.tester.t1.lib",), "secondary", 1),)
    assert (request.transformation, request.parameters) == ("http://s/trf/user/runGen", "-l ${IN/LIB} ${OUTPUT0}")
    build = request.build
    assert build is not None
    assert build.parameters == "-i sources.1.tar.gz -o ${OUTPUT0} --sourceURL http://127.0.0.1:25080 -r ."
    assert (build.transformation, build.label, build.task_type) == ("http://s/trf/user/buildGen", "panda", "build")
    assert (build.name, build.split, build.inputs, build.site) == ("user.tester.t1.build", Split(n_jobs=1), (), "TESTQ")
    assert [one.dataset for one in build.outputs] == ["user.tester.t1.lib", "user.tester.t1.lib.log"]
    assert check_request(build) is build
    assert check_request(request) is request


def test_numbers_of_a_job_with_an_offset() -> None:
    numbers = [
        {
            "type": "template",
            "param_type": "pseudo_input",
            "value": "${SEQNUMBER}",
            "dataset": "seq_number",
            "offset": 100,
        },
        {"type": "template", "param_type": "number", "value": "${FIRSTEVENT}", "offset": 5},
    ]
    request = refine(
        prun(jobParameters=[*numbers, template("output", OUTPUT, "user.tester.o", hidden=True)]), owner="t"
    )
    job = JobNumbers(
        task_id=1, job_id=7, ordinal=2, attempt=1, first_event=10, n_events=1, skip_events=0, seed=0, inputs={}
    )
    assert fill(request.parameters, job) == "103 15"


def test_streams_are_written_as_lists_where_the_client_asks_for_lists() -> None:
    job = JobNumbers(
        task_id=1, job_id=7, ordinal=0, attempt=1, first_event=0, n_events=1, skip_events=0, seed=0,
        inputs={"IN": ("a", "b"), "LIB": ("l",)},
    )  # fmt: skip
    assert fill("${IN} ${IN/T} ${IN/LIB} ${IN/LIB/T} ${IN/NONE/T}", job) == "a,b ['a','b'] l ['l'] []"


def test_one_template_may_be_the_beginning_of_another() -> None:
    items = [template("output", one, f"user.tester.{n}") for n, one in enumerate((OUTPUT, f"{OUTPUT}.gz"))]
    assert refine(prun(jobParameters=items), owner="t").parameters == "${OUTPUT0} ${OUTPUT1}"


def test_dataset_for_in_alone_is_an_input() -> None:
    request = refine(prun(noInput=False, dsForIN="user.tester.data/", nEvents=None), owner="tester")
    assert request.inputs == (InputSpec("IN", ("user.tester.data",)),)


@pytest.mark.parametrize(
    ("more", "resources"),
    [
        ({}, Resources()),
        ({"ramCount": 2000}, Resources(memory_mb=2000)),
        ({"ramCount": 2000, "coreCount": 8}, Resources(cores=8, memory_mb=16_000)),
        ({"ramCount": 9000, "ramUnit": "MB", "coreCount": 8}, Resources(cores=8, memory_mb=9000)),
        ({"workDiskCount": 100, "outDiskCount": "50"}, Resources(disk_mb=150)),
        ({"outDiskCount": 2048, "outDiskUnit": "kBFixed"}, Resources(disk_mb=2)),
        ({"maxWalltime": 2}, Resources(wall_s=7200)),
        ({"walltime": 600, "maxWalltime": 2}, Resources(wall_s=600)),
        ({"cpuTime": 30, "nEventsPerJob": 10}, Resources(work_hs23_s=300)),
        ({"cpuTime": 30, "nEventsPerJob": 10, "cpuTimeUnit": "HS06s"}, Resources(work_hs23_s=30)),
    ],
)
def test_resources(more: Mapping[str, object], resources: Resources) -> None:
    assert refine(prun(**more), owner="tester").resources == resources


@pytest.mark.parametrize(
    ("more", "split"),
    [
        ({"nEvents": 100, "nEventsPerJob": 10}, Split(events_per_job=10, n_events=100)),
        ({"nEvents": 100, "nEventsPerJob": None}, Split(events_per_job=100, n_events=100)),
        ({"nGBPerJob": 2}, Split(events_per_job=1, n_events=1, bytes_per_job=2 * 1024**3)),
        ({"nGBPerJob": "MAX"}, Split(events_per_job=1, n_events=1)),
        ({"nFiles": 5}, Split(events_per_job=1, n_events=1)),
    ],
)
def test_split(more: Mapping[str, object], split: Split) -> None:
    assert refine(prun(**more), owner="tester").split == split


@pytest.mark.parametrize(
    ("more", "attribute", "value"),
    [
        ({"maxAttempt": 7}, "max_attempts", 7),
        ({"maxAttempt": 7, "disableAutoRetry": 1}, "max_attempts", 1),
        ({"taskPriority": 880}, "priority", 880),
        ({"currentPriority": 700}, "priority", 700),
        ({"prodSourceLabel": "managed"}, "task_type", "prod"),
        ({"transPath": "gen.py"}, "transformation", "gen.py"),
        ({"transUses": "Gen-1.0", "architecture": "x86_64"}, "release", "Gen-1.0"),
        ({"site": "AUTO", "includedSite": ["Q1"]}, "site", "Q1"),
        ({"site": None, "includedSite": "Q2"}, "site", "Q2"),
        ({"site": "AUTO"}, "site", None),
        ({"site": None, "includedSite": ["A", "B"]}, "sites", ("A", "B")),
        ({"site": "A,B"}, "sites", ("A", "B")),
        ({"excludedSite": ["A", "B"]}, "excluded_sites", ("A", "B")),
        ({"excludedSite": "A, B"}, "excluded_sites", ("A", "B")),
        ({"workingGroup": "AP_Higgs", "gshare": "Higgs"}, "share", "Higgs"),
        ({"userName": "somebody else"}, "owner", "tester"),
    ],
)
def test_single_attributes(more: Mapping[str, object], attribute: str, value: object) -> None:
    assert getattr(refine(prun(**more), owner="tester"), attribute) == value


@pytest.mark.parametrize(
    ("more", "error", "named"),
    [
        ({"taskName": None}, BadRequest, "taskName"),
        ({"taskName": ["a"]}, BadRequest, "taskName"),
        ({"jobParameters": None}, BadRequest, "jobParameters"),
        ({"jobParameters": "-x"}, BadRequest, "jobParameters"),
        ({"jobParameters": ["-x"]}, BadRequest, "jobParameters[0]"),
        ({"jobParameters": [{"type": "pipe", "value": ""}]}, BadRequest, "'pipe'"),
        ({"jobParameters": [{"type": "constant"}]}, BadRequest, "value"),
        ({"log": template("log", LOG, "")}, BadRequest, "dataset"),
        ({"nEvents": "many"}, BadRequest, "nEvents"),
        ({"nEvents": -1}, BadRequest, "nEvents"),
        ({"nEvents": 1.5}, BadRequest, "nEvents"),
        ({"nEvents": True}, BadRequest, "nEvents"),
        ({"ramCount": float("nan")}, BadRequest, "ramCount"),
        ({"buildSpec": "x"}, BadRequest, "buildSpec"),
        ({"excludedSite": 3}, BadRequest, "excludedSite"),
        ({"includedSite": [["A"]], "site": None}, BadRequest, "includedSite"),
        ({"mergeSpec": {"transPath": "x"}}, Refused, "mergeSpec"),
        ({"pfnList": ["root://x//y"]}, Refused, "pfnList"),
        ({"skipFilesUsedBy": "10000001"}, Refused, "skipFilesUsedBy"),
        ({"jobParameters": [template("input", "${IN}", "a.b", offset=-1)]}, BadRequest, "offset"),
        ({"buildSpec": {"archiveName": "x"}}, BadRequest, "jobParameters"),
        ({"container_name": "two words"}, Refused, "container_name"),
        ({"container_name": "-x"}, Refused, "container_name"),
        ({"container_name": "docker://x", "transPath": "gen.py"}, Refused, "container_name"),
        ({"container_name": "docker://x", "buildSpec": {"archiveName": "x"}}, Refused, "container_name"),
        ({"processingType": "panda-client-2.2.0-jedi-cont"}, Refused, "--oldContMode"),
        ({"multiStepExec": STEPS}, Refused, "multiStepExec"),
        ({"container_name": "docker://x", "multiStepExec": {"preprocess": {}}}, Refused, "multiStepExec"),
        ({"container_name": "docker://x", "multiStepExec": STEPS | {"coprocess": {}}}, Refused, "multiStepExec"),
        (
            {"container_name": "docker://x", "multiStepExec": STEPS | {"containerOptions": {"execArgs": "--nv"}}},
            Refused,
            "multiStepExec",
        ),
        ({"transPath": "http://elsewhere.example/trf/user/runGen"}, Refused, "transPath"),
    ],
)
def test_refusals_name_the_key_and_say_what_would_be_right(
    more: Mapping[str, object], error: type[PandaError], named: str
) -> None:
    with pytest.raises(error) as caught:
        refine(prun(**more), owner="tester")
    assert named in caught.value.message
    assert caught.value.hint
