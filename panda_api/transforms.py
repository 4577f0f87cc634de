"""The programs that stock pilots download: where they are, and what a job is in the words of such a pilot.

A stock pilot runs a script that it downloads; our production tasks name a program of a release in the site's software
folder. The script that brings the two together is `runRelease` (panda_api/trf/user/run_release.py).
"""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from panda.domain.dispatch import HandedJob
from panda.errors import NotFound
from panda.services import grid
from panda.services.context import Context
from panda_api.render import WireJob, wire_job

FOLDER = Path(__file__).with_name("trf") / "user"
RELEASE_RUNNER = "runRelease"
_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def served() -> list[str]:
    """The names of all transforms: `runRelease` lies in run_release.py."""
    return sorted(_public_name(one) for one in FOLDER.glob("[a-z]*.py"))


def program(name: str) -> bytes:
    """The text of a transform. Raises NotFound that names those there are."""
    if name not in served():
        raise NotFound(f"there is no transform {name[:64]!r}", hint=f"known: {', '.join(served())}")
    return (FOLDER / f"{_BREAK.sub('_', name).lower()}.py").read_bytes()


def _public_name(file: Path) -> str:
    first, *others = file.stem.split("_")
    return first + "".join(one.capitalize() for one in others)


def stock_jobs(ctx: Context, queue: str, jobs: Iterable[HandedJob]) -> list[WireJob]:
    """The jobs that a stock pilot got at a queue, as it runs them."""
    software = str(grid.queue_view(ctx, queue)["appdir"])
    return [stock_job(one, ctx.settings.api_url, ctx.settings.transforms_url, software) for one in jobs]


def stock_job(job: HandedJob, source_url: str, transforms_url: str, software: str) -> WireJob:
    """A job as stock pilots run it: a script to download and its arguments as shell text (wire-protocol.md 5).

    Inputs lie at the site already: the token `local` has them copied or linked, never read over the network. An image
    is the script's business: named to these pilots (also as NULL), it has them look for containers of cvmfs.
    """
    wire = wire_job(_runnable(job, source_url, transforms_url, software), source_url)
    return wire | {"prodDBlockToken": ",".join("local" for _ in job.inputs), "container_name": ""}


def _runnable(job: HandedJob, source_url: str, transforms_url: str, software: str) -> HandedJob:
    """Keep what is downloaded anyway (transforms of users' tasks), put the runner before programs of releases."""
    name = job.transformation.removeprefix(f"{source_url}/trf/user/")
    if name in served():
        return job._replace(transformation=f"{transforms_url}/{name}", common=None)
    if name.startswith(("http://", "https://")):
        return job
    return job._replace(
        transformation=f"{transforms_url}/{RELEASE_RUNNER}", parameters=_arguments(job, software), common=None
    )


def _arguments(job: HandedJob, software: str) -> str:
    """The runner's options, `--`, and the words of the program's own arguments, none of which a shell changes."""
    options = {
        "software": software, "release": job.release, "program": job.transformation, "job": job.job_id,
        "task": job.task_id, "attempt": job.attempt, "queue": job.queue, "cores": job.cores,
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in options.items() if value != ""]
    if job.container:
        problem = f"the job wants container {job.container}; only a program of the server starts one by itself"
        return shlex.join([*words, f"--problem={problem}"])
    try:
        return shlex.join([*words, "--", *shlex.split(job.parameters)])
    except ValueError as error:
        return shlex.join([*words, f"--problem=jobPars cannot be split into arguments: {error}"])
