"""What managers see in the Prefect UI of a running system, in a browser: forms, errors, states, tags, artifacts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.support.browsing import browsing, needs_browser
from tests.support.system import System, running_system

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_browser]

PICTURES = os.environ.get("PANDA_TEST_PICTURES")
FORM = {
    "name": "test.ui",
    "transformation": "make",
    "parameters": "--serial ${SN} --seed ${SEED} --output ${OUTPUT0}",
    "release": "Trivial-1.0",
    "output_dataset": "test.ui.OUT",
    "output_file": "ui._${SN}.txt",
    "jobs": 2,
    "processing_type": "evgen",
    "campaign": "spring",
}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A whole system, with Prefect's server, worker and deployments."""
    with running_system() as made:
        yield made


class Prefect:
    """Prefect's API and pages, as a manager uses them."""

    def __init__(self, system: System, browser: webdriver.Chrome) -> None:
        self.api = system.settings.prefect_api_url
        self.pages = self.api.removesuffix("/api")
        self._system = system
        self._browser = browser

    def deployment(self, flow: str, name: str) -> str:
        """The id of a deployment."""
        return str(requests.get(f"{self.api}/deployments/name/{flow}/{name}", timeout=30).json()["id"])

    def order(self, deployment: str, **parameters: Any) -> str:
        """Press the form's button: a run of the deployment with these parameters; its id."""
        made = requests.post(
            f"{self.api}/deployments/{deployment}/create_flow_run",
            json={"parameters": parameters, "state": {"type": "SCHEDULED"}},
            timeout=30,
        )
        assert made.ok, made.text
        return str(made.json()["id"])

    def artifact(self, key: str) -> str:
        """The page of the newest artifact of this key."""
        wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "UPDATED_DESC", "limit": 1}
        found = requests.post(f"{self.api}/artifacts/filter", json=wanted, timeout=30)
        assert found.ok, found.text
        return f"/artifacts/artifact/{found.json()[0]['id']}"

    def ended(self, run: str) -> dict[str, Any]:
        """The state of a run when it has ended."""

        def look() -> dict[str, Any] | None:
            state: dict[str, Any] = requests.get(f"{self.api}/flow_runs/{run}", timeout=30).json()["state"]
            return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED"} else None

        return self._system.until(look, 120, f"the run {run} to end")

    def shows(self, path: str, *words: str, picture: str = "") -> str:
        """Open a page and wait until all these words stand in it; its text."""
        self._browser.get(self.pages + path)
        body = ""

        def look() -> bool:
            nonlocal body
            body = self._browser.find_element(By.TAG_NAME, "body").text
            return all(word in body for word in words)

        try:
            self._system.until(look, 30, f"{words} on {path}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it says:\n{body}") from None
        finally:
            if PICTURES:
                self._browser.get_screenshot_as_file(str(Path(PICTURES) / f"{picture or 'page'}.png"))
        return body


@pytest.fixture
def prefect(system: System) -> Iterator[Prefect]:
    """Prefect of the running system in a browser."""
    with browsing() as browser:
        yield Prefect(system, browser)


def test_a_manager_orders_a_task_and_sees_where_it_stands(prefect: Prefect, system: System) -> None:
    submit = prefect.deployment("submit production", "submit-production")
    form = prefect.shows(f"/deployments/deployment/{submit}/run", "Task name", "Software release", picture="form")
    for title in ("Transformation", "Parameters", "Output dataset", "Number of jobs", "Priority", "950 and more"):
        assert title in form
    refused = prefect.order(submit, production={**FORM, "release": "Nowhere-1.0"})
    state = prefect.ended(refused)
    assert state["name"] == "Refused"
    prefect.shows(f"/runs/flow-run/{refused}", "Refused", "Nowhere-1.0", picture="refused")
    ordered = prefect.ended(prefect.order(submit, production=FORM))
    assert ordered["name"] == "Submitted"
    task = int(ordered["message"].split()[-1])
    assert system.wait_for_ends([task], 120) == ["done"]
    page = requests.get(f"{system.api_url}/task/{task}", timeout=30).text
    assert f"{prefect.pages}/runs?tag=task:{task}" in page
    runs_shown = prefect.shows(f"/runs?tag=task:{task}", f"task-{task}", "Done", "Awaiting", picture="runs")
    assert "submit-test.ui" not in runs_shown  # only the runs of this task
    chain = ("The chain of tasks", "Where it stands, and why", "the task in the monitor")
    prefect.shows(prefect.artifact(f"task-{task}"), f"Task {task}", *chain, picture="artifact")
    prefect.shows(prefect.artifact(f"task-{task}-brokerage"), "candidate", "chosen", picture="brokerage")
    prefect.shows(prefect.artifact(f"task-{task}-progress"), "100", picture="progress")
    runs = requests.post(
        f"{prefect.api}/flow_runs/filter", json={"flow_runs": {"tags": {"all_": [f"task:{task}"]}}}, timeout=30
    ).json()
    assert {"vo:atlas", "campaign:spring", f"task:{task}"} <= set(runs[0]["tags"])
    last = next(one for one in runs if one["state"]["name"] == "Done")
    prefect.shows(f"/runs/flow-run/{last['id']}", "Done", "campaign:spring", picture="story")
