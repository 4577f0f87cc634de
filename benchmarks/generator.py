"""Owns the load: connections that send the next call as soon as the last is answered. Its CPU is counted apart.

`python -m benchmarks.generator`: reads a job (address, seconds, bodies per connection) as JSON from stdin, writes what
came back as JSON to the file that the job names. The asking is prepared beforehand, answers are looked into
afterwards.
"""

import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from typing_extensions import override

_END = b"\r\n\r\n"


class _Caller(asyncio.Protocol):
    def __init__(self, bodies: list[bytes], stop_at: float, kept: list[bytes], taken: list[float], over: Any) -> None:
        self._bodies, self._stop_at, self._kept, self._taken, self._over = bodies, stop_at, kept, taken, over
        self._next = 0
        self._buffer = b""
        self._length = -1

    @override
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if time.perf_counter() >= self._stop_at or self._next >= len(self._bodies):
            self._transport.close()
            return
        self._transport.write(self._bodies[self._next])
        self._next += 1
        self._since = time.perf_counter()

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._length < 0:
            head, found, _ = self._buffer.partition(_END)
            if not found:
                return
            at = head.index(b"content-length: ") + 16
            line = head.find(b"\r\n", at)
            self._length = len(head) + 4 + int(head[at : line if line > 0 else len(head)])
        if len(self._buffer) >= self._length:
            self._taken.append(time.perf_counter() - self._since)
            self._kept.append(self._buffer)
            self._buffer, self._length = b"", -1
            self._send()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._over()


async def _load(job: dict[str, Any]) -> dict[str, Any]:
    kept: list[bytes] = []
    taken: list[float] = []
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = len(job["calls"])

    def over() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    host, port = job["host"], job["port"]
    calls = [[_request(job["path"], host, port, body) for body in bodies] for bodies in job["calls"]]
    start = time.perf_counter()
    cpu = time.process_time()
    stop_at = start + job["seconds"]
    for bodies in calls:
        await loop.create_connection(partial(_Caller, bodies, stop_at, kept, taken, over), host, port)
    await done
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    statuses: dict[str, int] = {}
    for one in kept:
        statuses[one[9:12].decode()] = statuses.get(one[9:12].decode(), 0) + 1
    answers = [one.partition(_END)[2].decode() for one in kept] if job["keep"] else []
    times = sorted(taken)
    return {
        "n": len(kept), "seconds": seconds, "cpu_s": cpu, "statuses": statuses, "answers": answers,
        "p50_ms": 1000 * times[len(times) // 2], "p99_ms": 1000 * times[len(times) * 99 // 100],
    }  # fmt: skip


def _request(path: str, host: str, port: int, body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
    )
    return head.encode() + _END + text


if __name__ == "__main__":
    work = json.load(sys.stdin)
    Path(work["to"]).write_text(json.dumps(uvloop.run(_load(work))), encoding="utf-8")
