"""Owns what goes wrong with parts of a running system by real means: dead sites, slow links, bad nodes.

Nothing here is injected into our own programs: pilots are killed, folders go away, a link gets its limit, and a worker
node is a namespace with a name and a broken program of its own.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from panda.cli.runs import left_behind
from panda.ddm.embedded.topology import Link, declare_links
from panda.ddm.port import DatasetSpec, Did, FileSpec
from panda.domain.names import file_path
from tests.support.system import ROOT, System
from tests.support.trivial import adler32

PROGRAM = ROOT / "tests" / "e2e" / "software" / "Trivial-1.0"
NAMESPACE = ("unshare", "--user", "--map-root-user", "--uts", "--mount")


def bring_input(system: System, name: str, n_files: int, n_bytes: int) -> Did:
    """A closed dataset at the tier 1, as another system would have brought it."""
    dataset = Did("test", name)
    root = system.settings.data_dir / "storage" / "ALPHA_DATADISK"
    files = []
    for number in range(n_files):
        did, content = Did("test", f"{name}._{number:06d}.dat"), (f"{name} {number}\n".encode() * n_bytes)[:n_bytes]
        place = root / file_path(did.scope, did.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        files.append(FileSpec(did, len(content), adler32(content), str(uuid.uuid4())))
    ddm = system.ctx.ddm
    ddm.create_datasets([DatasetSpec(dataset)]).raise_first()
    ddm.register_replicas("ALPHA_DATADISK", files, dataset=dataset).raise_first()
    ddm.close([dataset]).raise_first()
    return dataset


def throttle(system: System, source: str, destination: str, bytes_per_second: int) -> None:
    """Let a link carry no more than so much."""
    declare_links(system.ctx.engine, [Link(source, destination, bytes_per_second=bytes_per_second)])


def kill_site(system: System, site: str) -> None:
    """Take a site's storage away, its nodes' scratch space, and its pilots; whatever is sent there then dies."""
    for folder in (system.data / "storage" / f"{site}_DATADISK", system.data / "factory" / site):
        folder.rename(folder.with_name(f"{folder.name}.gone"))
        folder.write_text("where a disk was\n", encoding="utf-8")
    for process in left_behind(system.data):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words[1:3] == ["-m", "pilot"] and site in words:
                process.kill()


@contextlib.contextmanager
def node_with_bad_software(system: System, queue: str, node: str, folder: Path) -> Iterator[None]:
    """A worker node of this name that has one slot, on which the program `join` fails at once whatever it is given."""
    if shutil.which("unshare") is None:
        raise RuntimeError("a node of its own needs unshare of util-linux")
    pilot = [
        sys.executable, "-m", "pilot", "--server", system.api_url, "--queue", queue, "--workdir", str(folder),
        "--factory", "hand", "--worker-id", "1", "--lifetime", "600",
    ]  # fmt: skip
    script = (
        f"hostname {node} && mount --bind /bin/false {shlex.quote(str(PROGRAM / 'join'))} && exec {shlex.join(pilot)}"
    )
    with (folder / "pilot.log").open("wb") as log:
        process = subprocess.Popen(
            [*NAMESPACE, "sh", "-c", script],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
