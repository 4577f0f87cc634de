"""What a manager sees of a failed run: PanDA's own sentence, no stack of ours; titles in forms, names of runs."""

import logging
import re

import pytest
from prefect import Flow, Task
from prefect.exceptions import FailedRun
from prefect.utilities.callables import parameter_schema
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from flows import requests
from flows.bamboo import bamboo
from flows.housekeeping import housekeeping
from flows.names import run_name
from panda.ddm.errors import Unavailable as DdmUnavailable
from panda.errors import Refused
from panda.store.engine import Bounds, make_engine
from tasks import bamboo as steps_of_bamboo
from tasks import report
from tasks import story as steps_of_story
from tasks.plain import LOGGERS, Plainly, said, speak_plainly
from tasks.world import LOCK_LIMIT_S, STATEMENT_LIMIT_S

FORMS = (
    requests.submit_production, requests.abort_task, requests.pause_task, requests.resume_task, requests.retry_task,
    requests.change_priority, requests.site_status,
)  # fmt: skip


def logged(error: Exception) -> tuple[str, bool]:
    """What a record about an error says, and whether it has a stack, after the filter."""
    try:
        raise error
    except type(error) as raised:
        record = logging.LogRecord(
            "prefect.task_runs", logging.ERROR, "here", 1, "Task run failed with exception: %r", (raised,),
            (type(raised), raised, raised.__traceback__),
        )  # fmt: skip
    assert Plainly().filter(record)
    return record.getMessage(), record.exc_info is not None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Refused("release 'X-9' is installed nowhere", "nearest: X-1"), "Refused: release 'X-9' is installed nowhere"),
        (DdmUnavailable("no agent"), "Data management: no agent"),
        (OperationalError("SELECT secret", {}, Exception("server closed the connection")), "server closed the conn"),
    ],
)
def test_what_people_can_act_on_is_one_line_without_a_stack(error: Exception, words: str) -> None:
    message, has_stack = logged(error)
    assert words in message
    assert not has_stack
    assert "SELECT" not in message
    assert said(error) in message


def test_a_defect_of_ours_keeps_its_stack() -> None:
    message, has_stack = logged(KeyError("x"))
    assert has_stack
    assert message.startswith("Task run failed")


def test_the_stack_of_a_run_that_ended_failed_is_left_out() -> None:
    record = logging.LogRecord(
        "prefect.flow_runs", logging.ERROR, "here", 1, "Engine execution exited with unexpected exception", (),
        (FailedRun, FailedRun("release 'X-9' is installed nowhere"), None),
    )  # fmt: skip
    assert not Plainly().filter(record)


def test_the_filter_stands_once_before_every_logger_of_runs() -> None:
    speak_plainly()
    speak_plainly()
    for name in LOGGERS:
        assert sum(isinstance(one, Plainly) for one in logging.getLogger(name).filters) == 1


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_field_of_a_form_has_a_title_and_says_what_it_is(form: Flow[..., object]) -> None:
    schema = parameter_schema(form.fn)
    fields = dict(schema.properties)
    for definition in schema.definitions.values():
        fields |= definition.get("properties", {})
    for name, field in fields.items():
        referred = schema.definitions.get(field.get("$ref", "").rpartition("/")[2], {})
        title = field.get("title") or referred.get("title")
        assert title, name
        assert title[0].isupper(), f"{name}: a title is for people"
        assert field.get("description"), name
        if field.get("type") == "integer":
            assert "minimum" in field, name
            assert "maximum" in field or name == "task_id", name


STEPS = [one for module in (steps_of_bamboo, steps_of_story, report) for one in vars(module).values()
         if isinstance(one, Task)]  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_no_step_has_a_limit_that_prefect_cannot_keep(step: Task[..., object]) -> None:
    assert step.timeout_seconds is None  # Prefect warns of it in every run: a step in a thread cannot be interrupted


def test_the_database_itself_ends_a_step_that_takes_too_long(database: str) -> None:
    assert 0 < LOCK_LIMIT_S < STATEMENT_LIMIT_S
    engine = make_engine(database, bounds=Bounds(statement_s=0.1, lock_s=0.05))
    with pytest.raises(DBAPIError) as ended, engine.begin() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
    assert "canceling statement due to statement timeout" in said(ended.value)
    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE site"))
        with pytest.raises(DBAPIError) as waited, engine.begin() as connection:
            connection.execute(text("LOCK TABLE site"))
    assert "canceling statement due to lock timeout" in said(waited.value)
    engine.dispose()


@pytest.mark.parametrize("flow", [bamboo, housekeeping])
def test_runs_on_a_schedule_are_named_by_what_and_when(flow: Flow[..., object]) -> None:
    assert callable(flow.flow_run_name)
    assert re.fullmatch(rf"{flow.name} \d{{4}}-\d\d-\d\d \d\d:\d\d UTC", flow.flow_run_name())
    assert run_name("x")().startswith("x 20")
