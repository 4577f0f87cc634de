"""`panda workers --show` says what Harvester said; `panda command` leaves commands for it."""

import json
from datetime import UTC, datetime

from sqlalchemy import Connection

from panda.domain.dispatch import WorkerReport
from panda.domain.harvester import Dialog, HarvesterBeat, ServiceMetrics
from panda.services import harvester, supply
from panda.services.context import Context
from tests.cli.conftest import Panda
from tests.support.builders import a_site

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_harvester(ctx: Context, rows: Connection) -> None:
    """An instance that serves BNL and said something of everything."""
    a_site(rows, "BNL")
    harvester.heartbeat(ctx, HarvesterBeat("cern_a", "ann", "127.0.0.1", "0.7.5", AT, {"commit_stamp": "x"}))
    supply.report_workers(ctx, [WorkerReport("cern_a", 41, "BNL", "running", computing_element="ce1")])
    harvester.report_statistics(ctx, "cern_a", "BNL", {"managed": {"SCORE": {"running": 1}}})
    harvester.add_dialogs(ctx, "cern_a", [Dialog(5, "submitter", "queue=BNL", "ERROR", "no slots", AT)])
    harvester.add_metrics(ctx, "cern_a", [ServiceMetrics("host1", AT, {"rss_mib": 12.5})])


def test_everything_harvester_said_is_shown(panda: Panda, ctx: Context, rows: Connection) -> None:
    a_harvester(ctx, rows)
    assert "cern_a:41" in panda("workers").out
    plain = panda("workers", "--show", "harvesters").out
    for words in ("cern_a", "0.7.5", "1 running", "ERROR: no slots"):
        assert words in plain
    assert json.loads(panda("workers", "--json").out)[0]["computing_element"] == "ce1"
    (one,) = json.loads(panda("workers", "--show", "harvesters", "--json").out)
    assert (one["name"], one["workers"], one["last_text"]) == ("cern_a", {"running": 1}, "no slots")
    assert one["details"] == {"commit_stamp": "x"}
    (one,) = json.loads(panda("workers", "--show", "statistics", "--json").out)
    assert (one["queue"], one["resource_type"], one["status"], one["n"]) == ("BNL", "SCORE", "running", 1)
    assert "no slots" in panda("workers", "--show", "dialogs").out
    assert json.loads(panda("workers", "--show", "dialogs", "--offset", 1, "--json").out) == []
    assert "12.5" in panda("workers", "--show", "metrics").out


def test_commands_are_left_shown_and_fetched(panda: Panda, ctx: Context, rows: Connection) -> None:
    a_harvester(ctx, rows)
    assert "waits for cern_a: KILL_WORKERS" in panda("command", "kill-workers", "BNL", "--status", "running").out
    for arguments in (("set-workers", "BNL", 3), ("report-statistics", "BNL"), ("kill-ids", "cern_a", 41)):
        assert panda("command", *arguments).code == 0
    assert panda("workers", "--show", "commands").out.count("waiting") == 4
    fetched = harvester.fetch_commands(ctx, "cern_a", 9)
    assert [one.command for one in fetched] == [
        "KILL_WORKERS", "SET_N_WORKERS_JOBTYPE:BNL", "REPORT_WORKER_STATS:BNL", "SYNC_WORKERS_KILL",
    ]  # fmt: skip
    assert panda("workers", "--show", "commands").out.count("fetched") == 4


def test_a_command_for_nobody_is_refused(panda: Panda, ctx: Context, rows: Connection) -> None:
    a_harvester(ctx, rows)
    refused = panda("command", "report-statistics", "NOWHERE")
    assert (refused.code, "no Harvester instance spoke of queue 'NOWHERE'" in refused.err) == (1, True)
    refused = panda("command", "kill-ids", "cern_b", 1)
    assert (refused.code, "no Harvester instance 'cern_b'" in refused.err) == (1, True)
    assert harvester.commands(ctx) == []
