"""Owns the running of the unmodified panda-pilot: its sdist, its own Python, a cage of processes, its command line.

After each job this pilot signals the process groups of all processes of its user whose parent has number 1. Here it
never sees any of them: it has process numbers of its own (`unshare --pid`), and PILOT_NOKILL=1 besides.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.index import CLIENTS, alone, pip

VERSION = "3.7.0.36"
TRUSTED_TRANSFORMS = "http://pandaserver-doma.cern.ch:25080/trf/user"
"""One of the addresses that this version downloads transforms from; its list cannot be changed."""


def installed() -> Path:
    """The folder of the unpacked sdist, fetched when it is not there yet. Its wheel lacks pilot.py."""
    folder = CLIENTS / f"panda-pilot-{VERSION}"
    with alone():
        if not folder.is_dir():
            drafts = CLIENTS / f".fetch-{os.getpid()}"
            pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(drafts), f"panda-pilot=={VERSION}")
            (archive,) = drafts.glob("*.tar.gz")
            shutil.unpack_archive(archive, drafts)  # Debian's 3.11.2 knows no filters, and pip took it from the index
            (unpacked,) = (one for one in drafts.iterdir() if (one / "pilot.py").is_file())
            unpacked.rename(folder)
            shutil.rmtree(drafts)
    return folder


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pilot works and what it asks for: source, own folder, server, queue and its storage, label of jobs."""

    source: Path
    folder: Path
    server: str
    queue: str
    storage: Path
    label: str = "managed"


def prepare(place: Place, heartbeat_s: int) -> None:
    """Make the pilot's folder: environment, credential, the transforms by hand, a configuration with our heartbeat."""
    place.folder.mkdir(parents=True)
    venv.create(place.folder / "env", with_pip=False, symlinks=True)
    key = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=pilot -days 2"
    subprocess.run(key.split(), cwd=place.folder, check=True, capture_output=True)
    proxy = (place.folder / "cert.pem").read_text() + (place.folder / "key.pem").read_text()
    (place.folder / "proxy.pem").write_text(proxy, encoding="ascii")
    (place.folder / "scripts").mkdir()
    download = ["curl", "-sSf", "-o", "scripts/#1", place.server + "/trf/user/{buildGen,runGen,runRelease}"]
    subprocess.run(download, cwd=place.folder, check=True)
    config = (place.source / "pilot" / "util" / "default.cfg").read_text(encoding="utf-8")
    changed = config.replace("heartbeat: 1800", f"heartbeat: {heartbeat_s}", 1)
    changed = changed.replace("debug_heartbeat: 60", f"debug_heartbeat: {min(60, heartbeat_s)}", 1)
    (place.folder / "pilot.cfg").write_text(changed, encoding="utf-8")


def command(place: Place, options: Sequence[str]) -> list[str]:
    """The pilot's own command line, wire-protocol.md 11; a child of a shell, whose process group it may leave."""
    python = place.folder / "env" / "bin" / "python3"
    words = [
        str(python), str(place.source / "pilot.py"), "--pilot-user", "generic", "-w", "generic", "-q", place.queue,
        "-j", place.label, "-i", "PR", "--url", place.server, "-p", place.server.rsplit(":", 1)[1],
        "--queuedata-url", place.server + "/cache/schedconfig/{pandaqueue}.all.json",
        "--storagedata-url", place.server + "/cache/ddmendpoints.json",
        "-t", "-d", "-l", "1200", "-v", "1", "--use-rucio-traces", "False", "--cleanup", "False",
        "-a", str(place.folder), "--input-destination-dir", str(place.storage), *options,
    ]  # fmt: skip
    cage = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid():
        cage[1:1] = ["--user", "--map-root-user"]
    return [*cage, "sh", "-c", '"$@"; exit $?', "sh", *words]


def environment(place: Place, more: Mapping[str, str]) -> dict[str, str]:
    """Nothing from outside but the path; PILOT_NOKILL always."""
    python = place.folder / "env" / "bin"
    return {
        "PATH": os.pathsep.join((str(python), "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(place.folder),
        "PILOT_NOKILL": "1",
        "NO_CVMFS_OK": "True",
        "X509_USER_PROXY": str(place.folder / "proxy.pem"),
        "LOCAL_AGIS_SCHEDCONF": f"{place.server}/cache/schedconfig/pandaqueues.json",
        "HARVESTER_WORKDIR": str(place.folder / "scripts"),
        "HARVESTER_PILOT_CONFIG": str(place.folder / "pilot.cfg"),
        "no_proxy": "*",
        **more,
    }


@contextmanager
def running(
    place: Place, *, heartbeat_s: int = 1800, options: Sequence[str] = (), more: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """One pilot with everything that it starts; all of it is gone at the end, whatever happens."""
    prepare(place, heartbeat_s)
    with (place.folder / "stdout.txt").open("wb") as out:
        process = subprocess.Popen(
            command(place, options), cwd=place.folder, env=environment(place, more or {}),
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()  # the namespace's first process ends with it, and with that one every other
            process.wait()


READS = """
import json, logging, sys
logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
from pilot.info.jobdata import JobData
from pilot.info.queuedata import QueueData
from pilot.info.storagedata import StorageData
queue, storages, job = json.load(sys.stdin)
made = [QueueData(queue), [StorageData({**one, "name": name}) for name, one in storages.items()], JobData(job)]
made[2].init(None)
print(json.dumps(made, default=lambda one: getattr(one, "lfn", None) or vars(one)))
"""


def understood(source: Path, queue: object, storages: object, job: object) -> tuple[Any, list[str]]:
    """What the pilot's own classes make of a queue, of storages and of a job; and what they warn of.

    A number of a request is fine (wire-protocol.md 5): it says so itself.
    """
    done = subprocess.run(
        [sys.executable, "-c", READS], cwd=source, input=json.dumps([queue, storages, job]),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    warnings = [one for one in done.stderr.splitlines() if "reqID" not in one]
    return json.loads(done.stdout), warnings
