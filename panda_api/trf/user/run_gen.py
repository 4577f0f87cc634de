#!/usr/bin/env python3
"""Run a user's command in the user's sandbox: the program of prun's jobs, one file that any pilot downloads.

`runGen -j "" --sourceURL URL -r DIR (-a SANDBOX | -l LIBRARY) -o "{'name': 'lfn'}" [-i "['lfn', ..]"] -p "COMMAND"`
unpacks the sandbox (fetched from URL/cache) or the library (an input) into a folder of its own, puts the inputs into
its subfolder DIR, runs the url-quoted COMMAND there with `%IN` replaced by the inputs, and leaves every output under
its lfn where the pilot looks for it (wire-protocol.md 7.2).

`--container IMAGE --runtime apptainer|singularity|bubblewrap` runs the COMMAND, and only it, inside an image: the job's
folder is /srv there, nothing else of this node is seen. Bubblewrap takes the folder of an unpacked image.

Exit codes: the command's own; 2 wrong options, 40 the sandbox does not come, 41 it cannot be unpacked, 42 an input is
not there, 43 an output is not there, 44 the container cannot be run.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote

NO_SANDBOX, BAD_SANDBOX, NO_INPUT, NO_OUTPUT, NO_CONTAINER = 40, 41, 42, 43, 44
TRIES, PAUSE_S, TIMEOUT_S = 3, 5.0, 120
HOME = Path("workDir")
SECRETS = "panda_secrets.json"
INSIDE, SCRATCH = Path("/srv"), "/tmp"  # noqa: S108 - in the image
OF_RUNTIME = frozenset({"dev", "proc", "sys", "tmp", INSIDE.name})
INSIDE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class GiveUpError(Exception):
    """The job cannot be run or has failed: exit code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def names(text: str) -> list[str]:
    """Read a list of file names as Python or commas write it."""
    return [str(one) for one in ast.literal_eval(text)] if text.startswith("[") else text.split(",") if text else []


