"""A small real HTTP server that speaks the pilot's wire: the other side in these tests, with troubles on request."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


@dataclass
class WireState:
    """What the server holds, hears and is told to do wrong."""

    queues: dict[str, Json] = field(default_factory=dict)
    storages: Json = field(default_factory=dict)
    jobs: list[Json] = field(default_factory=list)
    demand: list[Json] = field(default_factory=list)
    asks: list[Json] = field(default_factory=list)
    updates: list[Json] = field(default_factory=list)
    workers: list[Json] = field(default_factory=list)
    worker_updates: list[Json] = field(default_factory=list)
    answered: dict[str, Json] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    commands: dict[int, str] = field(default_factory=dict)
    away: Callable[[str, Json], bool] = lambda _path, _body: False
    lose_reply: Callable[[str, Json], bool] = lambda _path, _body: False
    refuse: Callable[[Json], bool] = lambda _body: False
    retry_after: float = 0.2
    last_worker_id: int = 0


class WireServer:
    """Start with `with`, look at `state`, and wait for what must happen."""

    def __init__(self) -> None:
        self.state = WireState()
        self._news = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._serve({})

            def do_POST(self) -> None:
                self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _serve(self, body: Json) -> None:
                path = urlsplit(self.path)
                with outer._news:
                    outer.state.headers.append(dict(self.headers))
                    away = outer.state.away(path.path, body)
                    lost = outer.state.lose_reply(path.path, body)
                    answer = None if away else outer._answer(path.path, body, parse_qs(path.query))
                    outer._news.notify_all()
                if lost:
                    self.close_connection = True
                    return
                content = json.dumps(answer).encode()
                self.send_response_only(503 if away else 404 if answer is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def wait_for(self, condition: Callable[[WireState], object], timeout: float = 30.0) -> None:
        """Until the condition holds; it is looked at after every request."""
        with self._news:
            if not self._news.wait_for(lambda: condition(self.state), timeout):
                raise AssertionError(f"did not happen within {timeout} s; updates: {self.state.updates}")

    def finals(self, job_id: int) -> list[Json]:
        """Final updates of a job."""
        states = ("finished", "failed")
        return [u for u in self.state.updates if u["job_id"] == job_id and u["job_status"] in states]

    def _answer(self, path: str, body: Json, query: dict[str, list[str]]) -> Any:
        state = self.state
        match path.split("/")[1:]:
            case ["api", "v1", "pilot", "acquire_jobs"]:
                return self._acquire(body)
            case ["api", "v1", "pilot", "update_job"]:
                state.updates.append(body)
                if state.refuse(body):
                    return {"success": False, "message": "no such job", "data": {"StatusCode": 50}}
                return _envelope({"StatusCode": 0, "command": state.commands.get(body["job_id"])})
            case ["api", "v1", "pilot", "update_worker_status"]:
                state.workers.append(body)
                data: Any = None
            case ["api", "v1", "harvester", "update_workers"]:
                state.worker_updates.extend(body["workers"])
                data = [True] * len(body["workers"])
            case ["api", "v1", "harvester", "get_current_worker_id"]:
                data = state.last_worker_id if query["harvester_id"] else None
            case ["api", "v1", "harvester", "demand"]:
                data = state.demand
            case ["cache", "ddmendpoints.json"]:
                return state.storages
            case ["cache", "schedconfig", name]:
                return state.queues.get(name.removesuffix(".all.json"))
            case _:
                return None
        return _envelope(data)

    def _acquire(self, body: Json) -> Json:
        state = self.state
        state.asks.append(body)
        request_id = body["request_id"]
        if request_id not in state.answered:
            if not state.jobs:
                data = {"StatusCode": 20, "jobs": [], "retry_after": state.retry_after}
                return {"success": False, "message": "No jobs in PanDA", "data": data}
            state.answered[request_id] = state.jobs.pop(0)
        return _envelope({"StatusCode": 0, "jobs": [state.answered[request_id]]})


def _envelope(data: Any) -> Json:
    return {"success": True, "message": "", "data": data}
