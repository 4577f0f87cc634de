"""A transaction that stays open is told to operators; the monitor's own cannot last."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from panda.services import recover
from panda.store.monitor.snapshot import snapshot
from tests.support.campaign import Campaign

OLD = "SELECT count(*) FROM incident WHERE kind = 'database'"


def test_a_transaction_that_is_open_for_long_is_an_incident_once(campaign: Campaign) -> None:
    ctx = campaign.ctx
    brief = ctx.settings.watcher.model_copy(update={"snapshot_s": 0})
    object.__setattr__(ctx, "settings", ctx.settings.model_copy(update={"watcher": brief}))
    recover.watch(ctx)
    assert campaign.value(OLD) == 0, "nobody has anything open"
    with ctx.engine.connect() as forgotten:
        forgotten.execute(text("SET LOCAL TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        forgotten.execute(text("SELECT count(*) FROM job -- a forgotten session"))
        recover.watch(ctx)
        recover.watch(ctx)
        pid = forgotten.scalar(text("SELECT pg_backend_pid()"))
    rows = campaign.rows("SELECT object, text FROM incident WHERE kind = 'database'")
    assert [row["object"] for row in rows] == [f"backend:{pid}"]
    assert f"pg_terminate_backend({pid})" in rows[0]["text"]
    assert "a forgotten session" in rows[0]["text"]


def test_a_page_of_the_monitor_gives_its_snapshot_back(campaign: Campaign) -> None:
    with snapshot(campaign.ctx.engine) as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "10s"
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "30s"
        with pytest.raises(DBAPIError, match="read-only"):
            connection.execute(text("DELETE FROM incident"))
    with campaign.ctx.engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "0"
