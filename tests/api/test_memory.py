"""What is too large is refused early, with bounded memory: the peak of the real API process is measured."""

import re
import select
import socket
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from panda.services.context import Context
from tests.support.api_process import ApiProcess, api_process

MIB = 1024**2
ROOM = 48 * MIB
"""A body may have 10 MiB, packed and unpacked, and is held by a few hands on its way."""
UPDATE = "/api/v1/pilot/update_job"
LEGACY = "/server/panda/updateJob"
UPLOAD = "/api/v1/file_server/upload_jedi_log"


@pytest.fixture
def api(ctx: Context, database: str) -> Iterator[ApiProcess]:
    """The server in a process of its own."""
    settings = ctx.settings.model_copy(update={"database_url": database.replace("+psycopg2", "")})
    with api_process(settings) as process:
        yield process


def peak(api: ApiProcess) -> int:
    """The largest resident memory since `forget`, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{api.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


def forget(api: ApiProcess) -> int:
    """Let the peak be what is used now; returns that."""
    Path(f"/proc/{api.pid}/clear_refs").write_text("5")
    return peak(api)


def sent(api: ApiProcess, path: str, headers: Iterable[str], pieces: Iterable[bytes]) -> bytes:
    """Send until the server answers or hangs up; returns the status of its answer, which a sender may just miss."""
    where = urlsplit(api.caller.address)
    head = [f"POST {path} HTTP/1.1", f"Host: {where.netloc}", "Connection: close", *headers, "", ""]
    with socket.create_connection((where.hostname, where.port), timeout=60) as line:
        line.sendall("\r\n".join(head).encode())
        try:
            for piece in pieces:
                if select.select([line], [], [], 0)[0]:
                    break
                line.sendall(piece)
            return line.recv(4096).split(maxsplit=2)[1]
        except ConnectionError:
            return b"hung up"


def bomb(size: int) -> bytes:
    """So many zeros as gzip."""
    engine = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join([engine.compress(bytes(MIB)) for _ in range(size // MIB)]) + engine.flush()


@pytest.mark.parametrize("path", [UPDATE, LEGACY, UPLOAD])
def test_a_body_of_100_megabytes(api: ApiProcess, path: str) -> None:
    kind = "Content-Type: application/json"
    before = forget(api)
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    for header, piece in ((f"Content-Length: {100 * MIB}", bytes(MIB)), ("Transfer-Encoding: chunked", chunk)):
        left = iter(range(100))
        assert sent(api, path, [kind, header], (piece for _ in left)) in {b"413", b"hung up"}
        assert len(list(left)) > 30, "it was not refused before its end"
    assert peak(api) - before < ROOM


@pytest.mark.parametrize("path", [UPDATE, LEGACY])
def test_a_gzip_bomb(api: ApiProcess, path: str) -> None:
    packed = bomb(128 * MIB)
    assert len(packed) < MIB
    before = forget(api)
    said = sent(api, path, ["Content-Type: application/json", f"Content-Length: {len(packed)}"], [packed])
    assert said == b"413"
    assert peak(api) - before < ROOM


def test_a_header_of_200_kilobytes(api: ApiProcess) -> None:
    before = forget(api)
    said = sent(api, UPDATE, [f"X-Long: {'a' * 200_000}", "Content-Length: 2"], [b"{}"])
    assert said in {b"431", b"hung up"}
    assert peak(api) - before < ROOM
