"""An unknown release is refused at submission with the nearest names, and nothing is stored."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, text

from panda.domain.work import OutputSpec, Split, TaskRequest
from panda.errors import Refused
from panda.services import submit
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
