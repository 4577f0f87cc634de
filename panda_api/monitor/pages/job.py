"""The page of a job: its states with who, when and why, files, errors, attempts, accounting, decision and log."""

from dataclasses import asdict

from panda.domain.views.work import JobView
from panda.domain.words import clock
from panda.errors import NotFound
from panda.services import explain, joblog, read
from panda_api.monitor.asked import Vocabulary, address
from panda_api.monitor.blocks import Block, Column, Fact, Facts, Page, Prose, Table
from panda_api.monitor.pages.linked import dataset_link, job_link, site_link, site_page, user_page
from panda_api.monitor.pages.told import why
from panda_api.monitor.routes import Look, PageSpec, number_of

VOCABULARY = Vocabulary()
KILOBYTE = 1000


def page(look: Look) -> Page:
    """Make the page; raises NotFound."""
    number = number_of(look, "job_id")
    (job,) = read.with_parameters(look.ctx, [read.job(look.ctx, number)])
    blocks: list[Block] = [_facts(job), *why(explain.why_job(look.ctx, number)), _errors(job), _history(look, number)]
    blocks += [*_files(look, number), _attempts(look, job), _accounting(job)]
    blocks.append(Prose("parameters", "Job parameters", [job.parameters], verbatim=True))
    blocks += _stdout(look, number)
    log, links = _log(look, number)
    links = (
        [("Task", f"/task/{job.task_id}"), ("Same error", _same(job)), *links]
        if job.errors
        else [("Task", f"/task/{job.task_id}"), *links]
    )
    return Page(
        f"Job {number}",
        [*blocks, *log],
        about=f"number {job.ordinal + 1} of {job.task_name}",
        place="/jobs",
        status=job.status.value,
        links=links,
    )


def _same(job: JobView) -> str:
    return address("/jobs", error=f"{job.errors[0].component}:{job.errors[0].code}", task=job.task_id)


def _facts(job: JobView) -> Facts:
    return Facts(
        "facts",
        "What it is",
        [
            Fact("task", "task", job.task_id, "id", f"/task/{job.task_id}"),
            Fact("attempt", "attempt", job.attempt, "int"),
            Fact("site", "site", job.site, link=site_page(job.site) if job.site else None),
            Fact("cloud", "cloud", job.cloud),
            Fact("queue", "queue", job.queue),
            Fact("node", "node", job.node, link=address("/jobs", node=job.node) if job.node else None),
            Fact(
                "pilot",
                "pilot",
                f"{job.factory}:{job.worker_id}" if job.factory else None,
                link=address("/workers", factory=job.factory) if job.factory else None,
            ),
            Fact("owner", "user", job.owner, link=user_page(job.owner) if job.owner else None),
            Fact("vo", "VO", job.vo),
            Fact("label", "label", job.label),
            Fact("priority", "priority", job.priority, "int"),
            Fact("transformation", "transformation", job.transformation),
            Fact("release", "release", job.release),
            Fact("created", "made", job.created_at, "time"),
            Fact("since", "in state since", job.since, "time"),
            Fact("seen", "heard of", job.last_seen, "ago"),
            Fact("command", "command to the pilot", job.command),
            Fact("parent", "attempt before", job.parent_id, "id", f"/job/{job.parent_id}" if job.parent_id else None),
        ],
    )


def _errors(job: JobView) -> Table:
    rows = [{**asdict(one), "name": f"{one.component}:{one.code}"} for one in job.errors]
    return Table(
        "errors",
        "Errors",
        [
            Column("name", "error", "text", lambda row: address("/jobs", error=row["name"], hours=168)),
            Column("text", "what the component says", "long"),
        ],
        rows,
        empty="None.",
    )


def _history(look: Look, number: int) -> Table:
    rows = [
        {**asdict(one), "scope": "its bunch" if one.with_bunch else "the job"} for one in read.history(look.ctx, number)
    ]
    return Table(
        "states",
        "States",
        [
            Column("at", "when", "time"),
            Column("from_status", "from", "state"),
            Column("to_status", "to", "state"),
            Column("to_site", "site", "text", site_link("to_site")),
            Column("why", "why", "long"),
            Column("who", "who"),
            Column("scope", "of", "dim"),
        ],
        rows,
    )


def _files(look: Look, number: int) -> list[Block]:
    shared = [
        Column("scope", "scope"),
        Column("lfn", "file", "name"),
        Column("bytes", "size", "size"),
        Column("events", "events", "int"),
        Column("guid", "GUID", "mono"),
        Column("adler32", "adler32", "mono"),
        Column("dataset", "dataset", "name", dataset_link()),
    ]
    outputs = [asdict(one) for one in read.outputs_of(look.ctx, number)]
    return [
        Table(
            "inputs", "Input files", shared, [asdict(one) for one in read.inputs_of(look.ctx, number)], empty="None."
        ),
        Table(
            "outputs",
            "Output files",
            [*shared, Column("rse", "storage"), Column("state", "state", "state")],
            outputs,
            empty="None are registered yet.",
        ),
    ]


def _attempts(look: Look, job: JobView) -> Table:
    rows = [{**asdict(one), "said": one.why} for one in read.attempts(look.ctx, job.task_id, job.ordinal)]
    return Table(
        "attempts",
        "Attempts at this place",
        [
            Column("attempt", "attempt", "int"),
            Column("id", "job", "id", job_link()),
            Column("status", "state", "state"),
            Column("site", "site", "text", site_link()),
            Column("node", "node", "name"),
            Column("wall_s", "wall time", "seconds"),
            Column("since", "since", "time"),
            Column("said", "why", "long"),
        ],
        rows,
    )


def _accounting(job: JobView) -> Facts:
    efficiency = 100.0 * job.cpu_s / (job.wall_s * job.cores) if job.cpu_s is not None and job.wall_s else None
    return Facts(
        "accounting",
        "Accounting",
        [
            Fact("cores", "cores", job.cores, "int"),
            Fact("wall_s", "wall time", job.wall_s, "seconds"),
            Fact("cpu_s", "CPU time", job.cpu_s, "seconds"),
            Fact("efficiency", "CPU efficiency", efficiency, "percent"),
            Fact("memory", "largest memory", job.max_rss_kb * KILOBYTE if job.max_rss_kb else None, "size"),
            Fact("events", "events", job.n_events, "int"),
            Fact("started", "started", job.started_at, "time"),
            Fact("ended", "ended", job.ended_at, "time"),
            Fact("timing", "pilot's timing", job.timing),
        ],
    )


def _stdout(look: Look, number: int) -> list[Prose]:
    told = read.tail(look.ctx, number)
    if told is None:
        return []
    note = f"told by its pilot at {clock(told.at)}, in debug mode"
    return [Prose("stdout", "The payload's output so far", told.text.splitlines(), verbatim=True, note=note)]


def _log(look: Look, number: int) -> tuple[list[Block], list[tuple[str, str]]]:
    try:
        path = joblog.archive(look.ctx, number)
    except NotFound as error:
        return [Prose("log", "Log", [f"{error.message[:1].upper()}{error.message[1:]}."])], []
    found = [
        Prose(f"log_{place}", f"Log: {one.name}", one.tail, verbatim=True, note=f"{one.bytes:,} bytes, its last lines")
        for place, one in enumerate(joblog.tails(path))
        if one.tail
    ]
    return list(found), [("Log archive", f"/job/{number}/log")]


SPEC = PageSpec("/job/{job_id}", VOCABULARY, page)
