"""The list of jobs: the attribute summary as filters, and a page of the list."""

from panda.services.monitor import jobs
from panda_api.monitor.asked import Vocabulary
from panda_api.monitor.blocks import Page, Table
from panda_api.monitor.pages.linked import JOB_COLUMNS, facets, in_order, job_rows, nothing, unknown_states
from panda_api.monitor.routes import Look, PageSpec, whole

VOCABULARY = Vocabulary(
    filters=(*jobs.ATTRIBUTES, "error"), sorts=tuple(jobs.SORTS), sort="-id", hours=12, words=("id",)
)


def page(look: Look) -> Page:
    """Make the page; counts and list are of one snapshot."""
    asked = look.asked
    wanted = jobs.JobsWanted(asked.span, asked.filters, _ids(look))
    found = jobs.found(look.connection, wanted, sort=asked.sort, limit=asked.limit, offset=asked.offset)
    time = "of any time" if wanted.timeless else "live ones, and those that ended in the span"
    if not found.whole:
        time += f"; more than {jobs.MOST_LOOKED_AT:,} are not summed up by attempt, node and error: narrow them down"
    summary = in_order(facets(asked, found.summary), (*jobs.SUMMARISED, "error"))
    table = Table(
        "jobs",
        "Jobs",
        JOB_COLUMNS,
        job_rows(found.jobs),
        found.total,
        paged=True,
        empty=nothing(asked, "job", "No job lives, and none ended in the span.") + unknown_states(asked),
        note=time,
    )
    return Page("Jobs", [summary, table], place="/jobs", main="jobs", about=f"{found.total:,} jobs, {time}")


def _ids(look: Look) -> tuple[int, ...] | None:
    if "id" not in look.asked.given:
        return None
    return tuple(whole(one) for one in look.asked.given["id"].split("|"))


SPEC = PageSpec("/jobs", VOCABULARY, page)
