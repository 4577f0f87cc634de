"""Fixtures of the command line's tests: the real command in this process, the real API on this test's own database."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from panda.cli import main
from panda.services.context import Context
from panda_api.app import build
from tests.support.builders import a_context
from tests.support.serving import serving


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Panda = Callable[..., Done]


@pytest.fixture
def api_url(ctx: Context) -> Iterator[str]:
    """The address of the real API."""
    with serving(build(ctx)) as address:
        yield address


@pytest.fixture
def panda(
    api_url: str,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Panda:
    """The command: `panda("tasks", "--json")` gives its exit code and what it printed."""
    monkeypatch.setenv("PANDA_DATABASE_URL", database.replace("postgresql+psycopg2", "postgresql"))
    monkeypatch.setenv("PANDA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PANDA_API_URL", api_url)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["panda", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, said.out, said.err)

    return run


@pytest.fixture
def ctx(engine: Engine, tmp_path: Path) -> Context:
    """A context on the database the commands work on."""
    return a_context(engine, tmp_path)


@pytest.fixture
def rows(engine: Engine) -> Iterator[Connection]:
    """A connection that commits at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
