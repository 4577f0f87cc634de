#!/usr/bin/env python3
"""Run a program of a release in the site's software folder, for a pilot that is not ours.

Our own pilot finds and runs the program itself (pilot/command.py); a stock pilot downloads this file and runs
`./runRelease --software <folder> --release <name> --program <name> [..] -- <arguments of the program>` in the job's
work folder. The program gets the same environment from both.

Exit codes: those of the program; 2 wrong options, 64 arguments that cannot be read, 69 no such program here, 78 a
broken release.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+\-]{0,254}")
INHERITED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")
THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ATHENA_PROC_NUMBER",
)
WRONG, NOT_HERE, BROKEN = 64, 69, 78


class GiveUpError(Exception):
    """The program cannot be run: exit code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def checked(name: str) -> str:
    """Return a name that leads out of no folder."""
    if not NAME.fullmatch(name) or ".." in name:
        raise argparse.ArgumentTypeError(f"{name!r} is not a name")
    return name


def options(given: list[str]) -> argparse.Namespace:
    """Read what stands before `--`; exits with 2 if it is wrong."""
    parser = argparse.ArgumentParser("runRelease")
    parser.add_argument("--software", type=Path, required=True, help="the site's folder of releases")
    parser.add_argument("--release", type=checked, default="", help="none: the program lies in the folder itself")
    parser.add_argument("--program", type=checked, required=True)
    for name in ("--job", "--task", "--attempt", "--queue"):
        parser.add_argument(name, default="")
    parser.add_argument("--cores", default="1")
    parser.add_argument("--problem", help="why the server could not write the arguments down")
    return parser.parse_args(given)


def find_program(software: Path, release: str, name: str) -> Path:
    """Return the program; GiveUpError names the first thing that is not there."""
    if not software.is_dir():
        raise GiveUpError(NOT_HERE, f"the site's software folder {software} is not there")
    folder = software / release
    if not folder.is_dir():
        raise GiveUpError(NOT_HERE, f"release {release} is not installed in {software}")
    program = folder / name
    if not program.is_file() or not os.access(program, os.X_OK):
        raise GiveUpError(NOT_HERE, f"{folder} holds no executable {name}")
    return program


def environment(given: argparse.Namespace, release: Path) -> dict[str, str]:
    """Return a few variables of the pilot's, the job's own, and what release.json adds."""
    here = Path.cwd()
    temporary = here / ".tmp"
    temporary.mkdir(exist_ok=True)
    path = (str(release), str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")
    variables = {name: os.environ[name] for name in INHERITED if name in os.environ}
    variables.update(dict.fromkeys(THREAD_SETTINGS, given.cores))
    variables.update(
        PATH=os.pathsep.join(path),
        HOME=str(here),
        PWD=str(here),
        TMPDIR=str(temporary),
        XDG_CACHE_HOME=os.environ.get("XDG_CACHE_HOME", str(temporary)),
        PANDA_JOB_ID=given.job,
        PandaID=given.job,
        PANDA_TASK_ID=given.task,
        PANDA_ATTEMPT=given.attempt,
        PANDA_QUEUE=given.queue,
        PANDA_RELEASE=given.release,
        PANDA_RELEASE_DIR=str(release),
    )
    variables.update(described(release))
    return variables


def described(release: Path) -> dict[str, str]:
    """Return the variables that the release asks for in its release.json."""
    description = release / "release.json"
    if not description.is_file():
        return {}
    try:
        wanted = json.loads(description.read_text(encoding="utf-8") or "{}").get("environment", {})
        return {str(name): str(value).replace("{release}", str(release)) for name, value in wanted.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise GiveUpError(BROKEN, f"{description} cannot be read: {error}") from error


def main(arguments: list[str]) -> None:
    """Become the program."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = options(arguments[:end])
    if given.problem:
        raise GiveUpError(WRONG, given.problem)
    program = find_program(given.software, given.release, given.program)
    os.execve(program, [str(program), *arguments[end + 1 :]], environment(given, program.parent))  # noqa: S606


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except GiveUpError as error:
        sys.stderr.write(f"runRelease: {error}\n")
        sys.exit(error.code)
