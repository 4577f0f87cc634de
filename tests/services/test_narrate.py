"""What managers see of a task in the Prefect UI: where it stands, the chain of tasks, links, every sentence."""

from sqlalchemy import Connection

from panda.services import narrate
from panda.services.context import Context
from tests.support.builders import a_bunch, a_task


def test_the_chain_is_a_table_from_parents_to_children_with_links(ctx: Context, rows: Connection) -> None:
    first = a_task(rows, "first", stage="done")
    second = a_task(rows, "second|x", parent_id=first, waits_for="AwaitingPilots: 3 activated")
    a_bunch(rows, second, n_jobs=3)
    third = a_task(rows, "third", stage="registered", parent_id=second)
    home = ctx.settings.api_url
    assert narrate.narrate(ctx, second).chain.splitlines() == [
        "| task | stage | jobs | in the chain |",
        "|---|---|---|---|",
        f"| [{first} first]({home}/task/{first}) | done | no jobs yet | its input is made here |",
        (
            f"| [{second} second\\|x]({home}/task/{second}) | running, waits for AwaitingPilots: 3 activated "
            "| 0 of 3 finished | **this task** |"
        ),
        f"| [{third} third]({home}/task/{third}) | registered | no jobs yet | reads what it makes |",
    ]


def test_many_children_are_said_to_be_more(ctx: Context, rows: Connection) -> None:
    parent = a_task(rows, "parent")
    for number in range(narrate.MOST_CHILDREN + 1):
        a_task(rows, f"child{number}", parent_id=parent)
    chain = narrate.narrate(ctx, parent).chain
    assert chain.count("reads what it makes") == narrate.MOST_CHILDREN
    assert f"[more children]({ctx.settings.api_url}/task/{parent})" in chain


def test_the_page_says_what_it_waits_for_and_leads_on(ctx: Context, rows: Connection) -> None:
    task = a_task(rows, hold="paused by ann")
    a_bunch(rows, task)
    page = narrate.narrate(ctx, task).markdown("AwaitingSite: pilots 2 (BNL, MWT2)")
    assert page.startswith(f"## Task {task}\n\n`a-task`")
    assert "**Waits for** AwaitingSite: pilots 2 (BNL, MWT2)" in page
    assert f"]({ctx.settings.api_url}/task/{task})" in page
    assert "\n- It is on hold (paused by ann)" in page
    assert "### The chain of tasks\n\n| task | stage |" in page
    assert "mermaid" not in page
