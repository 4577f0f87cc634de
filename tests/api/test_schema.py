"""Whatever is sent to any route gets an answer that is documented, and never an error of the server.

Schemathesis makes requests from the description of the API, good and bad ones, always the same (fixed seed); a few
known ids are put in, so that what exists is asked for too. The app and its database are the real ones.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from panda.embedded import Address
from panda.store.engine import make_engine
from panda_api.app import build
from tests.api.conftest import load_grid
from tests.api.openapi import an_app
from tests.api.requests_of import a_task_form, an_ask
from tests.support.builders import a_context
from tests.support.database import cloned_database
from tests.support.serving import Caller, serving
from tests.support.telling import tell

pytestmark = pytest.mark.slow

EXAMPLES = 10
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
DESCRIBED = schemathesis.openapi.from_dict(an_app().openapi())
OPERATIONS = {one.ok().label: one.ok() for one in DESCRIBED.get_all_operations() if isinstance(one, Ok)}


@pytest.fixture(scope="module")
def known(cluster: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The address of the app over a grid with a task of which a pilot holds a job; and what can be asked for there."""
    folder = tmp_path_factory.mktemp("described")
    with cloned_database(cluster, "described") as url:
        engine = make_engine(url)
        ctx = a_context(engine, folder, notify_key="the-key", api_port=25080)
        load_grid(ctx, folder)
        with serving(build(ctx)) as address:
            caller = Caller(address)
            caller.post("/api/v1/pilot/acquire_jobs", an_ask("ALPHA"))
            form = a_task_form(site="ALPHA", n_jobs=4)
            task_id = caller.post("/api/v1/task/submit", {"request": form}).json()["data"]
            tell(ctx, task_id)
            (job,) = caller.post("/api/v1/pilot/acquire_jobs", an_ask("ALPHA")).json()["data"]["jobs"]
            caller.post("/api/v1/harvester/heartbeat", {"harvester_id": "h"})
            yield {
                "address": address, "task_id": task_id, "job_id": job["PandaID"], "job_ids": [job["PandaID"]],
                "site_name": "ALPHA", "site": "ALPHA", "panda_queue": "ALPHA", "queue": "ALPHA", "harvester_id": "h",
                "computingSite": "ALPHA", "jobId": job["PandaID"], "siteName": "ALPHA",
            }  # fmt: skip
        engine.dispose()


def put_in(part: object, known: dict[str, Any]) -> None:
    """Put known values in place of made ones of the same kind, in half of the cases (told by the made value)."""
    if not isinstance(part, dict):
        return
    for name, made in list(part.items()):
        if name in known and type(made) is type(known[name]) and len(repr(made)) % 2 == 0:
            part[name] = known[name]


@pytest.mark.parametrize("label", OPERATIONS)
@given(data=st.data())
@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_every_answer_is_documented_and_no_request_breaks_the_server(
    label: str, data: st.DataObject, known: dict[str, Any]
) -> None:
    case = data.draw(st.one_of([OPERATIONS[label].as_strategy(mode) for mode in MODES]))
    for part in (case.query, case.body, case.path_parameters):
        put_in(part, known)
    case.call_and_validate(base_url=known["address"], checks=CHECKS)


def test_each_route_has_a_test_with_a_name_of_its_own(request: pytest.FixtureRequest) -> None:
    """Tests of one name are run once only when several workers share them."""
    ours = [item.nodeid for item in request.session.items if item.path == request.path]
    assert len(ours) == len(set(ours))
    operations = sum(len(methods) for methods in an_app().openapi()["paths"].values())
    assert len(OPERATIONS) == operations


def test_half_the_requests_ask_for_what_exists() -> None:
    part: dict[str, Any] = {"task_id": 12, "site": "x", "other": 1}
    put_in(part, {"task_id": 10_000_000, "site": "ALPHA"})
    assert part == {"task_id": 10_000_000, "site": "x", "other": 1}


def test_the_description_names_what_the_edge_answers(tmp_path: Path) -> None:
    paths = an_app().openapi()["paths"]
    answers = [operation["responses"] for operations in paths.values() for operation in operations.values()]
    assert all({"400", "403", "408", "413", "503"} <= set(one) for one in answers)
    assert not any("422" in one for one in answers)
