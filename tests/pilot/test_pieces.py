"""Pieces by themselves: names, puts, claims, limits, the job dictionary, facts."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilot.errors import JobError, JobReportError, StorageAwayError
from pilot.facts import installed_releases
from pilot.files import digest, put
from pilot.job import parse_job
from pilot.jobreport import read_job_report
from pilot.limits import Limits, Usage, memory_limit_mb, violation
from pilot.names import NAME, place
from pilot.settings import parse_settings
from pilot.steps import one_line
from pilot.workspace import Workspace
from tests.pilot.conftest import ROOT

IDLE = Usage(wall_s=0, cpu_s=0, rss_kb=0, folder_bytes=0, stdout_bytes=0, untouched_s=0, free_bytes=1 << 40)


@given(st.text(), st.text())
def test_a_place_is_below_its_root_or_refused(scope: str, lfn: str) -> None:
    root = Path("/nowhere/rse")
    if all(NAME.fullmatch(name) and ".." not in name for name in (scope, lfn)):
        path = place(root, scope, lfn)
        assert path.resolve().is_relative_to(root)
        assert path.name == lfn
    else:
        with pytest.raises(JobError, match="is refused"):
            place(root, scope, lfn)


@given(st.from_regex(NAME, fullmatch=True).filter(lambda name: ".." not in name))
def test_good_names_pass(name: str) -> None:
    assert place(Path("/nowhere"), "mc", name).name == name


def test_a_scope_that_is_a_link_out_of_the_storage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rse").mkdir()
    (tmp_path / "rse" / "mc").symlink_to("/tmp")
    with pytest.raises(JobError, match="leaves the storage"):
        place(tmp_path / "rse", "mc", "file")


def test_puts(tmp_path: Path) -> None:
    source, root = tmp_path / "out", tmp_path / "rse"
    source.write_bytes(b"x" * 3_000_000)
    with pytest.raises(StorageAwayError):
        put(source, root, "mc", "out", 1)
    root.mkdir()
    final = place(root, "mc", "out")
    final.parent.mkdir(parents=True)
    stale = final.with_name("out.part-1")
    stale.write_bytes(b"half of an earlier tr")

    sent = put(source, root, "mc", "out", 1)
    assert sent == digest(final) == digest(source)
    assert put(source, root, "mc", "out", 1) == sent, "the same again is a success"
    source.write_bytes(b"y" * 3_000_000)
    with pytest.raises(JobError, match="stored already"):
        put(source, root, "mc", "out", 2)
    assert digest(final) == sent
    assert [path.name for path in final.parent.iterdir()] == ["out"]


def test_a_storage_that_does_not_take_the_file_is_away_not_broken(tmp_path: Path) -> None:
    source, root = tmp_path / "out", tmp_path / "rse"
    source.write_bytes(b"x")
    root.mkdir()
    blocked = place(root, "mc", "out").parent
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder must be")
    with pytest.raises(StorageAwayError):
        put(source, root, "mc", "out", 1)


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    home = space.create_job(7, 1, {})
    assert not space.claim(home)
    with pytest.raises(JobError, match="in hand"):
        space.create_job(7, 1, {})
    space.release(home)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(Workspace(tmp_path).claim(home))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1


def test_a_dead_owner_is_followed_by_exactly_one(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    home = space.create_job(7, 1, {})
    (home / "lock").write_text((home / "lock").read_text().replace('"start": ', '"start": 1'))
    assert [folder.name for folder in space.ownerless(space.jobs)] == ["7-1"]
    assert not list(space.ownerless(space.jobs))
    (home / "lock").write_text('{"host": "another-host", "pid": 1, "start": 1}')
    assert not list(space.ownerless(space.jobs)), "a pilot on another host shows life by touching its claim"


def test_an_attempt_that_waits_for_delivery_is_not_run_again(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    space.keep_for_delivery(space.create_job(7, 1, {}))
    with pytest.raises(JobError, match="in hand"):
        space.create_job(7, 1, {})
    assert not list(space.jobs.iterdir())


@pytest.mark.parametrize(
    ("asked", "maxrss", "limit"),
    [(0, 2000, 2000), (0, None, 0), (500, None, 1000), (500, 2000, 1000), (1500, 2000, 2000), (3000, 2000, 3000)],
)
def test_memory_limits(asked: int, maxrss: int | None, limit: int) -> None:
    assert memory_limit_mb(asked, maxrss, 2.0) == limit


def test_no_limit_means_no_violation() -> None:
    busy = Usage(
        wall_s=1e9, cpu_s=1e9, rss_kb=1 << 40, folder_bytes=1 << 50, stdout_bytes=1 << 50, untouched_s=1e9, free_bytes=0
    )
    assert violation(busy, Limits()) is None
    assert violation(IDLE, Limits(1, 1, 1, 1, 1, 1)) is None


def a_wire_job(**more: Any) -> dict[str, Any]:
    return {"PandaID": "5", "attemptNr": "2", "transformation": "t", "swRelease": "r", "jobPars": ""} | more


def test_lists_are_parallel_and_the_log_counts() -> None:
    job = parse_job(
        a_wire_job(
            outFiles="a,l.tgz,b", scopeOut="s1,s2", ddmEndPointOut="E1,E2,E3", logFile="l.tgz", scopeLog="sl",
            logGUID="G", inFiles="i,i,j", scopeIn="x,x,y", fsize="1,1,NULL", coreCount="NULL", lease="9",
        )
    )  # fmt: skip
    assert [(f.lfn, f.scope, f.endpoint) for f in job.outputs] == [("a", "s1", "E1"), ("b", "s2", "E3")]
    assert job.log is not None
    assert (job.log.scope, job.log.endpoint, job.log.guid) == ("sl", "E2", "G")
    assert [(f.lfn, f.scope, f.size) for f in job.inputs] == [("i", "x", 1), ("j", "y", None)]
    assert (job.panda_id, job.attempt, job.cores, job.lease) == (5, 2, 1, 9)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"outFiles": "a,b", "scopeOut": "s"}, "scopeOut has 1 entries for 2 outputs"),
        ({"outFiles": "a,a", "scopeOut": "s,s"}, "named twice"),
        ({"inFiles": "a,b", "scopeIn": "s,s", "fsize": "1"}, "fsize has 1 entries for 2 files"),
        ({"inFiles": "a", "scopeIn": "s", "fsize": "-1"}, "not a number of bytes"),
        ({"transformation": "NULL"}, "transformation '' is refused"),
        ({"swRelease": "a/b"}, "release 'a/b' is refused"),
        ({"minRamCount": "lots"}, "minRamCount"),
        ({"PandaID": "x"}, "invalid literal"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused_with_the_reason(more: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError, match=words):
        parse_job(a_wire_job(**more))


def test_releases_are_found_by_looking(tmp_path: Path) -> None:
    for name in ("with-json", "with-program", "with-text", "empty", ".hidden", "-dash"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "with-json" / "release.json").write_text("{}")
    (tmp_path / "with-text" / "notes.txt").write_text("")
    for folder in ("with-program", "-dash"):
        (tmp_path / folder / "run").write_text("")
        (tmp_path / folder / "run").chmod(0o755)
    assert installed_releases(tmp_path) == ("with-json", "with-program")
    assert installed_releases(tmp_path / "gone") == ()


def test_foreign_text_stays_on_one_line() -> None:
    assert one_line("a\nb\x1b[31m\u202e") == "a b [31m"


def test_the_pilot_works_alone(tmp_path: Path) -> None:
    """Copied to a folder of its own it needs nothing else of ours."""
    shutil.copytree(ROOT / "pilot", tmp_path / "pilot", ignore=shutil.ignore_patterns("__pycache__"))
    names = [path.stem for path in (tmp_path / "pilot").glob("*.py") if path.stem != "__main__"]
    imports = ";".join(f"import pilot.{name}" for name in names if name != "__init__")
    check = "assert not {'panda', 'panda_api', 'prefect', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys; {imports}; {check}"], cwd=tmp_path, check=True)
    shown = subprocess.run([sys.executable, "-m", "pilot", "--help"], cwd=tmp_path, check=True, capture_output=True)
    assert b"--queue" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--queue", "Q", "--workdir", "w"], "--server"),
        (["--server", "u", "--queue", "Q", "--workdir", "w", "--patience", "-1"], "not a number above 0"),
        (["--server", "u", "--queue", "Q", "--workdir", "w", "--token-file", "gone"], "there is no file gone"),
        (["--server", "u", "--queue", "Q", "--workdir", "/proc/none"], "cannot be used as a folder"),
    ],
)
def test_bad_settings_say_what_is_wrong(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        parse_settings(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[]", "no object"), ('{"nEvents": -1}', "not a count")],
)
def test_a_job_report_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "jobReport.json").write_text(text)
    with pytest.raises(JobReportError, match=words):
        read_job_report(tmp_path)