def table(text: str) -> dict[str, object]:
    """Read a dictionary as Python writes it."""
    value = ast.literal_eval(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no dictionary")
    return value


def options(given: list[str]) -> argparse.Namespace:
    """Read the arguments that prun and the server put together; an unknown one ends with 2, not in a wrong run."""
    parser = argparse.ArgumentParser("runGen", allow_abbrev=False)
    parser.add_argument("-j", dest="script", default="", help="url-quoted program before the command")
    parser.add_argument("-p", dest="command", default="", help="url-quoted command")
    parser.add_argument("-r", dest="folder", default=".", help="where to run, below the sandbox")
    parser.add_argument("-a", dest="sandbox", default="", help="archive in the server's cache")
    parser.add_argument("-l", dest="library", default="", help="archive that is an input of the job")
    parser.add_argument("-o", dest="outputs", type=table, default={}, help="{'name': 'lfn'}")
    parser.add_argument("-i", dest="inputs", type=names, default=[], help="['lfn', ...]")
    parser.add_argument("--inMap", dest="streams", type=table, default={}, help="{'STREAM': ['lfn', ...]}")
    parser.add_argument("--sourceURL", dest="source", default="")
    parser.add_argument("--allowNoOutput", dest="optional", type=names, default=[])
    parser.add_argument("--writeInputToTxt", dest="lists", default="", help="STREAM:file,...")
    parser.add_argument("--execWithRealFileNames", dest="real_names", action="store_true")
    parser.add_argument("--container", default="", help="image that the command runs in")
    parser.add_argument("--runtime", default="", help="what starts the image here")
    return parser.parse_args(given)


def fetch(address: str, target: Path) -> None:
    """Download one file, with some patience for a server that is just away."""
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer, target.open("wb") as sink:  # noqa: S310 - the job's server
                shutil.copyfileobj(answer, sink)
        except OSError as error:
            lost = isinstance(error, urllib.error.HTTPError) and error.code < 500  # noqa: PLR2004 - not the server's fault
            if lost or not left:
                raise GiveUpError(NO_SANDBOX, f"{address} does not come: {error}") from error
            time.sleep(PAUSE_S)
        else:
            return


def unpack(archive: Path, folder: Path) -> None:
    """Lay an archive out below a folder; what would lie elsewhere is refused."""
    try:
        with tarfile.open(archive) as content:
            root = folder.resolve()
            for member in content.getmembers():
                if not (root / member.name).resolve().is_relative_to(root):
                    raise GiveUpError(BAD_SANDBOX, f"{archive} holds {member.name}, which leaves its folder")
            content.extractall(folder)  # noqa: S202 - checked above
    except (OSError, tarfile.TarError) as error:
        raise GiveUpError(BAD_SANDBOX, f"{archive} cannot be unpacked: {error}") from error


def prepare(asked: argparse.Namespace) -> Path:
    """Make the folder the command runs in, with sandbox and inputs; the answer is that folder."""
    HOME.mkdir()
    if asked.sandbox:
        fetch(f"{asked.source}/cache/{asked.sandbox}", Path(asked.sandbox))
    for name in filter(None, (asked.sandbox, asked.library)):
        unpack(Path(name), HOME)
    place: Path = HOME / asked.folder
    place.mkdir(parents=True, exist_ok=True)
    for stream in streams(asked).values():
        for name in stream:
            if not Path(name).exists():
                raise GiveUpError(NO_INPUT, f"input {name} is not there")
            if asked.container and Path(name).is_symlink():  # it leads to a place that is not seen from inside
                shutil.copy(name, place / name)
            elif not (place / name).exists():
                (place / name).symlink_to(os.path.relpath(name, place))
    if Path(SECRETS).is_file() and not (place / SECRETS).exists():
        (place / SECRETS).symlink_to(os.path.relpath(SECRETS, place))
    for entry in filter(None, asked.lists.split(",")):
        stream, _, name = entry.partition(":")
        (place / name).write_text("".join(f"{one}\n" for one in streams(asked).get(stream, [])), encoding="utf-8")
    return place


def streams(asked: argparse.Namespace) -> dict[str, list[str]]:
    """Give the inputs by the name of their stream."""
    return {
        **{name: list(files) for name, files in asked.streams.items()},
        **({"IN": asked.inputs} if asked.inputs else {}),
    }


def command_of(asked: argparse.Namespace) -> str:
    """Write the command with the names of this job's files in it."""
    words = " ".join(filter(None, (unquote(asked.script), unquote(asked.command))))
    for stream, files in sorted(streams(asked).items(), key=lambda one: -len(one[0])):
        words = words.replace(f"%{stream}", ",".join(files))
    if asked.real_names:
        for name, lfn in asked.outputs.items():
            words = words.replace(name, str(lfn))
    return words


def command_line(asked: argparse.Namespace, place: Path, words: str) -> tuple[list[str], dict[str, str]]:
    """Give what is executed, and its environment: a shell, in the image if there is one."""
    shell = ["/bin/sh", "-c", words]
    if not asked.container:
        return shell, {**os.environ, "PWD": str(place.resolve())}
    names = {"apptainer": "apptainer", "singularity": "singularity", "bubblewrap": "bwrap"}
    runtime = shutil.which(names.get(asked.runtime, ""))
    if runtime is None:
        raise GiveUpError(NO_CONTAINER, f"container runtime {asked.runtime or '(none)'} is not on this node")
    if asked.container.startswith("/") and not Path(asked.container).exists():
        raise GiveUpError(NO_CONTAINER, f"image {asked.container} is not there")
    job, inside = Path.cwd(), str(INSIDE / place)
    around = {**os.environ, "PATH": INSIDE_PATH, "PWD": inside, "HOME": str(INSIDE), "TMPDIR": SCRATCH}
    if asked.runtime == "bubblewrap":
        options = [*unpacked(Path(asked.container)), "--bind", str(job), str(INSIDE), "--chdir", inside]
        return [runtime, *options, *shell], around
    # --contain: no home, /tmp or other folder of this node; the job's folder is the home.
    options = ["--contain", "--home", f"{job}:{INSIDE}", "--pwd", inside]
    return [runtime, "exec", *options, asked.container, *shell], around


def unpacked(image: Path) -> list[str]:
    """Give bubblewrap's options for an unpacked image: each of its folders, read only, in an empty root."""
    if not image.is_dir():
        raise GiveUpError(NO_CONTAINER, f"image {image} is no folder: bubblewrap runs unpacked images")
    words = ["--unshare-pid", "--unshare-ipc", "--die-with-parent", "--dev", "/dev", "--proc", "/proc"]
    words += ["--tmpfs", SCRATCH]
    for one in sorted(image.iterdir()):
        if one.is_symlink():
            words += ["--symlink", str(one.readlink()), f"/{one.name}"]
        elif one.name not in OF_RUNTIME:
            words += ["--ro-bind", str(one), f"/{one.name}"]
    return words


def collect(asked: argparse.Namespace, place: Path) -> None:
    """Put the outputs where the pilot looks for them; a pattern (`*.txt`) becomes one archive."""
    for name, lfn in asked.outputs.items():
        made = place / (lfn if asked.real_names else name)
        if "*" in name:
            found = sorted(place.glob(name))
            if found:
                with tarfile.open(lfn, "w:gz") as archive:
                    for one in found:
                        archive.add(one, arcname=one.name)
        elif made.is_file():
            shutil.move(str(made), lfn)
        if not Path(lfn).exists() and lfn not in asked.optional:
            raise GiveUpError(NO_OUTPUT, f"the command left no {name} in {asked.folder}")


def main(given: list[str]) -> int:
    """Run it; the answer is the exit code."""
    asked = options(given)
    try:
        place = prepare(asked)
        words = command_of(asked)
        print(f"runGen: {words}", flush=True)
        line, environment = command_line(asked, place, words)
        code = subprocess.run(line, cwd=place, check=False, env=environment).returncode
        if code:
            print(f"runGen: the command ended with {code}", file=sys.stderr)
            return code if code > 0 else 128 - code
        collect(asked, place)
    except GiveUpError as error:
        print(f"runGen: {error}", file=sys.stderr)
        return error.code
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
