"""The log file of a job: one compressed archive of what payload and pilot wrote, cut where it is too long."""

import io
import tarfile
from pathlib import Path

from pilot import jobreport

_CUT = b"\n[... %d bytes are left out here by the pilot ...]\n"


def pack_log(home: Path, target: Path, folder_name: str, max_bytes_each: int) -> None:
    """Write the log archive of the job in `home`: payload.stdout, payload.stderr, pilot.log and the job report.

    Of a file above the limit the first and last half of the limit are kept.
    """
    members = [home / "payload.stdout", home / "payload.stderr", home / "pilot.log", home / "work" / jobreport.NAME]
    with tarfile.open(target, "w:gz", compresslevel=6) as archive:
        for path in members:
            if path.is_file() and not path.is_symlink():
                content = _ends_of(path, max_bytes_each)
                member = tarfile.TarInfo(f"{folder_name}/{path.name}")
                member.size = len(content)
                member.mtime = int(path.stat().st_mtime)
                archive.addfile(member, io.BytesIO(content))


def _ends_of(path: Path, limit: int) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= limit:
            return stream.read(limit)
        head = stream.read(limit // 2)
        stream.seek(size - limit // 2)
        return head + _CUT % (size - 2 * (limit // 2)) + stream.read(limit // 2)
