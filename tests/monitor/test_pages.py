"""Every page: it answers in all forms, its links answer, its numbers are those of its lists, text stays text."""

import contextlib
import html
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from panda_api.app import build
from panda_api.monitor.pages.every import PAGES
from tests.support.builders import a_context
from tests.support.serving import Caller, serving

FLAT = [one.path for one in PAGES if "{" not in one.path]


class Links(HTMLParser):
    """Collects the addresses that a page leads to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page, self.found, self.tags = page, set[str](), Counter[str]()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name in {"href", "src", "action"} and value and not value.startswith("#"):
                self.found.add(urljoin(self.page, value))


def links_of(caller: Caller, page: str) -> Links:
    answer = caller.get(page)
    assert answer.status_code == 200, (page, answer.text[:2000])
    found = Links(page)
    if answer.headers["content-type"].startswith("text/html"):
        found.feed(answer.text)
    return found


@pytest.mark.usefixtures("scene")
def test_every_link_on_every_page_answers(caller: Caller) -> None:
    kinds, pages = Counter[str](), set(FLAT)
    for _depth in range(3):
        links = {link for page in sorted(pages) for link in links_of(caller, page).found}
        pages = set()
        for link in sorted(links):
            parts = urlsplit(link)
            if parts.netloc:  # the runs of a task in Prefect's own pages
                assert link.startswith("http://127.0.0.1:4200/runs?tag=task:")
                continue
            names = sorted(one.partition("=")[0] for one in parts.query.split("&"))
            # Two pages of each path and name stand for all: lists differ by their values only.
            kind = f"{parts.path.rstrip('/').rpartition('/')[0]}?{names[-1]}"
            kinds[kind] += 1
            if kinds[kind] <= 2:
                pages.add(link)
    assert len(kinds) > 20


@pytest.mark.usefixtures("scene")
def test_every_page_answers_programs(caller: Caller) -> None:
    for path in FLAT:
        told = caller.get(f"{path}?json").json()
        assert {"title", "at", "since", "until"} <= set(told)
        assert (
            caller.session.get(caller.address + path, headers={"Accept": "application/json"}).json()["title"]
            == told["title"]
        )


def total(caller: Caller, link: str) -> int:
    """How many a list says there are."""
    answer = caller.get(link + ("&" if "?" in link else "?") + "json")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return int(told["jobs"]["total"])


@pytest.mark.usefixtures("scene")
def test_the_numbers_of_the_dashboard_are_those_of_the_database_and_of_the_lists(
    caller: Caller, rows: Connection
) -> None:
    table = caller.get("/?json").json()["clouds"]["rows"]
    live = "COALESCE(j.status, b.state::text::job_status)::text"
    counted = rows.execute(text(f"SELECT {live}, count(*) FROM job j JOIN bunch b ON b.id = j.bunch_id GROUP BY 1"))  # noqa: S608
    wanted = dict(counted.tuples().all())
    for level in (0, 1):
        sums: Counter[str] = Counter()
        for row in table:
            if row["level"] == level:
                sums.update({state: row[state] for state in wanted})
        assert sums == wanted
    for state, n in wanted.items():
        assert total(caller, f"/jobs?status={state}") == n
    for row in table:
        if row["level"] == 1:
            site = "~" if row["name"] == "no site yet" else row["name"]
            for state in wanted:
                assert total(caller, f"/jobs?cloud={row['of'] or '~'}&site={site}&status={state}") == row[state]


@pytest.mark.usefixtures("scene")
def test_the_summary_counts_what_its_filter_finds(caller: Caller) -> None:
    summary = caller.get("/jobs?json").json()["summary"]
    for name, values in summary.items():
        for value, n in values.items():
            written = value or "~"
            assert total(caller, f"/jobs?{name}={written}") == n, (name, value)


SCRIPT = "<script>alert('x')</script>"
WORDS = ("status", "state", "stage", "kind", "level", "what", "type", "fold", "name", "url", "role", "pattern")
COLUMNS = text("""
    SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema IN ('public', 'ddm') AND c.data_type = 'text' AND t.table_type = 'BASE TABLE'
      AND c.table_name NOT LIKE '%version' AND c.column_name <> ALL (:words) ORDER BY 1, 2, 3
