"""What producers put into ProdDB: it comes back as it was, and bad input leaves nothing behind."""

from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

from panda.domain.prodstates import ProdJobState, ProdTaskState
from panda.domain.work import InputSpec, OutputSpec, Resources, Split, TaskRequest
from panda.errors import BadRequest, Conflict, NotFound, PandaError
from panda.proddb import read, submit, write
from panda.proddb.records import JobDefinition, Marked
from panda.proddb.schema import ejobdef, etask
from tests.support.proddb import a_request

FULL = TaskRequest(
    name="mc09.reco",
    transformation="reco",
    parameters="--in ${IN/L}",
    outputs=(
        OutputSpec("OUTPUT", "mc09:mc09.AOD", "AOD._${SN}.root", optional=True),
        OutputSpec("LOG", "mc09.log", "log._${SN}.tgz", kind="log"),
    ),
    split=Split(files_per_job=3),
    inputs=(
        InputSpec("IN", ("mc09.HITS", "mc09.HITS2")),
        InputSpec("PILEUP", ("mc09.minbias",), role="secondary", files_per_job=2),
    ),
    vo="atlas",
    working_group="top",
    task_type="reco",
    processing_type="reco",
    campaign="MC09",
    share="reco",
    release="15.6.1",
    architecture="x86_64",
    priority=720,
    resources=Resources(cores=4, memory_mb=8000, disk_mb=20_000, work_hs23_s=90_000, wall_s=60),
    max_attempts=5,
    bunch_size=10,
    cloud="US",
    seed=17,
    exp_remaining_work=12.5,
    wire_parameters="{}",
)


def the_task(proddb: Engine, kind: Any = "request") -> Any:
    with proddb.connect() as connection:
        [task] = read.open_tasks(connection, kind, after=0, limit=10)
    return task


def nothing_stored(proddb: Engine) -> bool:
    with proddb.connect() as connection:
        return not any(connection.scalar(select(func.count()).select_from(table)) for table in (etask, ejobdef))


def test_a_request_comes_out_as_it_went_in(proddb: Engine) -> None:
    taskid = submit.add_task(proddb, FULL)
    request = the_task(proddb).request(None)
    assert request.proddb_task == taskid
    expected = {name: getattr(FULL, name) for name in FULL.__slots__} | {"proddb_task": taskid}
    assert {name: getattr(request, name) for name in FULL.__slots__} == expected


def test_a_manager_may_change_the_columns_until_the_task_is_taken(proddb: Engine) -> None:
    submit.add_task(proddb, FULL)
    with proddb.begin() as connection:
        connection.execute(text("UPDATE proddb.etask SET priority = 990, transuses = '15.6.2'"))
    request = the_task(proddb).request(None)
    assert (request.priority, request.release) == (990, "15.6.2")


def test_nonsense_in_actualpars_is_named(proddb: Engine) -> None:
    submit.add_task(proddb, FULL)
    with proddb.begin() as connection:
        connection.execute(text("""UPDATE proddb.etask SET actualpars = actualpars || '{"max_atempts": 3}'"""))
    with pytest.raises(BadRequest, match="max_attempts"):
        the_task(proddb).request(None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "no spaces"}, "no_spaces"),
        ({"split": Split()}, "how many jobs"),
        ({"split": Split(n_jobs=-1)}, "n_jobs is -1"),
        ({"priority": 2**40}, "priority is 1099511627776; at most 30000"),
        ({"outputs": ()}, "no output"),
        ({"label": "mangled"}, "mangled"),
        ({"proddb_task": 7}, "TASKID"),
        ({"parent_task": 10_000_000}, "parent as TASKID"),
    ],
)
def test_a_bad_request_is_refused_and_not_stored(proddb: Engine, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PandaError) as refusal:
        submit.add_task(proddb, a_request(**changes))
    assert words in str(refusal.value)
    with pytest.raises(PandaError):
        submit.add_job_definitions(proddb, a_request(**changes | {"name": "9 lives"}), [JobDefinition("--n 1")])
    assert nothing_stored(proddb)


@pytest.mark.parametrize("changes", [{"parameters": "a\0b"}, {"release": "a\0b"}])
def test_what_no_column_can_hold_is_the_callers_mistake(proddb: Engine, changes: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="cannot be stored"):
        submit.add_task(proddb, a_request(**changes))
    with pytest.raises(BadRequest, match="cannot be stored"):
        submit.add_job_definitions(proddb, a_request(), [JobDefinition("--n 1"), JobDefinition("a\0b")])
    assert nothing_stored(proddb)


