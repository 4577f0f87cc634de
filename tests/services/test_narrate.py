"""What managers see of a task in the Prefect UI: where it stands, the chain of tasks drawn, links, every sentence."""

from sqlalchemy import Connection

from panda.services import narrate
from panda.services.context import Context
from tests.support.builders import a_bunch, a_task


def test_the_chain_is_drawn_from_parents_to_children_with_their_ends(ctx: Context, rows: Connection) -> None:
    first = a_task(rows, "first", stage="done")
    second = a_task(rows, "second", parent_id=first)
    a_bunch(rows, second, n_jobs=3)
    third = a_task(rows, "third", stage="registered", parent_id=second)
    drawn = narrate.narrate(ctx, second).chain.splitlines()
    assert drawn[0] == "graph TD"
    assert f'  t{first}["{first} first<br/>done: no jobs yet"]:::done' in drawn
    assert f'  t{second}["{second} second<br/>running: 0 of 3 jobs finished"]:::running' in drawn
    assert f"  t{first} --> t{second}" in drawn
    assert f"  t{second} --> t{third}" in drawn
    assert f"  style t{second} stroke-width:4px" in drawn


def test_many_children_are_drawn_as_more(ctx: Context, rows: Connection) -> None:
    parent = a_task(rows, "parent")
    for number in range(narrate.MOST_CHILDREN + 1):
        a_task(rows, f"child{number}", parent_id=parent)
    drawn = narrate.narrate(ctx, parent).chain
    assert drawn.count(f"t{parent} --> t") == narrate.MOST_CHILDREN
    assert f"t{parent} --> more" in drawn


def test_the_page_says_what_it_waits_for_and_leads_on(ctx: Context, rows: Connection) -> None:
    task = a_task(rows, hold="paused by ann")
    a_bunch(rows, task)
    page = narrate.narrate(ctx, task).markdown("AwaitingSite: pilots 2 (BNL, MWT2)")
    assert page.startswith(f"## Task {task}\n\n`a-task`")
    assert "**Waits for** AwaitingSite: pilots 2 (BNL, MWT2)" in page
    assert f"]({ctx.settings.api_url}/task/{task})" in page
    assert "\n- It is on hold (paused by ann)" in page
    assert "```mermaid\ngraph TD\n" in page
