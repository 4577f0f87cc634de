"""Header blocks of hot calls that were read before: a pilot sends the same bytes again, and they mean the same."""

from typing import NamedTuple

from panda_api.security import Headers

_END = b"\r\n\r\n"
_LONGEST = 4096
_KEPT = 4096


class Head(NamedTuple):
    """What a header block says: the path of a hot call, the headers, how many bytes of body follow."""

    path: str
    headers: Headers
    length: int


class Heads:
    """Those that one process has seen. Only a block that the parser took as a whole, with its body, gets in."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def cut(self, data: bytes) -> tuple[Head, bytes] | None:
        """Head and body of bytes that are exactly one request whose header block is known; else None."""
        end = data.find(_END) + len(_END)
        head = self._known.get(data[:end])
        return None if head is None or len(data) - end != head.length else (head, data[end:])

    def learn(self, data: bytes, path: str, headers: Headers, body: bytes) -> None:
        """Keep what the parser found in these bytes, if they are one request with a body of stated length."""
        end = data.find(_END) + len(_END)
        if not len(_END) <= end <= _LONGEST or data[end:] != body:
            return
        if (b"content-length", b"%d" % len(body)) not in headers:
            return
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[data[:end]] = Head(path, tuple(headers), len(body))
