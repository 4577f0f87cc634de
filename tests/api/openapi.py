"""The description of the API; `python -m tests.api.openapi` writes it to the file that the test compares with."""

import json
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import create_engine

from panda.ddm.embedded import EmbeddedDdm
from panda.services.context import Context
from panda.settings import load
from panda_api.app import build

SNAPSHOT = Path(__file__).with_name("openapi.json")


def an_app() -> FastAPI:
    """The app over a database that is never asked."""
    engine = create_engine("postgresql+psycopg2://nowhere/none")
    return build(Context(engine, EmbeddedDdm(engine), load(), clock=lambda: datetime.now(UTC)))


def written(app: FastAPI) -> str:
    """The description as text that a diff shows well."""
    return json.dumps(app.openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(written(an_app()), encoding="utf-8")
