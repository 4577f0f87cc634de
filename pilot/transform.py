"""Programs that the server itself serves: a transformation that is an address below /trf/ of the job's own server."""

from pathlib import Path
from urllib.parse import urlsplit

from pilot.client import Server
from pilot.errors import ErrorCode, JobError, ServerRefusedError
from pilot.job import Job
from pilot.names import checked_name

_BELOW = "/trf/"


def is_served(job: Job) -> bool:
    """Whether the job names an address, not a program of a release."""
    return "://" in job.transformation


def fetch_transformation(job: Job, server: Server, work: Path) -> Path:
    """Lay the program into the work folder, ready to be executed.

    1110 for an address of anybody but the server that gave the job, 1346 if it has no such program. Raises
    ServerAwayError while the server does not answer.
    """
    asked, own = urlsplit(job.transformation), urlsplit(job.source_url)
    if (asked.scheme, asked.netloc) != (own.scheme, own.netloc) or not asked.path.startswith(_BELOW) or asked.query:
        message = (
            f"transformation {job.transformation!r:.200} is not a program of the server ({job.source_url}{_BELOW})"
        )
        raise JobError(ErrorCode.SETUP_FAILED, message)
    name = checked_name("transformation", asked.path.rpartition("/")[2])
    try:
        program = server.program(asked.path)
    except ServerRefusedError as error:
        raise JobError(ErrorCode.TRANSFORMATION_MISSING, f"the server has no {asked.path}: {error}") from error
    path = work / name
    path.write_bytes(program)
    path.chmod(0o755)
    return path
