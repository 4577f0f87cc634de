"""Owns the paced load: calls begin by the clock, whether or not earlier ones are answered. Its CPU is counted apart.

`python -m benchmarks.paced`: reads a job as JSON from stdin (address, seconds, lanes of bodies with a rate each, and
the lives of jobs: asked for, begun, ended), writes what came of it to the file that the job names. A call's time
counts from the moment at which it was due.
"""

import asyncio
import heapq
import json
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import uvloop
from typing_extensions import override

from benchmarks.generator import _END, _request

Answer = Callable[[bytes], None]
LOST = b"HTTP/1.1 000 connection lost"


class _Line(asyncio.Protocol):
    """A connection that is kept for the next call."""

    def __init__(self, idle: list["_Line"]) -> None:
        self._idle = idle
        self._buffer = b""
        self._answer: Answer | None = None

    @override
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: bytes, answer: Answer) -> None:
        self._answer, self._buffer = answer, b""
        self.transport.write(request)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(_END)
        if not found:
            return
        at = head.lower().index(b"content-length: ") + 16
        line = head.find(b"\r\n", at)
        if len(body) >= int(head[at : line if line > 0 else len(head)]):
            if not self.transport.is_closing():
                self._idle.append(self)
            self._give(self._buffer)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)
        self._give(LOST)

    def _give(self, answer: bytes) -> None:
        told, self._answer = self._answer, None
        if told is not None:
            told(answer)


class Load:
    """Calls that wait for their time, and what became of those that were made."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._idle: list[_Line] = []
        self._due: list[tuple[float, int, str, str, Any, Answer | None]] = []
        self._number = count()
        self.taken: dict[str, list[float]] = {}
        self.statuses: dict[str, dict[str, int]] = {}
        self.lines = 0
        self._open = 0
        self._over: asyncio.Future[None] | None = None

    def at(self, when: float, lane: str, path: str, body: Any, then: Answer | None = None) -> None:
        """Make a call at its time."""
        heapq.heappush(self._due, (when, next(self._number), lane, path, body, then))

    async def run(self) -> None:
        """Make every call, and wait for the last answer."""
        start = time.perf_counter() + 0.2
        for lane in self._job["lanes"]:
            bodies = lane["bodies"]
            for n in range(int(self._job["seconds"] * lane["rate"])):
                self.at(start + n / lane["rate"], lane["name"], lane["path"], bodies[n % len(bodies)])
        for n, ask in enumerate(self._job["lives"]["asks"]):
            when = start + n / self._job["lives"]["rate"]
            self.at(when, "job asked for", self._job["lives"]["acquire"], ask, self._live)
        stop = start + self._job["seconds"]
        while self._due and self._due[0][0] < stop:
            await asyncio.sleep(max(0.0, self._due[0][0] - time.perf_counter()))
            now = time.perf_counter()
            while self._due and self._due[0][0] <= now:
                await self._call(*heapq.heappop(self._due))
        if self._open:
            self._over = asyncio.get_running_loop().create_future()
            await self._over

    async def _call(self, when: float, _n: int, lane: str, path: str, body: Any, then: Answer | None) -> None:
        if not self._idle:
            self.lines += 1
            loop = asyncio.get_running_loop()
            _, line = await loop.create_connection(lambda: _Line(self._idle), self._job["host"], self._job["port"])
        else:
            line = self._idle.pop()
        self._open += 1

        def answered(answer: bytes) -> None:
            self._open -= 1
            self.taken.setdefault(lane, []).append(time.perf_counter() - when)
            status, found = answer[9:12].decode(), self.statuses.setdefault(lane, {})
            found[status] = found.get(status, 0) + 1
            if then is not None and status == "200":
                then(answer)
            if self._over is not None and not self._open:
                self._over.set_result(None)

        line.ask(_request(path, self._job["host"], self._job["port"], body), answered)

    def _live(self, answer: bytes) -> None:
        """Tell of the job that came: it begins, runs and ends at its times."""
        now = time.perf_counter()
        for job in json.loads(answer.partition(_END)[2])["data"].get("jobs", []):
            for after, status in self._job["lives"]["steps"]:
                body = {"job_id": job["PandaID"], "attempt_nr": job["attemptNr"], "lease": job["lease"],
                        "job_status": status, "node": "wn1", "trans_exit_code": 0}  # fmt: skip
                self.at(now + after, f"job {status}", self._job["lives"]["update"], body)


def main() -> None:
    """Do one job."""
    job = json.load(sys.stdin)
    cpu = time.process_time()
    load = Load(job)
    uvloop.run(load.run())
    found = {"taken": load.taken, "statuses": load.statuses, "lines": load.lines, "cpu_s": time.process_time() - cpu}
    Path(job["to"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
