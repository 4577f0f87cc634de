"""Owns the databases of the tests: one cluster per test process, one migrated template in it, one clone per test."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from panda import wiring
from panda.embedded import USER, Address, EmbeddedCluster
from panda.proddb import engine as proddb_engine
from panda.settings import load

TEMPLATE = "panda_template"


MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that must be free in memory; a test of a million jobs takes one or two."""


@contextlib.contextmanager
def running_cluster() -> Iterator[Address]:
    """A cluster that forgets everything in a power failure, with an empty database for the template.

    It lives in memory where that has room: to make a database means to make 2,000 files, 40 ms there and up to 800 ms
    on a disk.
    """
    with tempfile.TemporaryDirectory(prefix="pg-", dir=_quickest()) as folder:
        cluster = EmbeddedCluster(Path(folder), durable=False, databases=(TEMPLATE,))
        try:
            yield cluster.start()
        finally:
            cluster.stop()


def _quickest() -> Path | None:
    """Where files cost least; None: the usual place."""
    has_room = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return MEMORY if has_room else None


def build_template(address: Address) -> None:
    """Give the template all tables by the migrations; it must have no connection left when it is cloned."""
    settings = load(database_url=address.url(TEMPLATE))
    ctx = wiring.connect(settings, check=False)
    wiring.upgrade_schema(ctx)
    ctx.close()
    production = proddb_engine.connect(settings)
    proddb_engine.upgrade(production)
    production.dispose()


def run_as_administrator(address: Address, statement: str) -> None:
    """Execute one statement outside any transaction (CREATE DATABASE allows no other way)."""
    connection = psycopg2.connect(host=address.socket, user=USER, dbname="postgres")
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)


@contextlib.contextmanager
def cloned_database(address: Address, name: str) -> Iterator[str]:
    """The URL of a new database equal to the template; copying files took half as long as through the log."""
    run_as_administrator(address, f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}" STRATEGY file_copy')
    try:
        yield address.url(name)
    finally:
        run_as_administrator(address, f'DROP DATABASE "{name}" WITH (FORCE)')
