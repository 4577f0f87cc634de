"""The log a job left: the archive at a storage of this machine, and the last lines of what is in it."""

import tarfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from panda.ddm.port import DdmError, Did
from panda.errors import NotFound
from panda.services import read
from panda.services.context import Context

LINES = 60
MOST_BYTES = 4_000_000
MOST_MEMBERS = 8


@dataclass(frozen=True, slots=True)
class LogFile:
    """A text in the log's archive: its name, its size and its last lines."""

    name: str
    bytes: int
    tail: tuple[str, ...]


def archive(ctx: Context, job_id: int) -> Path:
    """The archive of a job's log; raises NotFound for no such job, or no log that this machine can read."""
    for output in read.outputs_of(ctx, job_id):
        if output.kind != "log":
            continue
        try:
            copies = list(ctx.ddm.replicas([Did(output.scope, output.lfn)]))
        except DdmError as error:
            raise NotFound(f"the log of job {job_id} cannot be looked up: {error}", hint="try again later") from error
        for copy in copies:
            parts = urlsplit(copy.pfn)
            path = Path(unquote(parts.path))
            if parts.scheme == "file" and path.is_file():
                return path
    raise NotFound(f"job {job_id} left no log that can be read here", hint="a job leaves its log when it ends")


def tails(path: Path) -> list[LogFile]:
    """The last lines of each text in the archive; what is no text or no archive is left out."""
    found: list[LogFile] = []
    try:
        with tarfile.open(path) as packed:
            for member in packed:
                if member.isfile() and len(found) < MOST_MEMBERS:
                    found.append(_tail(packed, member))
    except (tarfile.TarError, OSError, EOFError):
        return found
    return found


def _tail(packed: tarfile.TarFile, member: tarfile.TarInfo) -> LogFile:
    """Read one text; of a long one only the beginning of its last part is lost."""
    stream = packed.extractfile(member)
    content = b"" if stream is None else stream.read(MOST_BYTES)
    lines = () if b"\x00" in content else tuple(content.decode("utf-8", "replace").splitlines()[-LINES:])
    return LogFile(member.name, member.size, lines)
