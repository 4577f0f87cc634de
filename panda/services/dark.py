"""Dark data: what attempts that lost had copied to a storage and nobody registered is deleted (design section 4).

A pilot copies its outputs before its last report. If the report never comes, or too late, no catalogue knows the files.
"""

from collections import defaultdict

from sqlalchemy import Connection, RowMapping

from panda.ddm.port import DdmError, Did
from panda.domain.names import scope_of
from panda.domain.templates import lfn_of
from panda.services.context import Context
from panda.services.dispatch import job_numbers
from panda.store import blocks, dark, handover, inputs

CURSOR = "dark data"
BATCH = 500


def delete_dark(ctx: Context, limit: int = BATCH) -> int:
    """Delete what lost attempts left behind, a while after their end; returns how many files were there.

    Each attempt is looked at once, `watcher.dark_s` seconds after its end: until then its pilot may still deliver. What
    the DDM's catalogue knows (the log of a failed job) stays. While the DDM is away nothing is skipped.
    """
    with ctx.engine.begin() as connection:
        after = blocks.read_cursor(connection, CURSOR)
        lost = dark.lost_attempts(connection, after, ctx.settings.watcher.dark_s, limit)
        names = _names(connection, lost)
    if not lost:
        return 0
    try:
        gone = sum(len(ctx.ddm.delete_dark(rse, files)) for rse, files in names.items())
    except DdmError:
        return 0
    with ctx.engine.begin() as connection:
        blocks.move_cursor(connection, CURSOR, lost[-1]["event_id"])
    return gone


def _names(connection: Connection, lost: list[RowMapping]) -> dict[str, list[Did]]:
    """The files that these attempts would have written, by storage; their names carry the attempt's number."""
    jobs = [row["job_id"] for row in lost]
    files: dict[int, list[RowMapping]] = defaultdict(list)
    for one in inputs.files_of_jobs(connection, jobs):
        files[one["job_id"]].append(one)
    handed = {row["id"]: row for row in handover.jobs_in_hand(connection, jobs)}
    names: dict[str, list[Did]] = defaultdict(list)
    for row in lost:
        job = handed.get(row["job_id"])
        if job is None:
            continue
        numbers = job_numbers(job, files[row["job_id"]])
        for output in job["outputs"]:
            names[row["rse"]].append(Did(scope_of(output["dataset"]), lfn_of(output["lfn"], numbers)))
    return names
