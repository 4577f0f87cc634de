"""What is executed for a job: program, argument list and environment. Never a shell, nothing inherited by accident."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pilot.errors import ErrorCode, JobError
from pilot.job import Job
from pilot.names import checked_name

_INHERITED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")
_THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ATHENA_PROC_NUMBER",
)
_MAX_ARGUMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Command:
    """A program to be executed as it stands."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def find_transformation(appdir: str, job: Job) -> Path:
    """<appdir>/<release>/<transformation>, or <appdir>/<transformation> of a job without release; must be executable.

    1186 no software folder here, 1211 the release is not installed, 1346 the release has no such transformation.
    """
    release = _release_folder(appdir, job)
    program = release / checked_name("transformation", job.transformation)
    if not program.is_file() or not os.access(program, os.X_OK):
        message = f"{release} holds no executable {job.transformation}"
        raise JobError(ErrorCode.TRANSFORMATION_MISSING, message)
    return program


def _release_folder(appdir: str, job: Job) -> Path:
    folder = Path(appdir)
    if not appdir or not folder.is_dir():
        raise JobError(ErrorCode.NO_SOFTWARE_FOLDER, f"the site's software folder {appdir or '(none)'} is not there")
    release = folder / checked_name("release", job.release) if job.release else folder
    if not release.is_dir():
        raise JobError(ErrorCode.RELEASE_MISSING, f"release {job.release} is not installed in {appdir}")
    return release


def build_command(
    job: Job,
    appdir: str,
    queue: str,
    work: Path,
    cache: Path,
    inherited: Mapping[str, str],
    served: Path | None = None,
) -> Command:
    """Argument list and clean environment of a job; JobError if it cannot be run here.

    `served` is a program that came from the server; it runs in the environment of the job's release, if it has one.
    """
    if job.container and served is None:
        message = f"the job wants container {job.container}; only a program of the server starts one by itself"
        raise JobError(ErrorCode.CONTAINER_MISSING, message)
    program = served or find_transformation(appdir, job)
    release = program.parent if served is None or not job.release else _release_folder(appdir, job)
    return Command((str(program), *_arguments(job)), _environment(job, release, queue, work, cache, inherited))


def _arguments(job: Job) -> list[str]:
    if len(job.parameters) > _MAX_ARGUMENTS or "\0" in job.parameters:
        message = f"jobPars has more than {_MAX_ARGUMENTS} characters or holds a NUL character"
        raise JobError(ErrorCode.SETUP_FAILED, message)
    try:
        return shlex.split(job.parameters)
    except ValueError as error:
        raise JobError(ErrorCode.SETUP_FAILED, f"jobPars cannot be split into arguments: {error}") from error


def _environment(
    job: Job, release: Path, queue: str, work: Path, cache: Path, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The whitelist, the job's own variables, and what the release's release.json adds under "environment"."""
    variables = {name: inherited[name] for name in _INHERITED if name in inherited}
    python = str(Path(sys.executable).parent)
    variables |= {
        "PATH": os.pathsep.join((str(release), python, "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(work),
        "PWD": str(work),
        "TMPDIR": str(work.parent / "tmp"),
        "XDG_CACHE_HOME": str(cache),
        "PANDA_JOB_ID": str(job.panda_id),
        "PandaID": str(job.panda_id),
        "PANDA_TASK_ID": job.task_id,
        "PANDA_ATTEMPT": str(job.attempt),
        "PANDA_QUEUE": queue,
        "PANDA_RELEASE": job.release,
        "PANDA_RELEASE_DIR": str(release),
    }
    variables |= dict.fromkeys(_THREAD_SETTINGS, str(job.cores))
    return variables | _release_environment(release)


def _release_environment(release: Path) -> dict[str, str]:
    description = release / "release.json"
    if not description.is_file():
        return {}
    try:
        content = json.loads(description.read_text(encoding="utf-8") or "{}")
        wanted = content.get("environment", {})
        variables = {str(name): str(value).replace("{release}", str(release)) for name, value in wanted.items()}
        bad = [name for name, value in variables.items() if not name or "=" in name or "\0" in name + value]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise JobError(ErrorCode.SETUP_FAILED, f"{description} cannot be read: {error}") from error
    if bad:
        raise JobError(ErrorCode.SETUP_FAILED, f"{description} sets variables that cannot be set: {bad!r:.100}")
    return variables