""")


def make_nasty(rows: Connection) -> int:
    """Put a script behind every text of every table, as far as rules of the table allow it; how many columns."""
    changed = 0
    for schema, table, column in rows.execute(COLUMNS, {"words": list(WORDS)}).all():
        with contextlib.suppress(DBAPIError):  # a rule of the table: such a text can never come there
            rows.execute(
                text(f'UPDATE "{schema}"."{table}" SET "{column}" = "{column}" || :more'),  # noqa: S608
                {"more": SCRIPT},
            )
            changed += 1
    return changed


@pytest.mark.usefixtures("scene")
def test_text_stays_text(caller: Caller, rows: Connection) -> None:
    assert make_nasty(rows) > 40
    jobs = [row["id"] for row in caller.get("/jobs?status=failed|running&json").json()["jobs"]["rows"]]
    tasks = [row["id"] for row in caller.get("/tasks?json").json()["tasks"]["rows"]]
    pages = [*FLAT, "/jobs?user=bob <b>", "/?campaign=<script>alert(1)</script>", "/site/BNL", "/dataset/mc.evgen.out"]
    pages += [*(f"/job/{one}" for one in jobs), *(f"/task/{one}" for one in tasks)]
    seen = 0
    for page in pages:
        answer = caller.get(page)
        assert answer.status_code == 200, (page, answer.text[:500])
        found = Links(page)
        found.feed(answer.text)
        assert found.tags["script"] == 4, page
        assert "<b>failed" not in answer.text, page
        assert "<b>broken" not in answer.text, page
        assert "<script>alert" not in answer.text, page
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        seen += "&lt;script&gt;alert" in answer.text
    assert seen > len(pages) / 2


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/jobs?sit=BNL", "did you mean site"),
        ("/jobs?site=a||b", "a|b"),
        ("/jobs?hours=-1", "above 0"),
        ("/jobs?hours=nan", "above 0"),
        ("/jobs?days=1&hours=3", "one of them"),
        ("/jobs?date_from=yesterday", "2026-11-22"),
        ("/jobs?date_from=2026-11-22&date_to=2026-11-21", "exchange"),
        ("/jobs?limit=0", "from 1 to"),
        ("/jobs?offset=x", "whole number"),
        ("/jobs?sort=color", "it sorts by"),
        ("/jobs?id=x", "id=17"),
        ("/jobs?site=a&site=b", "site=a|b"),
        ("/?colour=red", "it knows"),
        ("/tasks?status=a%00b", "NUL"),
        ("/ddm?show=colour", "efficiency"),
        ("/jobs?csv=nothing", "csv=jobs"),
    ],
)
def test_a_bad_address_is_answered_with_what_is_right(caller: Caller, address: str, says: str) -> None:
    answer = caller.get(address)
    assert answer.status_code == 400
    assert says.casefold() in answer.text.replace("&#39;", "'").casefold()
    told = caller.get(address + "&json")
    assert told.status_code == 400
    assert says in told.json()["hint"] + told.json()["error"]


def test_a_person_at_no_page_finds_the_others(caller: Caller) -> None:
    answer = caller.session.get(f"{caller.address}/nowhere", headers={"Accept": "text/html,*/*"}, timeout=30)
    assert (answer.status_code, 'href="/errors"' in answer.text) == (404, True)
    assert caller.get("/nowhere").text == "Not Found"


@pytest.mark.usefixtures("scene")
def test_a_state_that_no_job_has_is_named(caller: Caller) -> None:
    assert "nonsense is no state of a job; they are defined, waiting" in caller.get("/jobs?status=nonsense").text
    assert "no state of a job" not in caller.get("/jobs?status=merging").text


@pytest.mark.usefixtures("scene")
def test_names_of_bigpanda_are_understood(caller: Caller) -> None:
    ours = caller.get("/jobs?site=BNL&status=failed&days=1&json").json()["jobs"]
    theirs = caller.get("/jobs?computingsite=BNL&jobstatus=failed&days=1&json").json()["jobs"]
    assert ours == theirs
    assert ours["total"] == 4


@pytest.mark.usefixtures("scene")
def test_numbers_of_links_are_those_of_the_tries_they_lead_to(caller: Caller) -> None:
    told = caller.get("/ddm?json").json()
    links = {(row["of"], row["rse"]): row for row in told["links"]["rows"]}
    assert len(links) == 4
    for (source, rse), row in links.items():
        tries = caller.get(f"/ddm/tries?source={source}&rse={rse}&json").json()
        assert tries["sums"]["done"] == row["files"]
        assert tries["sums"]["failed"] == row["failed"]
        assert tries["sums"]["queued"] == row["queued"]
        assert tries["tries"]["total"] == row["files"] + row["failed"] + row["queued"]
    slow = links["FZK_DATADISK", "BNL_DATADISK"]
    assert (slow["rate"], slow["efficiency"], slow["queued"]) == (1e6, 100.0, 1)
    failing = links["FZK_DATADISK", "AGLT2_DATADISK"]
    assert (failing["efficiency"], failing["error"]) == (0.0, "FZK_DATADISK -> AGLT2_DATADISK: no <route>")
    rates = caller.get("/ddm?show=rate").text
    assert "1 MB/s" in rates
    assert rates.count("q-alert") == 2
    assert caller.get("/ddm/tries?csv=datasets").text.splitlines()[1].startswith("panda.b_dis1,")


@pytest.mark.usefixtures("scene")
def test_numbers_of_the_error_report_are_those_of_the_lists(caller: Caller) -> None:
    told = caller.get("/errors?json").json()
    assert told["sums"]["failed"] == 4
    assert sum(told["failed"]["pilot"]) == 4
    assert sum(told["lost"]["lost"]) == pytest.approx(told["sums"]["lost_s"] / 3600)
    (component,) = told["components"]["rows"]
    assert (component["component"], component["jobs"], component["codes"]) == ("pilot", 4, 1)
    for filters, n in (("error=pilot:1305", 4), ("error=pilot:*", 4), ("error=-pilot:*", 0), ("error=none:0", 0)):
        assert caller.get(f"/errors?{filters}&json").json()["sums"]["failed"] == n
        assert total(caller, f"/jobs?status=failed&{filters}") == n


@pytest.mark.usefixtures("scene")
def test_many_days_of_errors_have_the_same_numbers_without_nodes(caller: Caller) -> None:
    """Jobs that finished are then counted, not looked at; one site's are looked at again."""
    day, month, site = (caller.get(f"/errors?{span}&json").json() for span in ("days=1", "days=30", "days=30&site=BNL"))
    for name in ("codes", "components", "sites", "tasks", "users", "matrix"):
        assert month[name] == day[name], name
    assert ("nodes" in day, "nodes" in month, "nodes" in site) == (True, False, True)
    assert ("outliers" in day, "outliers" in month) == (True, False)
    assert "nodes are compared within 3 days" in caller.get("/errors?days=30").text
    assert "nodes are compared" not in caller.get("/errors?days=3").text
    assert caller.get("/report?days=30&json").json()["findings"] == caller.get("/report?days=1&json").json()["findings"]


