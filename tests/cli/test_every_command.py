"""Every command there is, found by walking the app: one JSON document, a hint with each error, exit codes."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from panda.cli import AWAY, COMMANDS, FAILED, INTERRUPTED, PART, main
from panda.cli.ports import free_port
from panda.domain.dispatch import WorkerReport
from panda.domain.states import JobStatus
from panda.embedded import Address
from panda.services import read, supply
from panda.store.engine import make_engine
from panda_api.app import build
from tests.cli.conftest import Done
from tests.cli.test_workers import AT
from tests.support.builders import a_context
from tests.support.campaign import T1, TINY, Campaign, an_evgen
from tests.support.database import cloned_database
from tests.support.serving import serving

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
HERE_ONLY = {"up", "demo", "prepare", "db", "grid", "settings"}
"""Commands that start, prepare or show this machine; all others talk to the API."""
WITHOUT_JSON = {"up", "demo", "prepare", "db upgrade", "db check", "db migration"}
"""They run until they are stopped, or say one sentence that the exit code says too."""

GOOD = {
    "overview": "", "watch": "{done}", "tasks": "", "task": "{task}", "jobs": "--task {task}", "job": "{job}",
    "why": "job {job}", "what-if": "{task} ALPHA.status=offline", "datasets": "", "files": "mc.evgen.EVNT",
    "transfers": "--all", "errors": "", "fetch": "{done} --to {folder}", "sites": "", "site": "ALPHA",
    "workers": "", "command kill-workers": "ALPHA", "command kill-ids": "harvest 41",
    "command set-workers": "ALPHA 3", "command report-statistics": "ALPHA", "pause": "{task}", "resume": "{task}",
    "priority": "{task} 600", "finish": "{more}", "retry": "{failed}", "kill": "task {last}",
    "submit": "{yaml} --dry-run", "grid check": "{grid}", "grid load": "{grid}", "settings": "", "debug": "{running}",
}  # fmt: skip
UNKNOWN = {
    "watch": "999999", "task": "999999", "jobs": "--task 999999", "job": "999999", "why": "site NOWHERE",
    "what-if": "{task} NOWHERE.status=offline", "datasets": "--task 999999", "files": "mc.evgen.EVENT",
    "transfers": "--site NOWHERE", "errors": "--site NOWHERE", "fetch": "999999", "site": "NOWHERE",
    "workers": "NOWHERE", "command kill-workers": "NOWHERE", "command kill-ids": "nobody 1",
    "command set-workers": "NOWHERE 3", "command report-statistics": "NOWHERE", "pause": "999999",
    "resume": "999999", "priority": "999999 600", "finish": "999999", "retry": "999999", "kill": "task 999999",
    "submit": "nowhere.yaml", "grid check": "nowhere.yaml", "grid load": "nowhere.yaml", "debug": "999999",
}  # fmt: skip
"""What is not there; only tasks, sites, the overview and the settings cannot be asked for anything unknown."""
NOTHING_UNKNOWN = {"overview", "tasks", "sites", "settings"}


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A command, or the commands of a group, by what is typed."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaves(inner, f"{path} {name}")


def every_command() -> dict[str, Any]:
    """Every command that is no part of a system running alone."""
    found: dict[str, Any] = {}
    for name, (place, _) in COMMANDS.items():
        if place != PART:
            module, _, attribute = place.partition(":")
            app = getattr(importlib.import_module(module), attribute or "app")
            found |= dict(leaves(typer.main.get_command(app), name))
    return found


ALL = every_command()
REMOTE = sorted(name for name in ALL if name.split()[0] not in HERE_ONLY)


@dataclass(frozen=True, slots=True)
class World:
    """A grid at work with its API, and the names of what is in it."""

    address: str
    environment: dict[str, str]
    names: dict[str, object]


@pytest.fixture(scope="module")
def world(cluster: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all commands: none of those that are tried here takes what another one needs."""
    folder = tmp_path_factory.mktemp("every")
    with cloned_database(cluster, "every_command") as url:
        engine = make_engine(url)
        ctx = a_context(engine, folder)
        campaign = Campaign(ctx).load()
        failed = campaign.submit(an_evgen("failed", 1, max_attempts=1, site=T1))
        held = campaign.submit(an_evgen("held", 1, site=T1))
        for one in (failed, held):
            campaign.tell(one)
        job, running = sorted(campaign.ask(T1, 2), key=lambda handed: handed.job_id)
        campaign.say(running, JobStatus.RUNNING)
        campaign.fail(job)
        campaign.drive(failed)
        done = campaign.submit(an_evgen("evgen", 1, site=T1))
        campaign.drive(done)
        task, more, last = (campaign.submit(an_evgen(name, 3, site=T1)) for name in ("task", "more", "last"))
        for one in (task, more, last):
            campaign.tell(one)
        supply.report_workers(ctx, [WorkerReport("harvest", 41, T1, "running", computing_element="ce1")])
        a_harvester_is_heard(ctx)
        yaml = folder / "task.yaml"
        yaml.write_text(
            "name: mc.new\ntransformation: evgen\nparameters: --out ${OUT0}\nsplit: {n_jobs: 2}\n"
            'outputs: [{name: OUT, dataset: mc.new.out, lfn: "new._${SN}.root"}]\n'
        )
        with serving(build(ctx)) as address:
            yield World(
                address,
                {
                    "PANDA_DATABASE_URL": url.replace("postgresql+psycopg2", "postgresql"),
                    "PANDA_DATA_DIR": str(folder / "data"), "PANDA_API_URL": address,
                },
                {
                    "done": done, "task": task, "more": more, "last": last, "failed": failed, "yaml": yaml,
                    "grid": TINY, "folder": folder / "fetched", "job": read.job_ids(ctx, task)[0],
                    "running": running.job_id,
                },
            )  # fmt: skip
        engine.dispose()


