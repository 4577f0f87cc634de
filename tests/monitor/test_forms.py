"""Every page in every form and with every filter: JSON by name and by Accept, CSV of each table, no caps."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from panda.embedded import Address
from panda.store.engine import make_engine
from panda_api.app import build
from panda_api.monitor.pages.every import PAGES
from tests.monitor.scene import fill
from tests.support.builders import a_context
from tests.support.database import cloned_database
from tests.support.serving import Caller, serving

TIMES = ("hours=1", "hours=0.5", "days=7", "date_from=2026-01-01&date_to=2026-01-02")
PATTERNS = ("*", "a*", "*b|c*", "-x*", "~", "-~", "a|-b")
ONLY_FAILED = ("error",)
"""What only a failed job has: its opposite speaks of the other failed ones."""
PAGED = ("jobs", "tasks", "datasets", "blocks", "tries", "pilots", "incidents")


@pytest.fixture(scope="module")
def engine(cluster: Address) -> Iterator[Engine]:
    """One database with one scene for all tests of this file, which only look."""
    with cloned_database(cluster, "forms") as url:
        made = make_engine(url)
        yield made
        made.dispose()


@pytest.fixture(scope="module")
def rows(engine: Engine) -> Iterator[Connection]:
    """A connection that commits at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@pytest.fixture(scope="module")
def scene(rows: Connection) -> None:
    """Work in every state."""
    fill(rows)


