"""`python -m panda_api`: it says where it listens, stops when told, and does not start on what it cannot serve."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import Engine

ROOT = Path(__file__).parents[2]


def started(folder: Path, database: str, **variables: str) -> subprocess.Popen[str]:
    """The process, with its own settings and nobody else's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PANDA_")}
    environment |= {"PANDA_DATA_DIR": str(folder), "PANDA_DATABASE_URL": database, "PANDA_API_PORT": "0"} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "panda_api"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(folder: Path, database: str, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and the process, which is gone afterwards."""
    process = started(folder, database, **variables)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("panda api: listening on "), process.communicate(timeout=60)[1]
        yield line.split()[-1], process
    finally:
        process.kill()
        process.communicate(timeout=60)


def refused(folder: Path, database: str, **variables: str) -> str:
    """What a process that does not start says; it says it in one line and without a traceback."""
    process = started(folder, database, **variables)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return said


def test_it_serves_and_stops_when_told(tmp_path: Path, database: str) -> None:
    with running(tmp_path, database) as (address, process):
        assert requests.get(f"{address}/healthz", timeout=20).json()["database"] == "ok"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "Traceback" not in said


def test_tables_of_another_version_are_refused(tmp_path: Path, database: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE panda_version SET version_num = 'older'")
    said = refused(tmp_path, database)
    assert "revision older" in said
    assert "panda db upgrade" in said


def test_a_port_that_is_taken_is_named(tmp_path: Path, database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(tmp_path, database, PANDA_API_PORT=port)
    assert port in said
    assert "PANDA_API_PORT" in said


def test_the_network_is_refused_while_nobody_can_be_told_apart(tmp_path: Path, database: str) -> None:
    said = refused(tmp_path, database, PANDA_HOST="0.0.0.0")
    assert "only a loopback address is accepted" in said


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "postgresql://nobody@127.0.0.1:9/none")
    assert "127.0.0.1" in said


def test_two_settings_make_it_https(tmp_path: Path, database: str) -> None:
    certificate, key = a_certificate(tmp_path)
    variables = {"PANDA_TLS_CERTIFICATE": str(certificate), "PANDA_TLS_KEY": str(key)}
    with running(tmp_path, database, **variables) as (address, _process):
        assert address.startswith("https://127.0.0.1:")
        answer = requests.get(f"{address}/api/v1/system/is_alive", verify=str(certificate), timeout=20)
        assert answer.json()["success"]


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed but itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    certificate, private = folder / "host.pem", folder / "host.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private
