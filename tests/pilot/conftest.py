"""A little grid in a folder: one queue, one storage, one release with payload scripts, and the server side."""

import hashlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.pilot.wire_server import WireServer

ROOT = Path(__file__).parents[2]

PAYLOADS = {
    "copy": 'cat "$1" > "$2"; echo done; echo oops >&2',
    "make": 'echo "made by $PANDA_JOB_ID with $*" > "$1"',
    "exit3": "echo some words >&2; exit 3",
    "hang": '(setsid sh -c "echo \\$\\$ > stray; exec sleep 300" &); trap "" TERM; sleep 300 & wait; wait',
    "fill": "i=0; while :; do i=$((i+1)); head -c 4000000 /dev/zero > f$i; sleep 0.05; done",
    "nothing": "exit 0",
    "empty": ': > "$1"',
    "chatter": "while :; do head -c 1000000 /dev/zero; sleep 0.02; done",
    "report": """echo x > "$1"; echo '{"nEvents": 42, "outputs": {"'$1'": {"events": 40}}}' > jobReport.json""",
    "complain": """echo '{"exeErrorCode": 65, "exeErrorDiag": "no convergence"}' > jobReport.json; exit 1""",
    "shout": 'head -c 3000000 /dev/zero | tr "\\0" a; echo last words; echo x > "$1"',
    "environment": 'env | sort > "$1"; pwd >> "$1"; printf "%s\\n" "$@" > arguments; cat arguments >> "$1"',
    "eat": f"exec {sys.executable} -c 'x = bytearray(120_000_000); import time; time.sleep(300)'",
    "daemon": 'setsid sleep 300 & echo x > "$1"',
    "link": 'ln -s /etc/passwd "$1"',
}


@dataclass
class Grid:
    """Folders and server of one test, and the processes it started."""

    folder: Path
    server: WireServer
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def workdir(self) -> Path:
        """Where the pilots write."""
        return self.folder / "work"

    @property
    def rse(self) -> Path:
        """The storage's folder."""
        return self.folder / "rse"

    def path(self, scope: str, lfn: str) -> Path:
        """Where the storage keeps a file."""
        digest = hashlib.md5(f"{scope}:{lfn}".encode(), usedforsecurity=False).hexdigest()
        return self.rse / scope / digest[:2] / digest[2:4] / lfn

    def store(self, lfn: str, content: bytes, scope: str = "mc") -> dict[str, str]:
        """Put an input on the storage; what a job says of it."""
        path = self.path(scope, lfn)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return {
            "inFiles": lfn,
            "scopeIn": scope,
            "ddmEndPointIn": "SITE_DISK",
            "GUID": "AA-BB",
            "fsize": str(len(content)),
            "checksum": f"ad:{zlib.adler32(content):08x}",
        }

    def job(self, transformation: str, parameters: str = "", output: str = "", **more: Any) -> dict[str, Any]:
        """Queue a job at the server, with a log and at most one output."""
        job_id = more.get("PandaID") or 100 + len(self.server.state.jobs) + len(self.server.state.answered)
        log = f"job.{job_id}.log.tgz"
        outputs = [name for name in (output, log) if name]
        job = {
            "PandaID": job_id,
            "taskID": 7,
            "jobName": f"job-{job_id}",
            "attemptNr": 1,
            "lease": 5,
            "heartbeat": 60,
            "transformation": transformation,
            "jobPars": parameters,
            "swRelease": "demo-1.0",
            "homepackage": "NULL",
            "coreCount": 1,
            "minRamCount": 0,
            "maxWalltime": 100,
            "maxDiskCount": 1000,
            "inFiles": "NULL",
            "outFiles": ",".join(outputs),
            "realDatasets": ",".join(["ds"] * len(outputs)),
            "ddmEndPointOut": ",".join(["SITE_DISK"] * len(outputs)),
            "scopeOut": "mc" if output else "",
            "logFile": log,
            "logGUID": "LOG-GUID",
            "scopeLog": "log",
        } | more
        self.server.state.jobs.append(job)
        return job

    def start(self, *options: str, workdir: Path | None = None) -> subprocess.Popen[str]:
        """Start a pilot that leaves soon when there is nothing to do."""
        arguments = ["--server", self.server.url, "--queue", "SITE_Q", "--workdir", str(workdir or self.workdir)]
        quick = ["--patience", "0.1", "--grace", "0.5", "--check-interval", "0.1", "--delivery-patience", "0.5"]
        return self.run_module("pilot", *arguments, *quick, *options)

    def run_module(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Start one of our programs; it is ended with the test whatever happens."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"SECRET_OF_THE_NODE": "1"},
        )
        self.processes.append(process)
        return process

    def pilot(self, *options: str) -> str:
        """Run a pilot to its end; what it logged."""
        process = self.start(*options)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        return log

    def final(self, job_id: int) -> dict[str, Any]:
        """The one final update of a job, with its output report read."""
        (final,) = self.server.finals(job_id)
        report = json.loads(final["job_output_report"])
        return final | {"files": report}


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Grid]:
    """A fresh grid."""
    release = tmp_path / "software" / "demo-1.0"
    release.mkdir(parents=True)
    (tmp_path / "software" / "no-release").mkdir()
    for name, script in PAYLOADS.items():
        (release / name).write_text(f"#!/bin/sh\n{script}\n")
        (release / name).chmod(0o755)
    (tmp_path / "rse").mkdir()
    with WireServer() as server:
        protocol = [{"endpoint": "file://localhost", "path": f"{tmp_path}/rse/"}]
        server.state.storages["SITE_DISK"] = {
            "is_deterministic": True,
            "arprotocols": {"read_lan": protocol, "write_lan": protocol},
        }
        server.state.queues["SITE_Q"] = {
            "nickname": "SITE_Q",
            "status": "online",
            "maxrss": 2000,
            "maxwdir": 5000,
            "maxtime": 3600,
            "timefloor": 60 / 3600,
            "corecount": 1,
            "appdir": str(tmp_path / "software"),
            "heartbeat": 60,
            "astorages": {"read_lan": ["SITE_DISK"], "write_lan": ["SITE_DISK"]},
        }
        grid = Grid(tmp_path, server)
        yield grid
        for process in grid.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
