"""What no site has or may take is refused at submission, with what would be right; nothing is stored."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, text

from panda.domain.work import OutputSpec, Resources, Split, TaskRequest
from panda.errors import Refused
from panda.services import assign, story, submit
from panda.services.context import Context
from tests.support.builders import a_site

REQUEST = TaskRequest(
    name="task.one",
    transformation="evgen",
    parameters="",
    outputs=(OutputSpec("OUT", "data.one", "out._${SN}.root"),),
    split=Split(n_jobs=1),
    release="ZBoson-1.0",
)


def test_a_release_that_no_site_lists_is_refused_even_where_a_site_was_never_looked_at(
    ctx: Context, rows: Connection
) -> None:
    listed = a_site(rows, "LISTED")
    a_site(rows, "NEVER_LOOKED")
    rows.execute(
        text("INSERT INTO site_release (site_id, release, architecture) VALUES (:s, 'ZBoson-1.0', '')"), {"s": listed}
    )
    with pytest.raises(Refused) as refused:
        submit.submit_task(ctx, replace(REQUEST, release="ZBoson-9.9"), "me")
    assert "ZBoson-1.0" in refused.value.hint
    assert rows.execute(text("SELECT count(*) FROM production_task")).scalar_one() == 0

    assert submit.submit_task(ctx, REQUEST, "me") >= 10_000_000


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"sites": ("ALPHA", "NOWHERE")}, "there is no site 'NOWHERE'"),
        ({"excluded_sites": ("NOWHERE",)}, "there is no site 'NOWHERE'"),
        ({"sites": ("ALPHA",), "excluded_sites": ("ALPHA",)}, "every site that was asked for is excluded"),
        ({"sites": ("SMALL",), "resources": Resources(memory_mb=3000)}, "memory"),
    ],
)
def test_wishes_for_sites_that_cannot_be_met(ctx: Context, rows: Connection, wish: dict[str, Any], words: str) -> None:
    a_site(rows, "ALPHA", memory_mb=4000)
    a_site(rows, "SMALL", memory_mb=2000)
    with pytest.raises(Refused, match=words) as refused:
        submit.submit_task(ctx, replace(REQUEST, release="", **wish), "me")
    assert refused.value.hint
    assert rows.execute(text("SELECT count(*) FROM production_task")).scalar_one() == 0


@pytest.mark.parametrize("wish", [{"site": "BERLIN"}, {"sites": ("BERLIN",)}, {"excluded_sites": ("BNL", "LYON")}])
def test_the_cloud_is_one_with_a_site_that_was_asked_for(ctx: Context, rows: Connection, wish: dict[str, Any]) -> None:
    for cloud, site in (("US", "BNL"), ("FR", "LYON"), ("DE", "BERLIN")):
        a_site(rows, site, cloud)
    task = submit.submit_task(ctx, replace(REQUEST, release="", **wish), "me")
    lease = story.claim(ctx, task)
    assert lease is not None
    assert assign.assign(ctx, lease).cloud == "DE"


@pytest.mark.parametrize(
    ("lfn", "words"),
    [
        ("../../${SN}.root", "file '../../000001.root' is not a valid name"),
        ("a b.${SN}", "is not a valid name"),
        ("${EACH/good,../bad}", "file '../bad' is not a valid name"),
        ("${EACH/one,two}", "lists 2 names for 1 jobs"),
        ("${SN}" + "x" * 250, "is not a valid name"),
    ],
)
def test_an_impossible_file_name_is_refused(ctx: Context, rows: Connection, lfn: str, words: str) -> None:
    a_site(rows, "ALPHA")
    wanted = replace(REQUEST, release="", outputs=(OutputSpec("OUT", "data.one", lfn),))
    with pytest.raises(Refused) as refused:
        submit.submit_task(ctx, wanted, "me")
    assert words in refused.value.message
    assert rows.execute(text("SELECT count(*) FROM production_task")).scalar_one() == 0
