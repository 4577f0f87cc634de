"""The runner of releases does for a stock pilot what our own pilot does itself: same words, same environment."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from panda_api.transforms import program, served, stock_job
from tests.api.test_render import JOB

HARD = ["--a", "two words", "it's", 'say "hi"', "$HOME", "`id`", "a;b", "*", "", "--", "-x", "back\\slash", "tab\there"]

PROGRAM = """#!/usr/bin/env python3
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ)]))
sys.exit(int(os.environ.get("WANTED", "0")))
"""


@pytest.fixture
def software(tmp_path: Path) -> Path:
    """A site's software folder with one release of one program."""
    folder = tmp_path / "software"
    (folder / "R-1").mkdir(parents=True)
    (folder / "R-1" / "show").write_text(PROGRAM)
    (folder / "R-1" / "show").chmod(0o755)
    return folder


def run(software: Path, parameters: str, **changes: Any) -> "subprocess.CompletedProcess[str]":
    """Run a job as a stock pilot does: download, make executable, `./<script> <jobPars>` in a shell."""
    job = JOB._replace(**{"transformation": "show", "parameters": parameters, "release": "R-1", "cores": 4, **changes})
    wire = stock_job(job, "http://127.0.0.1:1", "http://trusted/trf/user", str(software))
    assert wire["transformation"] == "http://trusted/trf/user/runRelease"
    work = software.parent / "work"
    work.mkdir()
    (work / "runRelease").write_bytes(program("runRelease"))
    (work / "runRelease").chmod(0o755)
    line = f"export X509_USER_PROXY=/nowhere;./runRelease {wire['jobPars']}"
    return subprocess.run(["sh", "-c", line], cwd=work, capture_output=True, text=True, check=False)


def test_every_word_arrives_as_it_was_written(software: Path) -> None:
    done = run(software, shlex.join(HARD))
    assert done.returncode == 0, done.stderr
    arguments, environment = json.loads(done.stdout)
    assert arguments == HARD
    assert environment["PATH"].startswith(f"{software / 'R-1'}{os.pathsep}")
    assert environment["OMP_NUM_THREADS"] == environment["ATHENA_PROC_NUMBER"] == "4"
    assert environment["PANDA_RELEASE_DIR"] == str(software / "R-1")
    assert environment["HOME"] == str(software.parent / "work")
    assert environment["PANDA_JOB_ID"].isdigit()
    assert "X509_USER_PROXY" not in environment


def test_release_json_adds_variables_and_the_exit_code_is_the_programs(software: Path) -> None:
    (software / "R-1" / "release.json").write_text('{"environment": {"WANTED": "7", "DATA": "{release}/data"}}')
    done = run(software, "")
    assert done.returncode == 7
    assert json.loads(done.stdout)[1]["DATA"] == f"{software / 'R-1'}/data"


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"release": "R-2"}, 69, "R-2 is not installed"),
        ({"transformation": "gone"}, 69, "no executable gone"),
        ({"transformation": "../R-1/show"}, 2, "is not a name"),
        ({"parameters": "an 'open quote"}, 64, "cannot be split"),
        ({"container": "docker://alpine"}, 64, "only a program of the server starts one"),
    ],
)
def test_what_cannot_be_run_says_why(software: Path, changes: dict[str, Any], code: int, says: str) -> None:
    done = run(software, changes.pop("parameters", ""), **changes)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_a_broken_description_of_a_release_is_told(software: Path) -> None:
    (software / "R-1" / "release.json").write_text("[")
    done = run(software, "")
    assert done.returncode == 78
    assert "release.json" in done.stderr


def test_what_is_downloaded_anyway_stays_as_it_is() -> None:
    own, trusted = "http://127.0.0.1:1", "http://trusted/trf/user"
    for transformation, url in {
        "https://elsewhere.example/run": "https://elsewhere.example/run",
        f"{own}/trf/user/runRelease": f"{trusted}/runRelease",
        "runRelease": f"{trusted}/runRelease",
    }.items():
        job = JOB._replace(transformation=transformation, parameters="-p 'a b'")
        wire = stock_job(job, own, trusted, "/software")
        assert (wire["transformation"], wire["jobPars"]) == (url, "-p 'a b'")


def test_no_image_is_named_to_the_pilot() -> None:
    """3.11 puts a job with one aside where the queue has no container_type; `runGen` starts the container itself."""
    for container in ("", "docker://alpine:3.20"):
        job = JOB._replace(transformation="runGen", parameters="--container X -p a", container=container)
        wire = stock_job(job, "http://127.0.0.1:1", "http://trusted", "/software")
        assert (wire["container_name"], wire["jobPars"]) == ("", "--container X -p a")


def test_inputs_are_local() -> None:
    job = JOB
    assert job.inputs
    wire = stock_job(job, "http://127.0.0.1:1", "http://trusted", "/software")
    assert wire["prodDBlockToken"] == ",".join(["local"] * len(job.inputs))


def test_every_transform_is_a_program_that_needs_nothing_of_ours() -> None:
    assert "runRelease" in served()
    for name in served():
        text = program(name).decode()
        assert text.startswith("#!/usr/bin/env python3\n")
        assert "from panda" not in text
        assert "import panda" not in text
