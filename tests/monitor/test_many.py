"""Lists too long to look at each job: counters and the best of each kind give the same as a look at every one."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from panda.domain.pattern import parse
from panda.services.monitor import jobs, looking
from panda.store.monitor.many import FINE
from panda.store.monitor.snapshot import Span

FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"status": "failed"},
    {"status": "finished|running"},
    {"status": "defined|waiting|assigned", "site": "~"},
    {"status": "-activated", "cloud": "US"},
    {"site": "BNL"},
    {"user": "alice|carol"},
    {"taskname": "mc.*"},
    {"task": "10000000"},
    {"task": "10000000|10000001", "status": "activated"},
    {"status": "nothing"},
)


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("sort", ["-id", "id", "-priority"])
def test_counters_say_what_a_look_at_every_job_says(engine: Engine, filters: dict[str, str], sort: str) -> None:
    now = datetime.now(UTC)
    span = Span(now - timedelta(hours=1), now + timedelta(hours=1))
    wanted = jobs.JobsWanted(span, {name: parse(text) for name, text in filters.items()})
    with looking(engine) as connection:
        each = jobs.found(connection, wanted, sort=sort, limit=7, offset=2, most=10**9)
        many = jobs.found(connection, wanted, sort=sort, limit=7, offset=2, most=-1)

    assert each.whole
    assert not many.whole
    assert many.total == each.total
    assert [one["id"] for one in many.jobs] == [one["id"] for one in each.jobs]
    known = [row for row in each.summary if row["attribute"] not in FINE]
    counted = {(row["attribute"], row["value"]): row["n"] for row in many.summary}
    assert {key: counted[key] for key in ((row["attribute"], row["value"]) for row in known)} == {
        (row["attribute"], row["value"]): row["n"] for row in known
    }
