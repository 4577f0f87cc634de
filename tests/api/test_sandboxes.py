"""The cache of users' files: uploaded once, found again by its owner, never overwritten, dropped when long unused."""

import gzip
import zlib
from typing import Any

import pytest
from sqlalchemy import text

from panda.services import sandbox
from panda.services.context import Context
from panda_api.app import build
from tests.api.test_routes import bad, good
from tests.support.serving import Caller, serving
from tests.support.tokens import headers_of

V1 = "/api/v1/file_server"
CONTENT = gzip.compress(b"a sandbox" * 100, mtime=0)
ASKED = {"file_size": len(CONTENT), "checksum": zlib.crc32(b"a sandbox" * 100)}


def upload(caller: Caller, name: str, content: bytes = CONTENT) -> Any:
    return caller.post(f"{V1}/upload_cache_file", files={"file": (name, content, "application/octet-stream")})


def test_a_sandbox_is_kept_found_again_and_fetched(caller: Caller, ctx: Context) -> None:
    assert caller.post(f"{V1}/validate_cache_file", ASKED).json() == {
        "success": False,
        "message": "NOTFOUND",
        "data": None,
    }
    good(upload(caller, "jobO.1.tar.gz"))
    found = caller.post(f"{V1}/validate_cache_file", ASKED).json()
    assert (found["success"], found["message"]) == (True, "FOUND:127.0.0.1:jobO.1.tar.gz")
    assert caller.get("/cache/jobO.1.tar.gz").content == CONTENT
    assert caller.get("/cache/schedconfig/ALPHA.all.json").json()["nickname"] == "ALPHA"
    missing = caller.get("/cache/jobO.2.tar.gz")
    assert (missing.status_code, missing.json()["data"]["code"]) == (404, "not_found")
    assert list(sandbox.draft(ctx).iterdir()) == []


def test_what_is_the_same_is_asked_of_the_owners_own_files(ctx: Context) -> None:
    with serving(build(ctx)) as address:
        ann, bob = Caller(address, headers_of("Ann")), Caller(address, headers_of("Bob"))
        good(upload(ann, "jobO.1.tar.gz"))
        assert bob.post(f"{V1}/validate_cache_file", ASKED).json()["message"] == "NOTFOUND"
        assert ann.post(f"{V1}/validate_cache_file", ASKED).json()["message"].startswith("FOUND:")
        pilot = Caller(address, headers_of("p", "testvo:pilot"))
        assert upload(pilot, "jobO.2.tar.gz").status_code == 403
        assert pilot.get("/cache/jobO.1.tar.gz").content == CONTENT


def test_nothing_is_overwritten_but_what_says_so_by_who_wrote_it(ctx: Context) -> None:
    with serving(build(ctx)) as address:
        ann, bob = Caller(address, headers_of("Ann")), Caller(address, headers_of("Bob"))
        good(upload(ann, "jobO.1.tar.gz"))
        bad(upload(bob, "jobO.1.tar.gz", b"other"), "never overwritten")
        bad(upload(ann, "jobO.1.tar.gz", b"other"), "never overwritten")
        assert ann.get("/cache/jobO.1.tar.gz").content == CONTENT
        good(upload(ann, "sources.1.__ow__", b"first"))
        good(upload(ann, "sources.1.__ow__", b"second"))
        bad(upload(bob, "sources.1.__ow__", b"third"), "already")
        assert ann.get("/cache/sources.1.__ow__").content == b"second"


@pytest.mark.parametrize("name", ["..", "...", "", ".hidden", "a b", "x" * 251, "a;b"])
def test_a_name_that_leads_elsewhere_is_refused(caller: Caller, ctx: Context, name: str) -> None:
    answer = upload(caller, name)
    assert answer.json()["success"] is False
    assert [one.name for one in sandbox.folder(ctx).iterdir() if one.name != ".drafts"] == []


def test_a_path_before_the_name_is_cut_off(caller: Caller, ctx: Context) -> None:
    good(upload(caller, "../../etc/jobO.1.tar.gz"))
    assert (sandbox.folder(ctx) / "jobO.1.tar.gz").is_file()


def test_sizes_have_limits(caller: Caller, ctx: Context) -> None:
    bad(upload(caller, "jobO.1.tar.gz", b"x" * (sandbox.LIMIT + 1)), "at most 10485760")
    good(upload(caller, "sources.1.tar.gz", b"x" * (sandbox.LIMIT + 1)))
    bad(upload(caller, "jobO.2.tar.gz", b""), "empty")
    headers = {"Content-Length": str(2**30), "Content-Type": "multipart/form-data; boundary=x"}
    answer = caller.session.post(f"{caller.address}{V1}/upload_cache_file", data=b"", headers=headers, timeout=30)
    assert answer.status_code == 413
    assert "769 MiB" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [({}, ["file_size", "checksum"]), ({"file_size": -1, "checksum": "x"}, ["file_size", "checksum"])],
)
def test_a_question_without_sense_names_the_fields(caller: Caller, body: dict[str, Any], fields: list[str]) -> None:
    assert bad(caller.post(f"{V1}/validate_cache_file", body), "")["fields"] == fields
    assert bad(caller.post(f"{V1}/upload_cache_file", files={"other": b"x"}), "file")["fields"] == ["file"]


def test_a_file_that_nobody_used_for_long_is_dropped(caller: Caller, ctx: Context) -> None:
    for number in (1, 2):
        good(upload(caller, f"jobO.{number}.tar.gz"))
    with ctx.engine.begin() as connection:
        connection.execute(text("UPDATE cache_file SET used_at = now() - interval '31 days' WHERE name LIKE '%1%'"))
    assert sandbox.expire(ctx) == 1
    assert caller.get("/cache/jobO.1.tar.gz").status_code == 404
    assert caller.get("/cache/jobO.2.tar.gz").content == CONTENT
    good(upload(caller, "jobO.1.tar.gz"))
