"""Whole jobs: a real pilot process, real payloads, a real storage folder, the wire between."""

import json
import tarfile
import zlib

from tests.pilot.conftest import Grid


def test_a_job_with_input_and_output(grid: Grid) -> None:
    content = b"hello" * 1000
    grid.job("copy", "in.dat out.dat", "out.dat", **grid.store("in.dat", content))
    grid.pilot()

    stored = grid.path("mc", "out.dat")
    assert stored.read_bytes() == content
    assert not list(stored.parent.glob("*.part-*"))
    final = grid.final(100)
    states = [u["job_status"] for u in grid.server.state.updates]
    assert (states[0], states[-1]) == ("starting", "finished")
    assert set(states[1:-1]) <= {"running"}
    assert all(u["lease"] == 5 and u["attempt_nr"] == 1 for u in grid.server.state.updates)
    entry = final["files"]["out.dat"]
    assert (entry["fsize"], entry["adler32"]) == (len(content), f"{zlib.adler32(content):08x}")
    assert entry["endpoint"] == "SITE_DISK"
    assert entry["surl"] == f"file://localhost{stored}"
    assert len(entry["guid"]) == 36
    assert final["files"]["job.100.log.tgz"]["guid"] == "LOG-GUID"
    assert final["trans_exit_code"] == final["pilot_error_code"] == 0
    assert final["max_rss"] > 0
    assert len(final["pilot_timing"].split("|")) == 6
    with tarfile.open(grid.path("log", "job.100.log.tgz")) as archive:
        names = {member.name.split("/")[1] for member in archive}
        stdout = archive.extractfile("100-1/payload.stdout")
        assert stdout is not None
        assert stdout.read() == b"done\n"
    assert {"payload.stdout", "payload.stderr", "pilot.log"} <= names
    assert not list((grid.workdir / "jobs").iterdir())
    assert not list((grid.workdir / "recovery").iterdir())


def test_a_payload_reads_its_owners_secrets_while_it_runs(grid: Grid) -> None:
    grid.job("copy", "panda_secrets.json out.dat", "out.dat", secrets='{"password": "one"}')
    grid.pilot()
    assert grid.path("mc", "out.dat").read_bytes() == b'{"password": "one"}'
    assert not [one for one in grid.workdir.rglob("*") if one.is_file() and b'"one"' in one.read_bytes()]


def test_what_a_pilot_asks_with(grid: Grid) -> None:
    grid.pilot("--label", "managed", "--worker-id", "3", "--factory", "fab", "--vo", "atlas", "--patience", "0.5")
    ask = grid.server.state.asks[0]
    assert ask["site_name"] == ask["computing_element"] == "SITE_Q"
    assert ask["releases"] == ["demo-1.0"]
    assert 0 < ask["memory"] <= 2000
    assert 0 < ask["disk_space"] <= 5000
    assert ask["cores"] == 1
    assert 3590 < ask["remaining_time"] <= 3600
    assert (ask["vo"], ask["prod_source_label"], ask["harvester_id"], ask["worker_id"]) == (
        "atlas",
        "managed",
        "fab",
        3,
    )
    assert [w["status"] for w in grid.server.state.workers] == ["started", "finished"]
    assert len(grid.server.state.asks) > 1, "an idle pilot asks again"
    assert len({a["request_id"] for a in grid.server.state.asks}) == len(grid.server.state.asks)


def test_a_pilot_takes_one_job_after_the_other(grid: Grid) -> None:
    for number in range(3):
        grid.job("make", f"out{number}", f"out{number}")
    grid.pilot()
    assert [grid.final(100 + n)["job_status"] for n in range(3)] == ["finished"] * 3
    assert len({a["node"] for a in grid.server.state.asks}) == 1


def test_without_time_floor_and_lifetime_one_job_is_enough(grid: Grid) -> None:
    grid.server.state.queues["SITE_Q"]["timefloor"] = 0
    grid.job("make", "a", "a")
    grid.job("make", "b", "b")
    grid.pilot()
    assert len(grid.server.state.jobs) == 1


