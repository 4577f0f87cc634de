"""Bamboo: every ten minutes it brings everything up to date between ProdDB and PanDA (domain.md 1, "Bamboo").

A reconciliation, not a tick: each run does all that is due, however many were missed. One Bamboo runs at a time.
"""

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.names import run_name
from flows.production_task import tell
from flows.quick import quick_flows
from tasks.bamboo import due_tasks, keep_up, kill_to_be_aborted, only_bamboo, take_work, write_back
from tasks.plain import EXPECTED, said, speak_plainly


@flow(name="bamboo", flow_run_name=run_name("bamboo"))
def bamboo() -> State[None]:
    """Take work, pass on aborts, advance every due task, keep up, write states back."""
    speak_plainly()
    try:
        return _round()
    except EXPECTED as error:
        return Failed(name=type(error).__name__, message=said(error))


def _round() -> State[None]:
    with only_bamboo() as alone:
        if not alone:
            return Completed(name="Skipped", message="another Bamboo is at work")
        taken = take_work()
        aborts = kill_to_be_aborted()
        done = keep_up()
        told = _advance()
        written = write_back()
    row = {
        "taken": taken.submitted,
        "refused": taken.refused,
        "aborted": aborts.tasks + aborts.jobs,
        "stories": told,
        "finished jobs": done.collected.finished,
        "attempts written": written.jobs,
        "tasks written": written.tasks,
    }
    if any(row.values()):
        create_table_artifact(table=[row], key="bamboo", description="What this round of Bamboo did")
    return Completed(name="UpToDate", message=", ".join(f"{n} {what}" for what, n in row.items()))


def _advance(rounds: int = 5) -> int:
    """Tell every due story; what a story makes due at once is told in the next of a few rounds."""
    told = 0
    with quick_flows():
        for _ in range(rounds):
            due = due_tasks()
            if not due:
                break
            for task_id in due:
                tell(task_id)
            told += len(due)
    return told


if __name__ == "__main__":
    bamboo()