def a_harvester_is_heard(ctx: Any) -> None:
    """An instance that serves ALPHA."""
    from panda.domain.harvester import HarvesterBeat
    from panda.services import harvester

    harvester.heartbeat(ctx, HarvesterBeat("harvest", "ann", "127.0.0.1", "0.7.5", AT, {}))
    harvester.report_statistics(ctx, "harvest", T1, {"managed": {"SCORE": {"running": 1}}})


@pytest.fixture
def run(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, str], Done]:
    """Run a command with arguments in which `{task}` and the like stand for what is in the world."""
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)

    def run(command: str, arguments: str, *more: str) -> Done:
        filled = [one.format_map(world.names) for one in arguments.split()]
        monkeypatch.setattr(sys, "argv", ["panda", *command.split(), *filled, *more])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, said.out, said.err)

    return run


Run = Callable[..., Done]


def test_no_command_is_forgotten_here() -> None:
    assert set(GOOD) == set(ALL) - WITHOUT_JSON
    assert set(UNKNOWN) == set(GOOD) - NOTHING_UNKNOWN
    for name, command in ALL.items():
        assert command.help, name
        options = {option for one in command.params for option in one.opts}
        assert ("--json" in options) is (name not in WITHOUT_JSON), name
        assert all(one.help for one in command.params if one.name != "help"), name


@pytest.mark.parametrize("name", sorted(GOOD))
def test_json_is_one_document_on_stdout_and_nothing_else(run: Run, name: str) -> None:
    done = run(name, GOOD[name], "--json")
    assert (done.code, done.err) == (0, "")
    assert isinstance(json.loads(done.out), dict | list)


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_what_is_unknown_ends_with_1_and_a_hint_on_stderr_only(run: Run, name: str) -> None:
    done = run(name, UNKNOWN[name], "--json")
    assert (done.code, done.out) == (FAILED, "")
    what, _, hint = done.err.strip().removeprefix("panda: ").partition("; " if "; " in done.err else ". ")
    assert what
    assert hint, f"what would be right? {done.err}"
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("name", sorted(ALL))
def test_wrong_usage_ends_with_2_and_the_usage_on_stderr_only(run: Run, name: str) -> None:
    done = run(name, "", "--no-such-option")
    assert (done.code, done.out) == (2, "")
    assert "Usage: panda" in done.err
    assert "--no-such-option" in done.err


