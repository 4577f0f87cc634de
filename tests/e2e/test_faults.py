"""Four faults of a grid on one run: each is named by the page where an operator looks, and by `panda why`.

The faults are real: a site whose pilots, nodes and storage are gone, a link that carries little, a worker node with
broken software, a payload that ends with an error wherever it runs.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from panda.domain.work import InputSpec, Split, TaskRequest
from panda.services import read, submit
from tests.support.browsing import asked_hosts, browsing, keep_picture, log_of, needs_browser
from tests.support.misfortune import bring_input, kill_site, node_with_bad_software, throttle
from tests.support.system import System, running_system
from tests.support.trivial import a_joining, a_making

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900), needs_browser]

GRID = Path(__file__).with_name("grids") / "faults.yaml"
LIMIT_S = 150.0
SLOW_BYTES_S = 1500


@dataclass(frozen=True, slots=True)
class Grid:
    """The system with its four faults, and the production tasks that meet them."""

    system: System
    failing: int
    dying: int
    cut_off: int
    slow: int
    holed: int
    browser: webdriver.Chrome

    def why(self, kind: str, name: object) -> str:
        """What `panda why` prints, all in one line."""
        command = [sys.executable, "-m", "panda.cli", "why", kind, str(name)]
        done = subprocess.run(command, env=dict(self.system.environment), check=True, capture_output=True, text=True)
        return " ".join(done.stdout.split())

    def shown(self, path: str, part: str = "main", picture: str = "") -> str:
        """The text of a part of a page as the browser shows it; the console has no error, no other host was asked."""
        self.browser.get(self.system.api_url + path)
        words = self.browser.find_element(By.CSS_SELECTOR, part).text
        assert [one["message"] for one in log_of(self.browser, "browser")] == [], path
        assert asked_hosts(self.browser) <= {self.system.api_url.rstrip("/")}
        if picture:
            keep_picture(self.browser, picture, self.system.data)
        return " ".join(words.split())

    def waits_for(self, words: str, kind: str, name: object) -> str:
        """What `panda why` says as soon as it says this."""

        def said() -> str | None:
            found = self.why(kind, name)
            return found if words in found else None

        return self.system.until(said, LIMIT_S, f"why {kind} {name} to say {words!r}")

    def shown_in_time(self, words: str, path: str, part: str, picture: str = "") -> str:
        """The text of a part of a page as soon as it says this."""

        def shown() -> str | None:
            found = self.shown(path, part)
            return found if words in found else None

        found = self.system.until(shown, LIMIT_S, f"{part} of {path} to say {words!r}")
        return self.shown(path, part, picture) if picture else found


def _reading(name: str, dataset: str, site: str, files_per_job: int) -> TaskRequest:
    request = a_joining(name, a_making("any", 1), files_per_job, max_attempts=3)
    return replace(request, inputs=(InputSpec("IN", (dataset,)),), site=site)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A run with all four faults; whoever submits here does it without ProdDB."""
    with running_system(without=["worker", "deployments"], grid=GRID) as system, browsing() as browser:
        throttle(system, "ALPHA_DATADISK", "BETA_DATADISK", SLOW_BYTES_S)
        bring_input(system, "test.input.slow", 12, 60_000)
        bring_input(system, "test.input.cut", 2, 10_000)
        bring_input(system, "test.input.holed", 40, 200_000)
        failing = a_making("failing", 6, "--ecm 13000", max_attempts=1, split=Split(n_jobs=6))
        made = [
            submit.submit_task(system.ctx, one, "test")
            for one in (
                failing,
                a_making("dying", 10, "--work 2", site="DELTA"),
                _reading("slow", "test.input.slow", "BETA", 4),
                _reading("holed", "test.input.holed", "GAMMA", 1),
            )
        ]
        dying, node = made[1], tmp_path_factory.mktemp("node")
        with node_with_bad_software(system, "GAMMA", "wn-hole", node):
            system.until(lambda: read.task(system.ctx, dying).jobs.get("finished"), LIMIT_S, "a job to end at DELTA")
            kill_site(system, "DELTA")
            cut = submit.submit_task(system.ctx, _reading("cut", "test.input.cut", "DELTA", 1), "test")
            yield Grid(system, made[0], dying, cut, made[2], made[3], browser)