def test_a_parent_must_exist_and_have_a_future(proddb: Engine) -> None:
    with pytest.raises(NotFound, match="no task 12 that could be the parent"):
        submit.add_task(proddb, a_request(), parent=12)
    assert nothing_stored(proddb)
    parent = submit.add_task(proddb, a_request())
    child = submit.add_task(proddb, a_request("mc.simul", split=Split(files_per_job=1)), parent=parent)
    assert [one.parent for one in submit.task_states(proddb)] == [None, parent]
    submit.mark_to_be_aborted(proddb, tasks=[parent])
    with pytest.raises(Conflict, match="TOBEABORTED"):
        submit.add_task(proddb, a_request("mc.reco", split=Split(files_per_job=1)), parent=parent)
    assert [one.taskid for one in submit.task_states(proddb)] == [parent, child]


def test_ready_jobs_are_stored_in_order(proddb: Engine) -> None:
    definitions = [JobDefinition(f"--n {number}", (f"in.{number}",), number) for number in range(2500)]
    ready = submit.add_job_definitions(proddb, a_request(max_attempts=4), definitions)
    assert list(ready.jobdefids) == sorted(ready.jobdefids)
    with proddb.begin() as connection:
        assert write.claim_task(connection, ready.taskid)
        assert read.definitions(connection, ready.taskid) == definitions
    jobs = submit.job_states(proddb, ready.taskid)
    assert [one.ordinal for one in jobs] == list(range(2500))
    assert {one.state for one in jobs} == {ProdJobState.TOBEDONE}
    assert {one.maxattempt for one in jobs} == {4}
    [task] = submit.task_states(proddb, [ready.taskid])
    assert (task.kind, task.n_jobs, task.n_waiting) == ("jobs", 2500, 2500)


@pytest.mark.parametrize(
    ("definitions", "words"),
    [
        ([], "0 job definitions"),
        ([JobDefinition("--n 1"), JobDefinition("--n 2", ("../secret",))], "input file of job definition 1"),
        ([JobDefinition("--n 1", ("a", "a"))], "twice"),
        ([JobDefinition("--n 1", (), 100_000)], "priority offset"),
    ],
)
def test_one_bad_definition_refuses_all(proddb: Engine, definitions: list[JobDefinition], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        submit.add_job_definitions(proddb, a_request(), definitions)
    assert nothing_stored(proddb)


def test_marks_reach_what_lives_and_nothing_else(proddb: Engine) -> None:
    first, second = (submit.add_task(proddb, a_request(f"mc.{number}")) for number in (1, 2))
    ready = submit.add_job_definitions(proddb, a_request("mc.3"), [JobDefinition("--n 1"), JobDefinition("--n 2")])
    submit.mark_obsolete(proddb, first)
    marks = {"tasks": [first, second], "jobdefs": ready.jobdefids[1:]}
    assert submit.mark_to_be_aborted(proddb, **marks) == Marked(1, 1)
    assert submit.mark_to_be_aborted(proddb, **marks) == Marked(0, 0)
    assert [one.status for one in submit.task_states(proddb)] == ["obsolete", "TOBEABORTED", "pending"]
    assert [one.state for one in submit.job_states(proddb, ready.taskid)] == ["TOBEDONE", "TOBEABORTED"]


def test_a_mark_for_an_unknown_number_marks_nothing(proddb: Engine) -> None:
    taskid = submit.add_task(proddb, a_request())
    with pytest.raises(NotFound, match="no task 4711"):
        submit.mark_to_be_aborted(proddb, tasks=[taskid, 4711])
    with pytest.raises(NotFound, match="no job definition 99"):
        submit.mark_to_be_aborted(proddb, tasks=[taskid], jobdefs=[99])
    assert submit.task_states(proddb, [taskid])[0].status is ProdTaskState.PENDING


def test_work_in_pandas_hands_cannot_be_withdrawn(proddb: Engine) -> None:
    taskid = submit.add_task(proddb, a_request())
    with proddb.begin() as connection:
        write.claim_task(connection, taskid)
    with pytest.raises(Conflict, match="neither pending nor ended"):
        submit.mark_obsolete(proddb, taskid)


def test_jobs_marked_before_the_claim_get_no_ordinal(proddb: Engine) -> None:
    ready = submit.add_job_definitions(proddb, a_request(), [JobDefinition(f"--n {number}") for number in range(4)])
    submit.mark_to_be_aborted(proddb, jobdefs=[ready.jobdefids[1]])
    with proddb.begin() as connection:
        write.claim_task(connection, ready.taskid)
    submit.mark_to_be_aborted(proddb, jobdefs=[ready.jobdefids[2]])
    with proddb.begin() as connection:
        assert write.claim_task(connection, ready.taskid), "an intent may be taken up again"
        assert [one.parameters for one in read.definitions(connection, ready.taskid)] == ["--n 0", "--n 2", "--n 3"]
    found = {one.jobdefid: (one.ordinal, one.state) for one in submit.job_states(proddb, ready.taskid)}
    assert [found[number] for number in ready.jobdefids] == [
        (0, ProdJobState.TOBEDONE),
        (None, ProdJobState.ABORTED),
        (1, ProdJobState.TOBEABORTED),
        (2, ProdJobState.TOBEDONE),
    ]