@pytest.mark.parametrize("name", REMOTE)
def test_without_an_api_it_ends_with_3_and_says_how_to_get_one(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANDA_API_URL", f"http://127.0.0.1:{free_port('127.0.0.1')}")
    done = run(name, GOOD[name], "--json")
    assert (done.code, done.out) == (AWAY, "")
    assert "does not answer" in done.err
    assert "panda up" in done.err


def test_commands_of_the_api_load_neither_a_database_nor_services() -> None:
    modules = sorted({COMMANDS[name.split()[0]][0].partition(":")[0] for name in REMOTE})
    program = f"""
import importlib, sys
for name in {modules}: importlib.import_module(name)
heavy = ("sqlalchemy", "psycopg2", "alembic", "prefect", "fastapi", "panda.store", "panda.services", "panda.proddb",
         "panda.ddm", "panda.wiring", "panda.brokerage")
print([one for one in heavy if one in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_help_loads_no_command() -> None:
    program = """
import sys
from panda.cli import COMMANDS, main
sys.argv = ["panda", "--help"]
try: main()
except SystemExit: pass
loaded = {one for one in sys.modules if one.startswith("panda.")} - {"panda.cli", "panda.errors"}
print(sorted(loaded), [one for one in ("pydantic", "requests", "sqlalchemy", "yaml") if one in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] []"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("panda task ", "{task}"),
        ("panda jobs --task ", "{task}"),
        ("panda why site A", T1),
        ("panda why dataset mc.e", "mc.evgen.EVNT"),
        ("panda why pilot har", "harvest:41"),
        ("panda site ", T1),
        ("panda workers A", T1),
        ("panda files mc.e", "mc.evgen.EVNT"),
        ("panda --api-url {address} pause ", "{task}"),
        ("panda jobs --status act", "activated"),
        ("panda tasks --stage run", "running"),
        ("panda site ALPHA brok", "brokeroff"),
    ],
)
def test_a_shell_completes_states_and_the_names_that_the_api_knows(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch, line: str, offered: str
) -> None:
    typed = line.format(address=world.address, **world.names)
    if "--api-url" in line:
        monkeypatch.setenv("PANDA_API_URL", "nonsense")
    assert offered.format(**world.names) in completions(run, monkeypatch, typed)


def test_completion_is_silent_without_an_api(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_API_URL", f"http://127.0.0.1:{free_port('127.0.0.1')}")
    assert completions(run, monkeypatch, "panda task ") == []


def completions(run: Run, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What a shell is offered at the end of a line."""
    monkeypatch.setenv("_PANDA_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    done = run("", "")
    assert done.err == ""
    return done.out.split()


def test_the_completion_of_a_shell_can_be_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    done = run("--show-completion bash", "")
    assert (done.code, done.err) == (0, "")
    assert "_PANDA_COMPLETE=complete_bash" in done.out


@pytest.mark.parametrize("arguments", [("watch",), ("watch", "{task}"), ("watch", "--json")])
def test_watching_without_a_terminal_ends_cleanly_with_ctrl_c(world: World, arguments: tuple[str, ...]) -> None:
    typed = [one.format_map(world.names) for one in arguments]
    watching = subprocess.Popen(
        [sys.executable, "-m", "panda.cli", *typed], env={**os.environ, **world.environment}, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout is not None
    first = watching.stdout.readline()
    if "--json" in arguments:
        assert json.loads(first)["jobs"]
    watching.send_signal(signal.SIGINT)
    rest, complaint = watching.communicate(timeout=30)
    assert (watching.returncode, rest.strip(), complaint) == (INTERRUPTED, "", "")


def test_watching_on_a_terminal_draws_and_gives_it_back(world: World) -> None:
    ours, theirs = os.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "panda.cli", "watch"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT,
        env={**os.environ, **world.environment, "TERM": "xterm", "COLUMNS": "160", "LINES": "60"},
    )  # fmt: skip
    os.close(theirs)
    drawn = b""
    while b"mc.task" not in drawn:
        drawn += os.read(ours, 1 << 16)
    watching.send_signal(signal.SIGINT)
    while True:
        try:
            drawn += os.read(ours, 1 << 16)
        except OSError:  # all of it was read, and nobody writes any more
            break
    os.close(ours)
    assert watching.wait(30) == INTERRUPTED
    assert b"Traceback" not in drawn
    assert drawn.rindex(b"\x1b[?25h") > drawn.rindex(b"\x1b[?25l")  # the cursor is shown again
