"""The pilot's and factory's side of the wire: calls to the server, and what its answers mean. No retries here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pilot.errors import ServerAwayError, ServerRefusedError

if TYPE_CHECKING:
    import requests

JsonObject: TypeAlias = dict[str, Any]

NO_JOBS = 20
_TRY_LATER = frozenset({10, 30})
_CONNECT_TIMEOUT_S = 10.0
_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class Offer:
    """The answer to a request for jobs; `retry_after` (s) says when an empty one is worth repeating."""

    jobs: tuple[JsonObject, ...]
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every call answers."""

    success: bool
    message: str
    data: Any

    def field(self, name: str) -> Any:
        """One value of the data if that is an object, else None."""
        return self.data.get(name) if isinstance(self.data, dict) else None


class Server:
    """One server as one thread sees it; `clone` gives another thread its own connection."""

    def __init__(
        self, url: str, *, token_file: Path | None = None, ca_file: Path | None = None, timeout_s: float = 60.0
    ) -> None:
        import requests

        self._url = url.rstrip("/")
        self._token_file = token_file
        self._ca_file = ca_file
        self._timeout = (min(_CONNECT_TIMEOUT_S, timeout_s), timeout_s)
        self._session = requests.Session()
        self._session.trust_env = False  # else environment variables silently override `verify`
        self._session.verify = str(ca_file) if ca_file else True
        self._session.headers["User-Agent"] = "panda-pilot/1"

    def clone(self) -> "Server":
        """The same server over a connection of its own."""
        return Server(self._url, token_file=self._token_file, ca_file=self._ca_file, timeout_s=self._timeout[1])

    def acquire_jobs(self, request: Mapping[str, Any]) -> Offer:
        """Ask for work. An empty offer is a normal answer; raises ServerAwayError or ServerRefusedError."""
        envelope = self._post("/api/v1/pilot/acquire_jobs", request)
        code = envelope.field("StatusCode")
        if code == NO_JOBS or (envelope.success and not envelope.field("jobs")):
            retry_after = envelope.field("retry_after")
            return Offer((), float(retry_after) if isinstance(retry_after, int | float) else None)
        _raise_unless_taken(envelope)
        return Offer(tuple(envelope.field("jobs")))

    def update_job(self, update: Mapping[str, Any]) -> str:
        """Report on a job; the answer is the server's command, empty if it has none.

        A refusal that carries a command (a report of a job that is not ours any more) answers that command.
        """
        envelope = self._post("/api/v1/pilot/update_job", update)
        command = envelope.field("command")
        command = command if isinstance(command, str) and command != "NULL" else ""
        if "tobekilled" not in command:
            _raise_unless_taken(envelope)
        return command

    def update_worker_status(self, factory: str, worker_id: int, status: str, queue: str, node: str) -> None:
        """Say that this pilot has started or finished."""
        body = {"worker_id": worker_id, "harvester_id": factory, "status": status, "site": queue, "node_id": node}
        _raise_unless_taken(self._post("/api/v1/pilot/update_worker_status", body))

    def update_workers(self, factory: str, workers: list[JsonObject]) -> list[bool]:
        """Report on the factory's pilots; the answer says for each whether it was taken."""
        envelope = self._post("/api/v1/harvester/update_workers", {"harvester_id": factory, "workers": workers})
        _raise_unless_taken(envelope)
        taken = envelope.data if isinstance(envelope.data, list) else []
        return [bool(item) for item in taken]

    def current_worker_id(self, factory: str) -> int:
        """The highest worker number the server knows of this factory, 0 if none."""
        return int(self._fetch("/api/v1/harvester/get_current_worker_id", {"harvester_id": factory}))

    def demand(self) -> list[JsonObject]:
        """What every queue wants now."""
        data = self._fetch("/api/v1/harvester/demand", {})
        return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []

    def queue(self, name: str) -> JsonObject:
        """The queue's configuration."""
        found = self._fetch(f"/cache/schedconfig/{name}.all.json", {})
        if not isinstance(found, dict) or not found:
            raise ServerRefusedError(f"the server has no configuration of queue {name}")
        return found

    def storages(self) -> JsonObject:
        """All storage elements by name."""
        found = self._fetch("/cache/ddmendpoints.json", {})
        return found if isinstance(found, dict) else {}

    def program(self, path: str) -> bytes:
        """A program that the server serves, as it is."""
        response = self._request("GET", path)
        if not response.ok:
            raise _refused(path, response)
        return response.content

    def _post(self, path: str, body: Mapping[str, Any]) -> Envelope:
        return _envelope(self._call("POST", path, json=body))

    def _fetch(self, path: str, params: Mapping[str, str]) -> Any:
        """A GET; with or without an envelope around the answer."""
        answer = self._call("GET", path, params=params)
        if isinstance(answer, dict) and "success" in answer:
            envelope = _envelope(answer)
            _raise_unless_taken(envelope)
            return envelope.data
        return answer

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        response = self._request(method, path, **arguments)
        try:
            answer = response.json()
        except ValueError as error:
            if response.ok:
                raise ServerAwayError(f"{path}: the answer is not JSON") from error
            raise _refused(path, response) from error
        if not response.ok and not (isinstance(answer, dict) and "success" in answer):
            raise _refused(path, response)
        return answer

    def _request(self, method: str, path: str, **arguments: Any) -> "requests.Response":
        import requests

        headers = {"Accept": "application/json"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        try:
            response = self._session.request(
                method,
                self._url + path,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                **arguments,
            )
        except requests.RequestException as error:
            raise ServerAwayError(f"{path}: {type(error).__name__}") from error
        status = response.status_code
        if status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS:
            raise ServerAwayError(f"{path}: HTTP {status}")
        return response


def _refused(path: str, response: "requests.Response") -> ServerRefusedError:
    return ServerRefusedError(f"{path}: HTTP {response.status_code}: {response.text[:200]}")


def _envelope(answer: Any) -> Envelope:
    if not isinstance(answer, dict) or "success" not in answer:
        raise ServerAwayError("the answer has no envelope")
    return Envelope(bool(answer["success"]), str(answer.get("message") or ""), answer.get("data"))


def _raise_unless_taken(envelope: Envelope) -> None:
    """Codes 10 and 30 are the server's own troubles (time-out, database): later is fine. A plain failure is final."""
    code = envelope.field("StatusCode")
    if code in _TRY_LATER:
        raise ServerAwayError(f"the server has trouble (StatusCode {code}): {envelope.message}")
    if not envelope.success or code not in (None, 0):
        raise ServerRefusedError(envelope.message or f"refused with StatusCode {code}")