def test_a_dead_site(grid: Grid) -> None:
    grid.waits_for("Storage DELTA_DATADISK does not take files", "task", grid.cut_off)
    site = grid.waits_for("DELTA looks dead", "site", "DELTA")
    assert "ended badly" in site
    assert "`panda site DELTA brokeroff`" in site
    grid.waits_for("DELTA looks dead", "task", grid.dying)

    page = grid.shown_in_time("DELTA looks dead", "/site/DELTA", "#why", "fault-dead-site")
    assert "Storage DELTA_DATADISK does not take files" in page
    grid.shown_in_time("looks dead: jobs are ready and no pilot was heard of", "/report", "#findings", "fault-report")
    grid.shown_in_time("files do not get there", "/report", "#findings")


def test_a_slow_link(grid: Grid) -> None:
    """What is usual elsewhere moves while the other inputs come, so each place is asked until it says so."""
    words = "The link to BETA_DATADISK is slow"
    assert "Copies of them are at: ALPHA_DATADISK" in grid.waits_for(words, "task", grid.slow)
    grid.waits_for(words, "site", "BETA")

    grid.shown_in_time("storage BETA_DATADISK the way there is slow", "/report", "#findings")
    grid.shown_in_time(words, f"/task/{grid.slow}", "#why", "fault-slow-link")


def test_a_black_hole(grid: Grid) -> None:
    words = "Worker node wn-hole of GAMMA is a black hole"
    assert "no more pilots on that node" in grid.waits_for(words, "site", "GAMMA")
    grid.waits_for(words, "task", grid.holed)

    assert "GAMMA wn-hole" in grid.shown_in_time("wn-hole", "/errors", "#outliers", "fault-black-hole")
    grid.shown_in_time("node wn-hole of GAMMA", "/report", "#findings")


def test_a_failing_payload(grid: Grid) -> None:
    assert grid.system.wait_for_ends([grid.failing], LIMIT_S) == ["failed"]
    task = grid.why("task", grid.failing)
    assert "No job finished at any of the" in task
    assert "its program, parameters or input" in task

    page = grid.shown(f"/task/{grid.failing}", "#why", "fault-failing-payload")
    assert "its program, parameters or input" in page
    errors = grid.shown(f"/errors?task={grid.failing}", "#codes")
    assert "unknown option --ecm" in errors
    job = read.attempts(grid.system.ctx, grid.failing, 0)[0].id
    assert "unknown option --ecm" in grid.shown(f"/job/{job}", "#errors")


def test_the_pages_that_the_docs_show(grid: Grid) -> None:
    """The pages of a real run, as the documentation shows them; each names what the run did."""
    job = read.attempts(grid.system.ctx, grid.failing, 0)[0].id
    assert "TEST" in grid.shown("/?hours=0.1", "#clouds", "monitor-dashboard")
    assert "test.holed" in grid.shown("/tasks?hours=1", "#tasks", "monitor-tasks")
    assert "unknown option --ecm" in grid.shown(f"/job/{job}", "#why", "monitor-job")
    assert "ALPHA_DATADISK 100 %" in grid.shown("/datasets?rse=ALPHA*", "#datasets", "monitor-datasets")
    assert "test.holed" in grid.shown("/dataset/test.input.holed", "#readers", "monitor-dataset")
    assert "GAMMA" in grid.shown("/errors?hours=0.1", "#sites", "monitor-errors")
    assert "ALPHA_DATADISK" in grid.shown("/ddm?hours=0.1", "#links", "monitor-ddm")
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    grid.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert "GAMMA" in grid.shown(f"/task/{grid.holed}", "#candidates, #why", "monitor-task")
