"""Owns how commands talk to the API: where it is, what goes over the wire, and its failures as our errors."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
from pydantic import TypeAdapter, ValidationError

from panda import errors
from panda.cli.runs import RunFile
from panda.errors import PandaError, Unavailable
from panda.settings import Settings, load

VARIABLE = "PANDA_API_URL"
PATIENCE_S = 60.0
START = "Start it with `panda up`, or name another one with `panda --api-url URL` or PANDA_API_URL."

Kind = TypeVar("Kind")
Values = Mapping[str, object]

# PanDA's numbers of failed task commands (wire-protocol.md 7); everything else carries our own code.
_NUMBERS: Mapping[int, type[PandaError]] = {2: errors.NotFound, 3: errors.Forbidden, 4: errors.Conflict}
_CODES: Mapping[str, type[PandaError]] = {
    one.code: one
    for one in (
        errors.NotFound,
        errors.BadRequest,
        errors.Refused,
        errors.Forbidden,
        errors.Conflict,
        errors.LeaseLost,
        errors.Unavailable,
        errors.SchemaMismatch,
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call that succeeded says: data for programs, a note for people."""

    data: Any
    message: str


def address(settings: Settings) -> str:
    """Where the API is: PANDA_API_URL, else the run in the data folder (it may have chosen its port), else settings."""
    given = os.environ.get(VARIABLE)
    if given:
        return given.rstrip("/")
    chosen = RunFile(settings.data_dir).settings()
    port = chosen.get("PANDA_API_PORT")
    if port is None or settings.public_url is not None:
        return settings.api_url
    return settings.model_copy(update={"api_port": int(port)}).api_url


class Api:
    """One API, as commands see it. Every method raises the error that the server raised, or Unavailable."""

    def __init__(self, url: str, ca_file: str | None = None, patience_s: float = PATIENCE_S) -> None:
        self.url = url
        self._patience_s = patience_s
        self._session = requests.Session()
        self._session.trust_env = False
        if ca_file is not None:
            self._session.verify = ca_file
        token = os.environ.get("PANDA_AUTH_ID_TOKEN")
        if token:  # as PanDA's own client sends it (wire-protocol.md 6)
            self._session.headers["Authorization"] = f"Bearer {token}"
            self._session.headers["Origin"] = os.environ.get("PANDA_AUTH_VO", "")

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()

    def look(self, what: str, kind: type[Kind], /, **query: object) -> Kind:
        """Ask a question of `/api/v1/monitor`; the answer is of type `kind`."""
        return _read(kind, self.get(f"/api/v1/monitor/{what}", **query).data)

    def ask(self, path: str, kind: type[Kind], body: Values) -> Kind:
        """Ask a question that is too long for an address; the answer is of type `kind`."""
        return _read(kind, self.post(path, body).data)

    def get(self, path: str, **query: object) -> Answer:
        """GET; lists become repeated keys, what is None is left out."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path, params=wanted)

    def post(self, path: str, body: Values) -> Answer:
        """POST a JSON object."""
        return self._call("POST", path, json=dict(body))

    def download(self, path: str, target: Path, **query: object) -> None:
        """GET a file; `target` is written when all of it has come."""
        answer = self._send("GET", path, params=query, stream=True)
        with answer:
            if answer.headers.get("Content-Type") != "application/octet-stream":
                _opened(answer, self.url)
            draft = target.with_name(f".{target.name}.part")
            try:
                with draft.open("wb") as sink:
                    for piece in answer.iter_content(1 << 20):
                        sink.write(piece)
                draft.replace(target)
            except requests.RequestException as error:
                raise Unavailable(f"{target.name} broke off ({type(error).__name__}).", "Fetch again.") from None
            finally:
                draft.unlink(missing_ok=True)

    def _call(self, method: str, path: str, **arguments: Any) -> Answer:
        return _opened(self._send(method, path, **arguments), self.url)

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            return self._session.request(method, self.url + path, timeout=self._patience_s, **arguments)
        except requests.exceptions.InvalidURL as error:
            raise errors.BadRequest(
                f"{self.url!r} is no address of an API: {error}", "Write http://HOST:PORT."
            ) from None
        except requests.exceptions.MissingSchema:
            raise errors.BadRequest(f"{self.url!r} is no address of an API.", "Write http://HOST:PORT.") from None
        except requests.RequestException as error:
            raise Unavailable(f"The API at {self.url} does not answer ({type(error).__name__}).", START) from None


def _opened(answer: requests.Response, url: str) -> Answer:
    """Open the envelope; raises the error it carries."""
    try:
        envelope = json.loads(answer.content, object_hook=_restored)
        good, message, data = envelope["success"], envelope["message"], envelope["data"]
    except (ValueError, KeyError, TypeError):
        text = answer.text[:200].strip()
        raise Unavailable(f"{url} answered HTTP {answer.status_code}: {text or 'nothing'}.", START) from None
    if good:
        return Answer(data, message)
    if isinstance(data, dict):
        kind = _CODES.get(str(data.get("code")), PandaError)
    else:
        kind = _NUMBERS.get(data, PandaError) if isinstance(data, int) else PandaError
    raise kind(message)


def _restored(found: dict[str, Any]) -> Any:
    """Make times of what stands for them (`{"__datetime__": text in UTC}`)."""
    if found.keys() == {"__datetime__"}:
        return datetime.fromisoformat(found["__datetime__"]).replace(tzinfo=UTC)
    return found


def _read(kind: type[Kind], data: object) -> Kind:
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise errors.SchemaMismatch(
            f"The API's answer is not as this program expects it ({where}: {error.errors()[0]['msg']}).",
            "Use the `panda` command of the server's version.",
        ) from None


@contextmanager
def api(patience_s: float = PATIENCE_S) -> Iterator[Api]:
    """The API that a command talks to; it is away when it does not answer for so long (s)."""
    settings = load()
    ca_file = settings.ca_file
    made = Api(address(settings), str(ca_file) if ca_file is not None else None, patience_s)
    try:
        yield made
    finally:
        made.close()
