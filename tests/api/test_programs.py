"""The programs of prun's jobs, as a pilot fetches and runs them: sandbox, build step, inputs, outputs, exit codes."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from panda_api.trf.user import run_gen
from pilot.client import Server
from pilot.errors import JobError
from pilot.job import Job, parse_job
from pilot.transform import fetch_transformation
from tests.api.test_routes import good
from tests.support.image import MARK, unpacked_image
from tests.support.serving import Caller

SAY = """
echo "$1" > out.txt; shift
for name in "$@"; do cat $name >> out.txt; done
test -f ../lib.txt && cat ../lib.txt >> out.txt
exit 0
"""


def a_sandbox(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def a_job(address: str, program: str) -> Job:
    raw = {"PandaID": 1, "attemptNr": 1, "transformation": program, "sourceURL": address}
    return parse_job(raw)


def run(address: str, work: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program as the pilot does: fetched, then executed in the work folder."""
    path = fetch_transformation(a_job(address, f"{address}/trf/user/{name}"), Server(address), work)
    environment = {"PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))}
    return subprocess.run(
        [str(path), *arguments], cwd=work, env=environment, capture_output=True, text=True, check=False
    )


def upload(caller: Caller, name: str, content: bytes) -> None:
    good(caller.post("/api/v1/file_server/upload_cache_file", files={"file": (name, content)}))


def test_a_command_runs_in_its_sandbox_and_leaves_its_outputs(caller: Caller, tmp_path: Path) -> None:
    upload(caller, "jobO.1.tar.gz", a_sandbox({"say.sh": SAY}))
    (tmp_path / "a.dat").write_text("A\n")
    (tmp_path / "b.dat").write_text("B\n")
    words = quote("""sh say.sh 'two  words' $(echo %IN | tr , ' ')""")
    done = run(
        caller.address, tmp_path, "runGen", "-j", "", "--sourceURL", caller.address, "-r", ".", "-a", "jobO.1.tar.gz",
        "-o", "{'out.txt': 'user.t.1._000001.out.txt', '*.sh': 'scripts.tgz'}", "-i", "['a.dat','b.dat']", "-p", words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "user.t.1._000001.out.txt").read_text() == "two  words\nA\nB\n"
    with tarfile.open(tmp_path / "scripts.tgz") as scripts:
        assert scripts.getnames() == ["say.sh"]
    assert not (tmp_path / "workDir").exists()


def test_a_command_finds_its_owners_secrets_in_its_folder(caller: Caller, tmp_path: Path) -> None:
    (tmp_path / "panda_secrets.json").write_text('{"password": "one"}')
    words = quote("cp panda_secrets.json ../../out.txt")
    done = run(caller.address, tmp_path, "runGen", "-r", "sub", "-p", words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.txt").read_text() == '{"password": "one"}'
    assert not (tmp_path / "workDir").exists()


def test_a_library_is_built_once_and_read_by_the_run(caller: Caller, tmp_path: Path) -> None:
    upload(caller, "sources.1.tar.gz", a_sandbox({"say.sh": SAY, "sub/Makefile": "all:\n\techo made > ../lib.txt\n"}))
    make = quote("echo made > ../lib.txt")
    done = run(
        caller.address, tmp_path, "buildGen", "-i", "sources.1.tar.gz", "-o", "lib.tgz", "--sourceURL", caller.address,
        "-r", "sub", "--bexec", make,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run(
        caller.address, tmp_path, "runGen", "-j", "", "-r", "sub", "-l", "lib.tgz", "-o", "{'out.txt': 'o'}",
        "-p", quote("sh ../say.sh x"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o").read_text() == "x\nmade\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("-p", "exit%207"), 7, "ended with 7"),
        (("-p", "true", "-o", "{'out.txt': 'o'}"), 43, "left no out.txt"),
        (("-p", "true", "-o", "{'out.txt': 'o'}", "--allowNoOutput=o"), 0, ""),
        (("-p", "true", "-a", "jobO.none.tar.gz"), 40, "does not come"),
        (("-p", "true", "-l", "none.tgz"), 41, "cannot be unpacked"),
        (("-p", "true", "-i", "['none']"), 42, "input none is not there"),
        (("-p", "true", "--container=docker://x", "--runtime="), 44, "(none) is not on this node"),
        (("-p", "true", "--container=docker://x", "--runtime=chroot"), 44, "chroot is not on this node"),
        (("-p", "true", "--useRootCore"), 2, "--useRootCore"),
        (("-p", "true", "-o", "[1]"), 2, "no dictionary"),
    ],
)
def test_what_goes_wrong_has_its_exit_code(
    caller: Caller, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = run(caller.address, tmp_path, "runGen", "--sourceURL", caller.address, *arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_a_command_runs_in_an_image_and_sees_only_its_job(caller: Caller, tmp_path: Path) -> None:
    image = unpacked_image(tmp_path / "image")
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "replica").write_text("A\n")
    (work / "a.dat").symlink_to(tmp_path / "replica")
    (work / "b.dat").write_text("B\n")
    words = f"cat /etc/mark a.dat b.dat > out.txt; (echo $PWD $HOME; cat {work}/b.dat || echo $(echo /*)) >> out.txt"
    asked = (
        "-r", "sub", "-o", "{'out.txt': 'o'}", "-i", "['a.dat','b.dat']", "-p", quote(words),
    )  # fmt: skip
    done = run(caller.address, work, "runGen", *asked, f"--container={image}", "--runtime=bubblewrap")
    assert done.returncode == 0, done.stderr
    mark, first, second, places, root = (work / "o").read_text().splitlines()
    assert (f"{mark}\n", first, second, places) == (MARK, "A", "B", "/srv/workDir/sub /srv")
    assert (
        {"/srv", "/etc", "/tmp"}
        <= set(root.split())
        <= {"/srv", "/tmp", "/dev", "/proc"} | {f"/{one.name}" for one in image.iterdir()}
    )
    code = run(caller.address, work, "runGen", "-p", "exit%205", f"--container={image}", "--runtime=bubblewrap")
    assert code.returncode == 5
    missing = run(caller.address, work, "runGen", "-p", "true", "--container=/no/image", "--runtime=bubblewrap")
    assert (missing.returncode, "/no/image is not there" in missing.stderr) == (44, True)
    packed = run(caller.address, work, "runGen", "-p", "true", "--container=docker://x", "--runtime=bubblewrap")
    assert (packed.returncode, "unpacked images" in packed.stderr) == (44, True)


def test_the_command_line_of_apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apptainer itself is in no package of Debian 12: what it would be told."""
    (tmp_path / "apptainer").write_text("")
    (tmp_path / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    asked = run_gen.options(["-p", "true", "--container=docker://alpine:3.20", "--runtime=apptainer"])
    line, around = run_gen.command_line(asked, Path("workDir/sub"), "echo 'a b'")
    assert line == [
        f"{tmp_path}/apptainer", "exec", "--contain", "--home", f"{tmp_path}:/srv", "--pwd", "/srv/workDir/sub",
        "docker://alpine:3.20", "/bin/sh", "-c", "echo 'a b'",
    ]  # fmt: skip
    assert around["PATH"].endswith("/usr/bin:/sbin:/bin")


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil-of-a-test"])
def test_a_sandbox_that_leaves_its_folder_is_refused(caller: Caller, tmp_path: Path, name: str) -> None:
    upload(caller, "jobO.1.tar.gz", a_sandbox({name: "x"}))
    done = run(caller.address, tmp_path, "runGen", "--sourceURL", caller.address, "-a", "jobO.1.tar.gz", "-p", "true")
    assert (done.returncode, "leaves its folder" in done.stderr) == (41, True)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("http://elsewhere.example/trf/user/runGen", 1110),
        ("{server}/cache/jobO.1.tar.gz", 1110),
        ("{server}/trf/user/runGen?x=1", 1110),
        ("{server}/trf/user/noGen", 1346),
    ],
)
def test_the_pilot_runs_programs_of_its_own_server_only(
    caller: Caller, tmp_path: Path, program: str, code: int
) -> None:
    job = a_job(caller.address, program.format(server=caller.address))
    with pytest.raises(JobError) as caught:
        fetch_transformation(job, Server(caller.address), tmp_path)
    assert int(caught.value.code) == code
    assert list(tmp_path.glob("*Gen")) == []
