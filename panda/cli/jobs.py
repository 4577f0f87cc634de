"""Owns `panda jobs` and `panda job`: the jobs of a task, and all about one."""

from typing import Annotated

import typer

from panda.cli import complete
from panda.cli.asking import AsJson, Limit, Offset, one_command, print_json, print_pairs, print_table
from panda.cli.remote import api
from panda.domain.states import JobStatus
from panda.domain.views.work import Happened, JobView, WholeJob
from panda.domain.words import clock, size, span


def jobs(
    *,
    task_id: Annotated[int, typer.Option("--task", help="The production task.", autocompletion=complete.tasks)],
    status: Annotated[list[JobStatus] | None, typer.Option(help="Only these; may be given several times.")] = None,
    limit: Limit = None,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the jobs of a production task, every attempt."""
    with api() as panda:
        found = panda.look("jobs", list[JobView], task_id=task_id, status=status, limit=limit, offset=offset)
    if as_json:
        print_json(found)
        return
    rows = [
        (one.id, one.ordinal + 1, one.attempt, one.status.value, one.site, one.node, _wall(one), one.why)
        for one in found
    ]
    print_table(("id", "number", "attempt", "status", "site", "node", "ran", "why"), rows)


def job(
    job_id: Annotated[int, typer.Argument(metavar="ID", help="The job's number (PandaID).")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one job: its state, files, report and history."""
    with api() as panda:
        whole = panda.look("job", WholeJob, job_id=job_id)
    if as_json:
        print_json(whole)
        return
    one, reads, writes = whole.job, whole.inputs, whole.outputs
    past, tries = whole.history, whole.attempts
    print_pairs(f"Job {one.id} of task {one.task_id} {one.task_name}: {one.status.value}", _properties(one))
    if reads:
        rows = [(each.lfn, each.stream, size(each.bytes), each.events, each.adler32) for each in reads]
        print_table(("reads", "as", "size", "events", "adler32"), rows)
    if writes:
        made = [(each.lfn, each.kind, each.state, size(each.bytes or 0), each.adler32, each.rse) for each in writes]
        print_table(("wrote", "kind", "state", "size", "adler32", "at"), made)
    print_table(("when", "to", "site", "why", "who"), [_happened(each) for each in past])
    if whole.stdout is not None:
        printed = [("", line) for line in whole.stdout.text.splitlines()]
        print_pairs(f"Its payload printed last, as its pilot told at {clock(whole.stdout.at)}:", printed)
    if len(tries) > 1:
        print_table(("attempt", "job", "status"), [(each.attempt, each.id, each.status.value) for each in tries])


def _properties(one: JobView) -> list[tuple[str, object]]:
    errors = "; ".join(f"{each.component} {each.code}: {each.text}" for each in one.errors)
    pilot = f"{one.factory}:{one.worker_id}" if one.worker_id is not None else None
    return [
        ("number", f"{one.ordinal + 1}, attempt {one.attempt}"), ("site", one.site), ("cloud", one.cloud),
        ("queue", one.queue), ("node", one.node), ("pilot", pilot), ("bunch", one.bunch_id),
        ("priority", one.priority), ("program", f"{one.transformation} of {one.release or 'no release'}"),
        ("parameters", one.parameters), ("events", one.n_events), ("errors", errors), ("ran", _wall(one)),
        ("CPU", span(one.cpu_s) if one.cpu_s is not None else None),
        ("memory", size(one.max_rss_kb * 1024) if one.max_rss_kb else None), ("timing", one.timing),
        ("command", one.command), ("why", one.why),
    ]  # fmt: skip


def _wall(one: JobView) -> str | None:
    return span(one.wall_s) if one.wall_s is not None else None


def _happened(one: Happened) -> tuple[object, ...]:
    return clock(one.at), one.to_status.value if one.to_status else None, one.to_site, one.why, one.who


jobs_app, job_app = one_command(jobs), one_command(job)