@pytest.mark.usefixtures("scene")
def test_a_failure_without_a_report_has_an_error_of_its_own(caller: Caller, rows: Connection) -> None:
    rows.execute(
        text("DELETE FROM job_report WHERE job_id = (SELECT min(job_id) FROM job_report WHERE errors <> '[]')")
    )
    codes = {
        f"{row['component']}:{row['code']}": row["jobs"] for row in caller.get("/errors?json").json()["codes"]["rows"]
    }
    assert codes == {"pilot:1305": 3, "none:0": 1}
    for error, n in codes.items():
        assert total(caller, f"/jobs?status=failed&error={error}") == n
    assert caller.get("/jobs?status=failed&json").json()["summary"]["error"] == codes


@pytest.mark.usefixtures("scene")
def test_every_number_of_a_table_leads_to_so_many(caller: Caller, rows: Connection) -> None:
    """Counts are links to lists of jobs; what is old lies outside the usual time of the list, not of the page."""
    rows.execute(text("UPDATE job_event SET at = at - interval '18 hours' WHERE to_state IN ('failed', 'finished')"))
    counted = 0
    for page in ("/errors", "/site/BNL?days=1", "/", "/?days=1", "/sites", "/shares"):
        found = re.findall(r'<a href="(/jobs\?[^"]*)"[^>]*>([0-9]+)</a>', caller.get(page).text)
        for link, number in found:
            assert total(caller, html.unescape(link)) == int(number), (page, link)
            counted += 1
    assert counted > 30


