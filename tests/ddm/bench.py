"""A data management with storages in a folder, real files to put there, and agents to start and kill."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Engine

import panda
from panda.ddm.embedded import storage as places
from panda.ddm.port import (
    DataManager,
    DatasetSpec,
    Did,
    FileSpec,
    RseSpec,
    TransferId,
    TransferRequest,
    TransferState,
    TransferStatus,
)

ROOT = Path(panda.__file__).resolve().parent.parent
PATIENCE_S = 60.0
# Of one length for ever: names sort as they were made, whatever ran before on the same worker.
_numbers = itertools.count(1_000_001)
_chance = random.Random(20260101)

FAST = {
    "PANDA_DDM__TRIES": "3",
    "PANDA_DDM__BACKOFF_S": "0.05",
    "PANDA_DDM__BACKOFF_MAX_S": "0.2",
    "PANDA_DDM__POLL_S": "0.2",
}


T = TypeVar("T")


def eventually(look: Callable[[], T | Literal[False] | None], what: str) -> T:
    """Look until the answer is true and return it; what is looked at changes in another process."""
    pause = threading.Event()
    end = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < end, f"waited {PATIENCE_S:.0f} s for {what}"
        pause.wait(0.02)
    return found


class AgentProcess:
    """A transfer agent in a process of its own."""

    def __init__(self, url: str, folder: Path, options: Sequence[str], environment: dict[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self.log = folder / f"agent-{next(_numbers)}.log"
        command = [sys.executable, "-m", "panda.ddm.embedded.agent", "--database", url, "--faults", *options]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "PANDA_DATA_DIR": str(folder), **FAST, **environment}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=variables, stderr=log, stdout=log, cwd=folder)

    def kill(self) -> None:
        """End it as a power failure would."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def end(self) -> int:
        """End it as an operator would; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


class Bench:
    """What a test of the DDM works with."""

    def __init__(self, ddm: DataManager, engine: Engine, folder: Path) -> None:
        self.ddm = ddm
        self.engine = engine
        self.folder = folder
        self.agents: list[AgentProcess] = []

    def rse(self, name: str = "", **more: Any) -> str:
        """Declare an RSE in a folder of its own and return its name."""
        name = name or f"RSE{next(_numbers)}_DATADISK"
        spec = RseSpec(name, site=name.removesuffix("_DATADISK"), root=str(self.folder / name), **more)
        self.ddm.declare_rses([spec]).raise_first()
        return name

    def path(self, rse: str, did: Did) -> Path:
        """Where a file lies at an RSE of this bench."""
        return places.path_on(str(self.folder / rse), did)

    def write(self, rse: str, name: str = "", size: int = 2000) -> FileSpec:
        """Put a file with new content on an RSE, as a pilot does; the catalogue does not know it yet."""
        did = Did("test", name or f"file{next(_numbers)}.root")
        content = _chance.randbytes(size)
        path = self.path(rse, did)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        guid = str(uuid.UUID(int=_chance.getrandbits(128), version=4))
        return FileSpec(did, size, f"{zlib.adler32(content):08x}", guid, events=7)

    def dataset(self, name: str = "", **more: Any) -> Did:
        """Create a dataset."""
        did = Did("test", name or f"dataset{next(_numbers)}")
        self.ddm.create_datasets([DatasetSpec(did, **more)]).raise_first()
        return did

    def filled(self, rse: str, count: int = 3, size: int = 2000) -> tuple[Did, list[FileSpec]]:
        """A dataset with files that lie at an RSE."""
        files = [self.write(rse, size=size) for _ in range(count)]
        did = self.dataset()
        self.ddm.register_replicas(rse, files, dataset=did, written_by="bench").raise_first()
        return did, files

    def ask(self, dataset: Did, rse: str, **more: Any) -> TransferId:
        """Request a transfer that must be accepted."""
        result = self.ddm.request([TransferRequest(dataset, rse, **more)])
        result.raise_first()
        found = result.ids[0]
        assert found is not None
        return found

    def status(self, transfer: TransferId) -> TransferStatus:
        """The state of a transfer."""
        return self.ddm.status([transfer])[transfer]

    def reaches(self, transfer: TransferId, state: TransferState) -> TransferStatus:
        """Wait until a transfer is in a state."""

        def look() -> TransferStatus | None:
            status = self.status(transfer)
            return status if status.state is state else None

        return eventually(look, f"transfer {transfer} to be {state}")

    def agent(self, *options: str, **environment: str) -> AgentProcess:
        """Start an agent; it tells nobody unless asked to."""
        told = options if "--notify" in options else ("--notify", "", *options)
        url = self.engine.url.render_as_string(hide_password=False)
        agent = AgentProcess(url, self.folder / "agents", told, environment)
        self.agents.append(agent)
        return agent

    def content_is_right(self, rse: str, spec: FileSpec) -> bool:
        """Whether a file lies at an RSE with the content the catalogue says."""
        content = self.path(rse, spec.did).read_bytes()
        return len(content) == spec.bytes and f"{zlib.adler32(content):08x}" == spec.adler32

    def parts(self, rse: str) -> list[Path]:
        """Temporary files at an RSE."""
        return list((self.folder / rse).rglob("*.part-*"))