@pytest.fixture(scope="module")
def caller(engine: Engine, scene: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A caller of the real app."""
    with serving(build(a_context(engine, tmp_path_factory.mktemp("forms")))) as address:
        yield Caller(address)


@pytest.fixture(scope="module")
def places(scene: None, caller: Caller) -> dict[str, str]:
    """An address for every page, one that shows something where the page is about one thing."""
    job = caller.get("/jobs?status=failed&json").json()["jobs"]["rows"][0]
    things = {
        "/job/{job_id}": f"/job/{job['id']}",
        "/task/{task_id}": f"/task/{job['task_id']}",
        "/site/{name}": "/site/BNL",
        "/user/{name:path}": "/user/alice",
        "/dataset/{name:path}": "/dataset/mc.evgen.out",
    }
    found = {spec.path: things.get(spec.path, spec.path) for spec in PAGES}
    assert not [path for path in found.values() if "{" in path]
    return found


def tables(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, block in told.items():
        if isinstance(block, dict) and block.keys() == {"total", "rows"}:
            yield name, block


def test_every_page_says_the_same_in_every_form(places: dict[str, str], caller: Caller) -> None:
    seen = 0
    for path in places.values():
        told = caller.get(f"{path}?json").json()
        by_accept = caller.session.get(caller.address + path, headers={"Accept": "application/json"}).json()
        assert told.keys() == by_accept.keys(), path
        for name, block in tables(told):
            sheet = caller.get(f"{path}?csv={name}")
            assert sheet.headers["content-type"].startswith("text/csv"), (path, name)
            shown = len(list(csv.reader(io.StringIO(sheet.text)))) - 1
            # A table is whole, or it says how many there are.
            assert block["total"] == int(sheet.headers.get("x-total-count", shown)), (path, name)
            assert shown == len(block["rows"]), (path, name)
            seen += 1
    assert seen > 25


def test_every_page_takes_all_its_filters_in_every_form_of_a_pattern(places: dict[str, str], caller: Caller) -> None:
    for spec in PAGES:
        path, usual = places[spec.path], spec.vocabulary
        parts = ["&".join(f"{name}={text}" for name in usual.filters) for text in PATTERNS if usual.filters]
        parts += TIMES if usual.hours is not None else ()
        parts += [f"{name}={one}" for name, several in usual.choices.items() for one in several]
        parts += [f"sort={turn}{name}" for name in usual.sorts for turn in ("", "-")]
        for part in parts:
            answer = caller.get(f"{path}?{part}&json")
            assert answer.status_code == 200, (path, part, answer.text[:300])


def test_a_filter_and_its_opposite_share_out_a_list(places: dict[str, str], caller: Caller) -> None:
    """What `x` lets through and what `-x` does are together what there is, for every filter of every paged list."""
    shared = 0
    for spec in PAGES:
        path = places[spec.path]
        whole = caller.get(f"{path}?json").json()
        paged = [name for name, block in tables(whole) if name in PAGED]
        for name in (one for one in spec.vocabulary.filters if one not in ONLY_FAILED) if paged else ():
            parts = [caller.get(f"{path}?{name}={text}&json").json() for text in ("*e*", "-*e*")]
            for table in paged:
                assert sum(one[table]["total"] for one in parts) == whole[table]["total"], (path, name, table)
                shared += 1
    assert shared > 20


@pytest.mark.usefixtures("scene")
def test_what_a_filter_does_not_narrow_says_so(caller: Caller) -> None:
    assert "chooses among these blocks only" in caller.get("/ddm?site=BNL").text
    assert "chooses among these blocks only" not in caller.get("/ddm?rse=BNL_DATADISK").text
    assert "the filters choose among the incidents" in caller.get("/incidents?level=error").text


COPIED = (
    "UPDATE ddm.dataset SET name = 'mc.evgen.out', scope = 'mc'",
    "INSERT INTO ddm.content (dataset_id, position, file_id) SELECT d.id, f.id, f.id FROM ddm.dataset d, ddm.file f",
    "UPDATE ddm.dataset SET files = 3, bytes = 3e8",
    """INSERT INTO ddm.replica (file_id, rse, state, transferred, written_by, at)
       SELECT min(id), 'BNL_DATADISK', 'AVAILABLE', true, 'test', now() FROM ddm.file""",
)


@pytest.mark.usefixtures("scene")
def test_a_dataset_names_its_copies_its_maker_and_its_readers(caller: Caller, rows: Connection) -> None:
    recon = rows.execute(text("SELECT task_id FROM task_input WHERE dataset = 'mc.evgen.out'")).scalar_one()
    reader = rows.execute(text("SELECT min(id) FROM job WHERE task_id = :task"), {"task": recon}).scalar_one()
    rows.execute(text("UPDATE job SET input_first = 1, input_count = 1 WHERE id = :job"), {"job": reader})
    files = caller.get("/dataset/mc.evgen.out?json").json()["files"]["rows"]
    assert [one["read_by"] for one in files] == [[], [reader]]
    assert f'href="/jobs?id={reader}"' in caller.get("/dataset/mc.evgen.out").text
    for statement in COPIED:
        rows.execute(text(statement))
    (listed,) = caller.get("/datasets?name=mc.evgen.out&json").json()["datasets"]["rows"]
    assert listed["copies"] == ["BNL_DATADISK 33.3 %"]
    for narrowed, names in {
        "rse=BNL*": {"mc.evgen.out"},
        "rse=-BNL*&name=mc.evgen.out": set(),
        "rse=~&name=mc.evgen.out": set(),
        "complete=part": {"mc.evgen.out"},
        "complete=whole": set(),
        "rse=FZK*": set(),
    }.items():
        told = caller.get(f"/datasets?{narrowed}&json").json()["datasets"]
        assert {one["name"] for one in told["rows"]} == names, narrowed
        assert told["total"] == len(names), narrowed


@pytest.mark.usefixtures("scene")
def test_a_secondary_input_names_the_jobs_that_take_a_file_in_turn(caller: Caller, rows: Connection) -> None:
    recon = rows.execute(text("UPDATE task_input SET role = 'secondary', files_per_job = 1 RETURNING task_id")).scalar()
    jobs = rows.execute(
        text("SELECT id, ordinal FROM job_all WHERE task_id = :task ORDER BY id"), {"task": recon}
    ).all()
    told = caller.get("/dataset/mc.evgen.out?json").json()
    assert [one["role"] for one in told["readers"]["rows"]] == ["every job takes some of its files"]
    rows.execute(text("UPDATE task_input SET role = 'primary', files_per_job = NULL"))  # other tests see the scene, too
    for place, one in enumerate(told["files"]["rows"]):
        assert one["read_by"] == [job.id for job in jobs if job.ordinal % 2 == place] != []
