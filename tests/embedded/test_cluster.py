"""The embedded PostgreSQL: start, stop, kill -9, pids that were given away, long paths, ordinary users."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from panda.embedded import USER, Address, EmbeddedCluster, database_url, prefect_database_url, proddb_url
from panda.errors import Conflict, PrerequisiteMissing, Unavailable
from panda.settings import load


@pytest.fixture
def cluster() -> Iterator[EmbeddedCluster]:
    """A cluster of this test's own, not yet made."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        made = EmbeddedCluster(Path(folder) / "postgres", durable=False, databases=("panda",))
        yield made
        made.stop()


def execute(address: Address, statement: str) -> list[tuple[object, ...]]:
    with psycopg2.connect(host=address.socket, user=USER, dbname="panda") as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_rows_survive_a_stop_and_the_server_does_not(cluster: EmbeddedCluster) -> None:
    first = cluster.start()
    execute(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert cluster.address() == first
    cluster.stop()
    assert cluster.address() is None
    assert not lives(first.pid)
    assert execute(cluster.start(), "SELECT answer FROM kept") == [(42,)]


def test_only_the_owner_of_the_folder_gets_in(cluster: EmbeddedCluster) -> None:
    address = cluster.start()
    assert cluster.folder.stat().st_mode & 0o777 == 0o700
    assert execute(address, "SHOW listen_addresses") == [("",)]
    assert execute(address, "SELECT datlocprovider::text, datcollate FROM pg_database WHERE datname = 'panda'") == [
        ("c", "C.UTF-8")
    ]


def test_a_second_owner_is_refused_and_told_who_is_first(cluster: EmbeddedCluster) -> None:
    address = cluster.start()
    with pytest.raises(Conflict, match=f"already used by process {os.getpid()}"):
        EmbeddedCluster(cluster.folder).start()
    assert execute(address, "SELECT 1") == [(1,)]


def test_committed_rows_survive_kill_9_of_the_server(cluster: EmbeddedCluster) -> None:
    cluster.durable = True
    address = cluster.start()
    execute(address, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    os.kill(address.pid, signal.SIGKILL)
    assert cluster.process is not None
    cluster.process.wait()
    cluster.stop()
    assert execute(cluster.start(), "SELECT count(*) FROM kept") == [(1000,)]


OWNER = """
import os, sys
from pathlib import Path
from panda.embedded import EmbeddedCluster
address = EmbeddedCluster(Path(sys.argv[1]), durable=False, databases=("panda",)).start()
print(address.pid, flush=True)
sys.stdin.read()
"""


START_AND_STOP = """
import sys
from pathlib import Path
import psycopg2
from panda.embedded import EmbeddedCluster
cluster = EmbeddedCluster(Path(sys.argv[1]), durable=False, databases=("panda",))
connection = psycopg2.connect(host=cluster.start().socket, user="panda", dbname="panda")
cursor = connection.cursor()
cursor.execute("SELECT version()")
print(cursor.fetchone()[0])
connection.close()
cluster.stop()
"""


def test_the_server_of_a_killed_owner_is_found_ended_and_replaced(cluster: EmbeddedCluster) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(cluster.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    orphan = int(owner.stdout.readline())
    owner.kill()
    owner.communicate()
    assert lives(orphan)
    address = cluster.start()
    assert address.pid != orphan
    assert not lives(orphan)
    assert execute(address, "SELECT 1") == [(1,)]


def test_a_pid_that_now_belongs_to_another_process_neither_stops_us_nor_is_killed(cluster: EmbeddedCluster) -> None:
    address = cluster.start()
    os.kill(address.pid, signal.SIGKILL)
    assert cluster.process is not None
    cluster.process.wait()
    cluster.stop()
    with subprocess.Popen(["sleep", "600"]) as innocent:
        lock = cluster.data / "postmaster.pid"
        lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
        lock.write_text(f"{innocent.pid}\n" + "".join(lines[1:]), encoding="utf-8")
        assert execute(cluster.start(), "SELECT 1") == [(1,)]
        assert innocent.poll() is None
        innocent.kill()


def test_a_start_that_was_killed_while_making_the_cluster_is_repeated(cluster: EmbeddedCluster) -> None:
    half = cluster.folder / "draft"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n", encoding="ascii")
    assert execute(cluster.start(), "SELECT 1") == [(1,)]


def test_a_long_path_gets_a_short_folder_for_its_socket() -> None:
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        cluster = EmbeddedCluster(Path(folder) / ("long" * 30), durable=False, databases=("panda",))
        try:
            address = cluster.start()
            assert execute(address, "SELECT 1") == [(1,)]
        finally:
            cluster.stop()
        assert not Path(address.socket).exists()


def test_a_server_that_cannot_start_says_why(cluster: EmbeddedCluster) -> None:
    cluster.start()
    cluster.stop()
    (cluster.data / "postgresql.conf").write_text("shared_buffers = nonsense\n", encoding="ascii")
    with pytest.raises(Unavailable, match='invalid value for parameter "shared_buffers"'):
        cluster.start()
    assert cluster.address() is None


def test_root_where_namespaces_are_forbidden_is_told_what_to_set(
    cluster: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = cluster.folder.parent / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n", encoding="ascii")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("panda.embedded.os.geteuid", lambda: 0)
    with pytest.raises(PrerequisiteMissing, match=r"forbids user namespaces.*PANDA_DATABASE_URL"):
        cluster.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs every other test here already")
def test_an_ordinary_user_can_run_it_too() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (package util-linux) is not installed")
    nobody = 65534
    prefix = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    if subprocess.run([*prefix, sys.executable, "-c", "import panda"], check=False, capture_output=True).returncode:
        pytest.skip("an ordinary user may not read this tree")
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        os.chown(folder, nobody, nobody)
        command = [*prefix, sys.executable, "-c", START_AND_STOP, f"{folder}/postgres"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("PostgreSQL ")
        assert (Path(folder) / "postgres" / "data").stat().st_uid == nobody


def test_addresses_are_the_settings_or_the_running_cluster(cluster: EmbeddedCluster) -> None:
    settings = load(data_dir=cluster.folder.parent)
    with pytest.raises(Unavailable, match="panda up"):
        database_url(settings)
    address = cluster.start()
    assert database_url(settings) == proddb_url(settings) == address.url("panda")
    assert prefect_database_url(settings) == address.asyncpg_url("prefect")
    elsewhere = load(database_url="postgresql://me:pw@db.example:5433/panda")
    assert database_url(elsewhere) == "postgresql+psycopg2://me:pw@db.example:5433/panda"
    assert prefect_database_url(elsewhere) == "postgresql+asyncpg://me:pw@db.example:5433/prefect"