def test_the_environment_is_clean_and_nothing_goes_through_a_shell(grid: Grid) -> None:
    grid.job("environment", "out 'two words' '$(touch /tmp/no)' ';ls' \"\"", "out", coreCount=4)
    grid.pilot()
    lines = grid.path("mc", "out").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    assert "SECRET_OF_THE_NODE" not in variables
    assert variables["PANDA_JOB_ID"] == "100"
    assert variables["OMP_NUM_THREADS"] == "4"
    assert variables["PATH"].split(":")[0].endswith("software/demo-1.0")
    assert variables["HOME"].endswith("jobs/100-1/work")
    assert lines[-5:] == ["out", "two words", "$(touch /tmp/no)", ";ls", ""]


def test_the_payloads_own_report_is_used(grid: Grid) -> None:
    grid.job("report", "out", "out")
    grid.job("complain")
    grid.pilot()
    good, bad = grid.final(100), grid.final(101)
    assert good["n_events"] == 42
    assert good["files"]["out"]["events"] == 40
    assert (bad["exe_error_code"], bad["exe_error_diag"]) == (65, "no convergence")
    assert (bad["pilot_error_code"], bad["trans_exit_code"]) == (1305, 1)


def test_a_failed_job_reports_its_code_and_only_its_log(grid: Grid) -> None:
    grid.job("exit3", "", "out")
    grid.pilot()
    final = grid.final(100)
    assert (final["job_status"], final["pilot_error_code"], final["trans_exit_code"]) == ("failed", 1305, 3)
    assert "some words" in final["pilot_error_diag"]
    assert list(final["files"]) == ["job.100.log.tgz"]
    assert final["pilot_log"]


def test_outputs_that_are_missing_empty_or_links_away(grid: Grid) -> None:
    for payload in ("nothing", "empty", "link"):
        grid.job(payload, f"out-{payload}", f"out-{payload}")
    grid.job("nothing", "", "maybe", allowNoOutput="maybe")
    grid.pilot()
    assert [grid.final(100 + n)["pilot_error_code"] for n in range(4)] == [1165, 1350, 1165, 0]
    assert list(grid.final(103)["files"]) == ["job.103.log.tgz"]
    assert not grid.path("mc", "out-link").exists()


def test_inputs_that_are_missing_damaged_or_of_another_size(grid: Grid) -> None:
    good = grid.store("in.dat", b"content")
    other = {"checksum": "ad:00000001"}, {"fsize": "6"}, {"inFiles": "gone.dat"}, {"checksum": "md5:" + 32 * "0"}
    for change in other:
        grid.job("copy", "in.dat out", "out", **good | change)
    grid.pilot()
    assert [grid.final(100 + n)["pilot_error_code"] for n in range(4)] == [1171, 1099, 1103, 1145]


def test_inputs_may_be_links_where_the_queue_says_so(grid: Grid) -> None:
    grid.server.state.queues["SITE_Q"]["catchall"] = "symlink_inputs"
    grid.job("copy", "in.dat out", "out", **grid.store("in.dat", b"content"))
    log = grid.pilot()
    assert grid.path("mc", "out").read_bytes() == b"content"
    assert "staged in in.dat: 7 bytes" in log


def test_a_job_without_release_finds_its_program_in_the_software_folder(grid: Grid) -> None:
    (grid.folder / "software" / "free").write_text('#!/bin/sh\necho free > "$1"\n')
    (grid.folder / "software" / "free").chmod(0o755)
    grid.job("free", "out", "out", swRelease="NULL")
    grid.pilot()
    assert grid.path("mc", "out").read_text() == "free\n"


def test_software_that_is_not_there(grid: Grid) -> None:
    grid.job("make", swRelease="demo-2.0")
    grid.job("unheard-of")
    grid.job("make", container_name="docker://x")
    grid.pilot()
    assert [grid.final(100 + n)["pilot_error_code"] for n in range(3)] == [1211, 1346, 1360]


