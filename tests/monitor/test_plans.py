"""What pages ask for by time is found by time: among many old events the last hours are few."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from panda.services.monitor import Span, overview
from tests.support.builders import a_task

OLD = 200_000
FILL = text("""
    INSERT INTO job_event (at, task_id, n, from_state, to_state, why, who)
    SELECT now() - interval '40 days' + i * interval '15 seconds', :task, 1, 'running',
           (ARRAY['finished', 'failed', 'cancelled', 'closed'])[1 + i % 4]::job_status, 'settled', 'test'
    FROM generate_series(1, :old) i
""")


@pytest.mark.usefixtures("engine")
def test_old_events_are_not_read_for_the_last_hours(rows: Connection) -> None:
    rows.execute(FILL, {"task": a_task(rows), "old": OLD})
    rows.execute(text("VACUUM ANALYZE job_event"))
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    event.listen(rows, "before_cursor_execute", note)
    now = datetime.now(UTC)
    wanted = overview.Narrowed(Span(now - timedelta(hours=12), now))
    overview.counts(rows, wanted)
    overview.curves(rows, wanted, 96)
    event.remove(rows, "before_cursor_execute", note)
    plans = ["\n".join(row[0] for row in rows.exec_driver_sql(f"EXPLAIN {one}", values)) for one, values in asked]
    assert any("ix_job_event_at" in plan for plan in plans)
    assert [plan for plan in plans if "Seq Scan on job_event" in plan] == []
