"""Owns which processes a PanDA system consists of: their commands, environment and order, and when they are up."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import ssl
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import yaml

import panda
from panda.cli.ports import free_port
from panda.cli.processes import Part, Wave
from panda.embedded import EmbeddedCluster, prefect_database_url
from panda.settings import Settings, environment_of

ROOT = Path(panda.__file__).resolve().parent.parent  # prefect.yaml, flows and deployments are here
WORK_POOL = "panda"
PROBE_LIMIT_S = 1.0

MODULES = {
    "api": "panda_api.__main__",
    "conductor": "flows.conductor",
    "agent": "panda.ddm.embedded.agent",
    "factory": "pilot.factory",
    "prefect": "flows.server",
    "worker": "flows.worker",
}


def choose_ports(settings: Settings, *, automatic: bool = False) -> Settings:
    """The settings with a free port wherever the port is 0 (or everywhere, if `automatic`)."""
    chosen = {
        name: free_port(settings.host)
        for name in ("api_port", "prefect_port")
        if automatic or getattr(settings, name) == 0
    }
    return settings.model_copy(update=chosen)


def house_environment(settings: Settings) -> dict[str, str]:
    """The environment every part gets: these settings, and nothing written outside the data folder."""
    data_dir = settings.data_dir
    for name in ("tmp", "matplotlib", "cache", "config"):
        (data_dir / name).mkdir(parents=True, exist_ok=True)
    python_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost,::1"]))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        **environment_of(settings),
        **prefect_environment(settings),
        "PYTHONPATH": python_path,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "TMPDIR": str(data_dir / "tmp"),
        "MPLCONFIGDIR": str(data_dir / "matplotlib"),
        "XDG_CACHE_HOME": str(data_dir / "cache"),
        "XDG_CONFIG_HOME": str(data_dir / "config"),
    }


def prefect_environment(settings: Settings) -> dict[str, str]:
    """Prefect's own settings: our server, our folder, no telemetry, no server of its own making."""
    return {
        "PREFECT_HOME": str(settings.data_dir / "prefect"),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }


def server_environment(settings: Settings) -> dict[str, str]:
    """What only Prefect's server needs: its database, and no migration of tables that are known to be right (3 s)."""
    environment = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect_database_url(settings)}
    if Stamp(settings, "prefect-tables").holds(_prefect_version()):
        environment["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
        environment["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"] = "false"
    return environment


class Stamp:
    """Remembers in the data folder that something was done for a certain state of the world."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.path = settings.data_dir / "stamps" / name

    def holds(self, state: str) -> bool:
        """Whether it was done for this very state."""
        with contextlib.suppress(FileNotFoundError):
            return self.path.read_text(encoding="utf-8") == state
        return False

    def set(self, state: str) -> None:
        """Note that it is done."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(state, encoding="utf-8")


def command_of(name: str, settings: Settings) -> tuple[str, ...]:
    """The command that runs one part in the foreground."""
    if name == "prefect":
        listens = ("--host", settings.host, "--port", str(settings.prefect_port))
        return (*_launch(name), *listens)
    if name == "worker":
        return (
            *(*_launch(name), "--pool", WORK_POOL, "--type", "process"),
            *("--name", "panda-up", "--limit", "2"),
        )
    if name == "factory":
        return (*_launch(name), *_factory_options(settings))
    return _launch(name)


def _launch(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "panda.launch", MODULES[name])


def _factory_options(settings: Settings) -> tuple[str, ...]:
    factory = settings.factory
    return (
        *("--server", settings.api_url, "--name", factory.name, "--workdir", str(settings.data_dir / "factory")),
        *("--cycle", str(factory.cycle_s), "--max-pending", str(factory.max_pending)),
        *("--stop-grace", str(factory.stop_grace_s), f"--pilot-options={factory.pilot_options}"),
        *(("--ca-file", str(settings.ca_file)) if settings.ca_file is not None else ()),
    )


def panda_parts(settings: Settings, *, without: frozenset[str] = frozenset()) -> list[Part]:
    """All parts of a system less those in `without`; a database or Prefect of somebody else is no part of ours."""
    # Tables that are known to be right need not be waited for: the step that checks them runs beside the others.
    ready = ("database",) if Stamp(settings, "tables").holds(_tables_state(settings)) else ("prepare",)
    parts = [
        *([_database(settings)] if settings.database_url is None else []),
        _prepare(settings),
        _api(settings, ready),
        Part("conductor", command_of("conductor", settings), after=ready, folder=ROOT, says="conductor is up"),
        Part("agent", command_of("agent", settings), after=ready, folder=ROOT, says=" copies at a time)"),
        _factory(settings, ready),
        *([_prefect(settings)] if settings.prefect_url is None else []),
        *_deployments(settings),
        _worker(settings),
    ]
    return [part for part in parts if part.name not in without]


def _database(settings: Settings) -> Part:
    cluster = EmbeddedCluster(settings.data_dir / "postgres")
    return Part("database", cluster=cluster, wave=Wave.DATABASE, address=f"socket in {cluster.folder}")


def _prepare(settings: Settings) -> Part:
    return Part(
        "prepare",
        (sys.executable, "-m", "panda.cli", "prepare"),
        after=("database",),
        folder=ROOT,
        step=True,
        succeeded=lambda: Stamp(settings, "tables").set(_tables_state(settings)),
    )


def _tables_state(settings: Settings) -> str:
    """Which migrations there are, and which cluster they were applied to: one made anew has another file here."""
    made = settings.data_dir / "postgres" / "data" / "PG_VERSION"
    born = made.stat().st_mtime_ns if made.exists() else 0
    names = sorted(path.name for path in (ROOT / "panda").rglob("migrations/**/*.py"))
    where = hashlib.sha256(f"{settings.database_url} {settings.proddb_url}".encode()).hexdigest()
    return f"{where} {born} {' '.join(names)}"


def _factory(settings: Settings, after: tuple[str, ...]) -> Part:
    return Part(
        "factory",
        (*command_of("factory", settings), "--stop-pilots-on-exit"),
        after=after,
        folder=ROOT,
        says=" living pilots",
        grace_s=settings.factory.stop_grace_s + 10,
    )


def _api(settings: Settings, after: tuple[str, ...]) -> Part:
    return Part(
        "api",
        command_of("api", settings),
        after=after,
        folder=ROOT,
        probe=lambda: _answers(f"{settings.api_url}/api/v1/system/is_alive"),
        wave=Wave.SERVER,
        address=settings.api_url,
        ports={"PANDA_API_PORT": settings.api_port},
    )


def _prefect(settings: Settings) -> Part:
    return Part(
        "prefect",
        command_of("prefect", settings),
        after=("database",),
        folder=ROOT,
        prepare=lambda: server_environment(settings),
        probe=lambda: _answers(f"{settings.prefect_api_url}/health"),
        succeeded=lambda: Stamp(settings, "prefect-tables").set(_prefect_version()),
        wave=Wave.SERVER,
        address=settings.prefect_api_url.removesuffix("/api"),
        ports={"PANDA_PREFECT_PORT": settings.prefect_port},
    )


def _worker(settings: Settings) -> Part:
    return Part(
        "worker",
        command_of("worker", settings),
        after=("database",),  # it loads while the server does, waits for it, and makes the pool if there is none
        folder=ROOT,
        says=" started!",
        environment={"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"},
    )


def _deployments(settings: Settings) -> list[Part]:
    """The step that registers prefect.yaml, if it or a flow changed since the last time in this data folder."""
    stamp, state = Stamp(settings, "deployments"), _deployment_state(settings)
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8")).get("deployments")
    if not declared or stamp.holds(state):
        return []
    return [
        Part(
            "deployments",
            (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"),
            after=("prefect",),
            folder=ROOT,
            prepare=lambda: _make_pool(settings),
            succeeded=lambda: stamp.set(state),
            step=True,
        )
    ]


def _deployment_state(settings: Settings) -> str:
    digest = hashlib.sha256()
    for source in [ROOT / "prefect.yaml", *sorted((ROOT / "flows").rglob("*.py"))]:
        digest.update(str(source).encode() + b"\0" + source.read_bytes())
    return f"{settings.prefect_url} {digest.hexdigest()}"


def _prefect_version() -> str:
    return importlib.metadata.version("prefect")


def _make_pool(settings: Settings) -> dict[str, str]:
    """Make the work pool unless it is there (409); the worker completes its template."""
    body = json.dumps({"name": WORK_POOL, "type": "process"})
    _status("POST", f"{settings.prefect_api_url}/work_pools/", body)
    return {}


def _answers(url: str) -> bool:
    return _status("GET", url) == HTTPStatus.OK


def _status(method: str, url: str, body: str | None = None) -> int | None:
    """The status of an answer, None if there is none; no proxy, and any certificate, as it is a process of ours."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=PROBE_LIMIT_S, context=trusting)
    else:
        connection = HTTPConnection(host, port, timeout=PROBE_LIMIT_S)
    try:
        connection.request(method, parts.path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
