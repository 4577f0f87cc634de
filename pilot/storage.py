"""Where the storages' folders are: the server's storage data, fetched when first needed and again for unknown names."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pilot.client import JsonObject, Server
from pilot.errors import ErrorCode, JobError


class Storages:
    """Looks up the root folder of a storage element."""

    def __init__(self, server: Server, queue: JsonObject) -> None:
        self._server = server
        self._queue = queue
        self._known: JsonObject = {}

    def read_root(self, endpoint: str) -> Path:
        """Root to read from; JobError 1133 if the storage is unknown or not reachable as a folder."""
        return self._root(endpoint or self._default("read_lan"), "read_lan")

    def write_root(self, endpoint: str) -> Path:
        """Root to write to."""
        return self._root(endpoint or self.default_endpoint(), "write_lan")

    def default_endpoint(self) -> str:
        """The queue's own storage, for outputs that name none."""
        return self._default("write_lan") or self._default("pr")

    def _default(self, activity: str) -> str:
        storages = (self._queue.get("astorages") or {}).get(activity) or []
        return str(storages[0]) if storages else ""

    def _root(self, endpoint: str, activity: str) -> Path:
        """May raise ServerAwayError while the storage data are not known yet."""
        if not endpoint:
            raise JobError(ErrorCode.NO_STORAGE, f"neither the job nor the queue names a storage for {activity}")
        if endpoint not in self._known:
            self._known = self._server.storages()
        storage = self._known.get(endpoint)
        if not isinstance(storage, dict):
            raise JobError(ErrorCode.NO_STORAGE, f"the server knows no storage {endpoint}")
        for protocol in (storage.get("arprotocols") or {}).get(activity) or []:
            root = _folder(protocol)
            if root is not None:
                return root
        raise JobError(ErrorCode.NO_STORAGE, f"{endpoint} has no file:// protocol for {activity}, the only known one")


def surl(root: Path, path: Path) -> str:
    """The storage address of a file below a root."""
    return f"file://localhost{root / path}"


def _folder(protocol: Any) -> Path | None:
    if not isinstance(protocol, dict) or urlsplit(str(protocol.get("endpoint"))).scheme != "file":
        return None
    path = Path(str(protocol.get("path") or ""))
    return path if path.is_absolute() else None