@pytest.mark.usefixtures("scene")
def test_shares_show_what_the_dispatcher_goes_by(engine: Engine, tmp_path: Path) -> None:
    ctx = a_context(engine, tmp_path, dispatch={"shares": {"default": 3, "Test": 1, "vo:cms": 1}})
    with serving(build(ctx)) as address:
        told = Caller(address).get("/shares?json").json()
    shares = {row["share"]: (row["target"], row["part"], row["deficit"]) for row in told["shares"]["rows"]}
    assert shares["default"] == (75.0, 100.0, -25.0)
    assert shares["Test"] == (25.0, 0.0, 25.0)
    assert told["shares"]["rows"][0]["share"] == "Test"
    organisations = {row["vo"]: row["deficit"] for row in told["organisations"]["rows"]}
    assert organisations == {"atlas": -100.0, "cms": 100.0}


@pytest.mark.usefixtures("scene")
def test_lists_are_cut_only_where_they_say_so(caller: Caller) -> None:
    every = [row["id"] for row in caller.get("/jobs?json").json()["jobs"]["rows"]]
    paged: list[int] = []
    for offset in range(0, len(every), 7):
        told: Any = caller.get(f"/jobs?json&limit=7&offset={offset}").json()["jobs"]
        assert told["total"] == len(every)
        paged += [row["id"] for row in told["rows"]]
    assert paged == every
    assert f"of {len(every)}" in caller.get("/jobs?limit=7").text
    lines = caller.get("/jobs?csv").text.splitlines()
    assert len(lines) == len(every) + 1


@pytest.mark.usefixtures("scene")
def test_a_users_page_tells_how_the_tasks_do_and_what_fails(caller: Caller, rows: Connection) -> None:
    listed = {row["user"]: row for row in caller.get("/users?json").json()["users"]["rows"]}
    assert set(listed) == {row[0] for row in rows.execute(text("SELECT DISTINCT owner FROM production_task"))}
    assert listed["carol"]["live"] == 1
    telling = 0
    for name in ("alice", "bob <b>"):
        told = caller.get(f"/user/{name}?days=7&json").json()
        own = caller.get(f"/tasks?user={name}&days=7&json").json()["tasks"]
        assert [row["id"] for row in told["tasks"]["rows"]] == [row["id"] for row in own["rows"]]
        tiles = told["jobs"]
        assert (tiles["finished"], tiles["failed"]) == (listed[name]["finished"], listed[name]["failed"])
        mostly = {row["id"]: row["mostly"] for row in told["tasks"]["rows"]}
        telling += sum(map(bool, mostly.values()))
        for task, errors in mostly.items():
            found = caller.get(f"/errors?task={task}&days=7&json").json()["codes"]["rows"]
            by_code = Counter[str]()
            for row in found:
                by_code[f"{row['component']}:{row['code']}"] += row["jobs"]
            assert errors == [
                f"{code} ({n})" for code, n in sorted(by_code.items(), key=lambda one: (-one[1], one[0]))[:2]
            ]
    assert telling


@pytest.mark.usefixtures("scene")
def test_who_never_had_a_task_is_no_user(caller: Caller) -> None:
    answer = caller.get("/user/nobody?json")
    assert answer.status_code == 404
    assert "/users" in answer.json()["hint"]
    assert (
        caller.session.get(f"{caller.address}/find?q=alice", allow_redirects=False).headers["location"] == "/user/alice"
    )