def test_bad_names_are_refused_before_anything_is_written(grid: Grid) -> None:
    bad = [
        {"outFiles": "../x,job.100.log.tgz"},
        {"transformation": "../../bin/sh"},
        {"swRelease": ".."},
        {"scopeOut": "a/../../b"},
        {"inFiles": "/etc/passwd", "scopeIn": "mc", "ddmEndPointIn": "SITE_DISK"},
        {"jobPars": "'unclosed"},
        {"scopeOut": "a,b,c,d"},
        {"maxWalltime": "soon"},
    ]
    for number, change in enumerate(bad):
        grid.job("make", "out", "out", PandaID=200 + number).update(change)
    grid.pilot()
    finals = [grid.final(200 + n) if n == 5 else grid.server.finals(200 + n)[0] for n in range(len(bad))]
    assert [final["pilot_error_code"] for final in finals] == [1110] * len(bad)
    assert all(final["pilot_error_diag"] for final in finals)
    written = {path.name for path in grid.folder.rglob("*") if path.is_file() and "software" not in path.parts}
    assert written == {"job.205.log.tgz"}


def test_a_lost_answer_is_asked_for_again_under_the_same_request(grid: Grid) -> None:
    lost: list[str] = []

    def lose_first(path: str, body: dict[str, object]) -> bool:
        if path.endswith("acquire_jobs") and not lost:
            lost.append(str(body["request_id"]))
            return True
        return False

    grid.server.state.lose_reply = lose_first
    grid.job("make", "out", "out")
    grid.pilot("--patience", "1.5")
    assert [ask["request_id"] for ask in grid.server.state.asks][:2] == lost * 2
    assert grid.final(100)["job_status"] == "finished"


def test_an_output_that_exists_with_other_content_is_never_overwritten(grid: Grid) -> None:
    path = grid.path("mc", "out")
    path.parent.mkdir(parents=True)
    path.write_text("somebody else's")
    grid.job("make", "out", "out")
    grid.pilot()
    final = grid.final(100)
    assert (final["job_status"], final["pilot_error_code"]) == ("failed", 1137)
    assert "stored already" in final["pilot_error_diag"]
    assert path.read_text() == "somebody else's"
    assert list(final["files"]) == ["job.100.log.tgz"]


def test_a_pilot_whose_job_is_refused_ends_and_runs_nothing(grid: Grid) -> None:
    grid.server.state.refuse = lambda body: body["job_status"] == "starting"
    grid.job("make", "out", "out")
    grid.job("make", "out2", "out2")
    pilot = grid.start()
    _, log = pilot.communicate(timeout=30)
    assert (pilot.returncode, len(grid.server.state.jobs)) == (1, 1), log
    assert not grid.path("mc", "out").exists()


def test_the_token_is_sent_and_never_shown(grid: Grid) -> None:
    token = grid.folder / "token"
    token.write_text("very-secret\n")
    log = grid.pilot("--token-file", str(token))
    assert all(header["Authorization"] == "Bearer very-secret" for header in grid.server.state.headers)
    assert "very-secret" not in log


def test_a_long_stdout_is_cut_in_the_log(grid: Grid) -> None:
    grid.job("shout", "out", "out")
    grid.pilot("--max-log", "1")
    with tarfile.open(grid.path("log", "job.100.log.tgz")) as archive:
        member = archive.extractfile("100-1/payload.stdout")
        assert member is not None
        text = member.read()
    assert len(text) < 1024 * 1024 + 100
    assert text.endswith(b"last words\n")
    assert b"bytes are left out here" in text


def test_the_state_file_always_says_what_the_pilot_does(grid: Grid) -> None:
    state = grid.folder / "state.json"
    grid.job("exit3")
    grid.pilot("--state-file", str(state))
    said = json.loads(state.read_text())
    assert said == {"state": "ended", "job": None, "jobs": [100], "failed": 1, "exit": 0}
