"""No state lasts for ever: a task that never got a job ends with the reason it waited for."""

from sqlalchemy import Connection, text

from panda.services import recover
from panda.services.context import Context
from tests.support.builders import a_site, a_task


def test_a_task_whose_input_never_came_ends_after_its_lifetime(ctx: Context, rows: Connection) -> None:
    a_site(rows)
    old, young = a_task(rows, name="old"), a_task(rows, name="young")
    rows.execute(
        text("""
            UPDATE production_task SET stage = 'registered', next_ordinal = 0, waits_for = 'AwaitingInput: data.x',
                submitted_at = now() - CASE WHEN id = :old THEN interval '30 days' ELSE interval '1 day' END
        """),
        {"old": old},
    )
    recover.watch(ctx)
    stages = dict(rows.execute(text("SELECT id, stage::text FROM production_task")).tuples().all())
    assert stages == {old: "failed", young: "registered"}
    error = rows.execute(text("SELECT error FROM production_task WHERE id = :t"), {"t": old}).scalar_one()
    assert "AwaitingInput: data.x" in error
