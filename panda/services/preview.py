"""What a request would become if it were submitted now: its jobs, its cloud, its first site. Nothing is stored.

The rules are those of submission, expansion and brokerage themselves, over the same facts; only the writing is left
out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from panda.brokerage.choose import choose_site
from panda.brokerage.cloud import assign_cloud
from panda.brokerage.decision import Candidate, CloudDecision, SiteDecision, Verdict
from panda.brokerage.snapshot import BunchFacts, CloudFacts, SiteFacts, SiteWish, TaskFacts
from panda.ddm.port import Did, FileInfo, ReplicaState
from panda.domain.cut import CutLimits, FileSize, Part, jobs_with_input, jobs_without_input, rule_of
from panda.domain.names import bare_name, scope_of
from panda.domain.templates import JobNumbers, fill, lfn_of
from panda.domain.views.answers import Choice, Preview, PreviewJob
from panda.domain.work import EVERY_FILE, Split, TaskRequest
from panda.errors import Refused
from panda.services import reasons, submit
from panda.services.assign import REFILL_S, locate, thresholds, with_remaining
from panda.services.context import Context
from panda.services.remedies import remedies
from panda.store import facts, selection

SHOWN = 3
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """Input that another task has still to make: so many files, each with so many events where that is known."""

    files: int
    events_per_file: int | None = None


def preview(ctx: Context, request: TaskRequest, expected: Expected | None = None) -> Preview:
    """What a request would become; `expected` stands for input that is not there yet. Raises Refused as `submit` does.

    Chance is drawn anew at submission: where several clouds or sites pass, another one of them may be chosen then.
    """
    submit.check(ctx, _without_input(request) if expected is not None else request)
    files = [] if expected is not None else _files(ctx, request)
    parts = _parts(ctx, request, files, expected)
    size = request.bunch_size or ctx.settings.expansion.bunch_size
    with ctx.engine.begin() as connection:
        limits = thresholds(ctx)
        sites = facts.sites(connection, pilot_window_hours=limits.pilot_window_hours, refill_s=REFILL_S)
        clouds = facts.clouds(connection, sites)
        decided = _cloud(ctx, connection, request, sites, clouds, expected)
    cloud = next((one for one in clouds if one.name == decided.chosen), None)
    bunch = _first_bunch(ctx, request, parts[:size], files, sites)
    return Preview(
        name=request.name,
        jobs=len(parts),
        bunches=-(-len(parts) // size),
        rule=rule_of(request.split, has_input=bool(request.inputs)),
        input_files=len(files) or (expected.files if expected is not None else 0),
        input_bytes=sum(one.bytes for one in files),
        first=tuple(_job(request, one, files) for one in parts[:SHOWN]),
        cloud=_cloud_told(decided),
        site=_site(ctx, bunch, cloud, sites) if cloud is not None else None,
    )


def _without_input(request: TaskRequest) -> TaskRequest:
    """Give what can be checked of a request whose input is still to be made."""
    return replace(request, inputs=(), parent_task=None, split=Split(n_jobs=1))


# --- expansion ------------------------------------------------------------------------------------------------------
def _files(ctx: Context, request: TaskRequest) -> list[FileInfo]:
    primary = next((one for one in request.inputs if one.role == "primary"), None)
    found: list[FileInfo] = []
    for name in primary.datasets if primary is not None else ():
        for part in ctx.ddm.expand(Did(scope_of(name), bare_name(name))):
            found += ctx.ddm.files(part)
    if primary is None or primary.selection == EVERY_FILE:
        return found[: request.split.max_files]
    with ctx.engine.begin() as connection:
        chosen = selection.positions(connection, [one.did.name for one in found], primary.selection)
    return [found[n] for n in chosen][: request.split.max_files]


def _parts(ctx: Context, request: TaskRequest, files: Sequence[FileInfo], expected: Expected | None) -> Sequence[Part]:
    limits = ctx.settings.expansion
    if not request.inputs and request.parent_task is None:
        parts = list(jobs_without_input(request.split))
    else:
        sizes = [FileSize(one.bytes, one.events) for one in files]
        if expected is not None:
            sizes = [FileSize(0, expected.events_per_file)] * expected.files
        most = CutLimits(limits.max_files_per_job, limits.max_input_mb_per_job * MEGABYTE, limits.max_jobs_per_task)
        parts = list(jobs_with_input(sizes, request.split, most))
    if len(parts) > limits.max_jobs_per_task:
        raise Refused(
            f"the task has {len(parts)} jobs, at most {limits.max_jobs_per_task} are allowed",
            hint="split it, or raise PANDA_EXPANSION__MAX_JOBS_PER_TASK",
        )
    return parts


def _job(request: TaskRequest, part: Part, files: Sequence[FileInfo]) -> PreviewJob:
    mine = files[part.first_file : part.first_file + part.n_files]
    stream = next((one.stream for one in request.inputs if one.role == "primary"), "IN")
    events = part.n_events if part.n_events is not None else sum(one.events or 0 for one in mine)
    inputs = tuple(one.did.name for one in mine)
    numbers = JobNumbers(0, 0, part.ordinal, 1, part.first_event or 0, events, 0, request.seed, {stream: inputs})
    outputs = tuple(lfn_of(one.lfn, numbers) for one in request.outputs)
    named = tuple(name for name, one in zip(outputs, request.outputs, strict=True) if one.kind != "log")
    parameters = fill(request.parameters, numbers._replace(outputs=named))
    return PreviewJob(part.ordinal + 1, parameters, inputs, outputs, events or None)


# --- brokerage ------------------------------------------------------------------------------------------------------
def _cloud(
    ctx: Context,
    connection: Connection,
    request: TaskRequest,
    sites: list[SiteFacts],
    clouds: list[CloudFacts],
    expected: Expected | None,
) -> CloudDecision:
    if request.cloud is not None:
        return CloudDecision(0, request.cloud, (Candidate(request.cloud),), f"cloud {request.cloud} was asked for")
    names = [] if expected is not None else [name for one in request.inputs for name in map(bare_name, one.datasets)]
    inputs, trouble = locate(ctx, names)
    work = request.exp_remaining_work or submit.expected_work(request)
    case = TaskFacts(
        0, request.task_type, request.priority, submit.needs_of(request), work, inputs, catalogue_error=trouble,
        wish=_wish(request, sites),
    )  # fmt: skip
    return assign_cloud(with_remaining(connection, case), clouds, thresholds(ctx), 0, sites)


def _cloud_told(decided: CloudDecision) -> Choice:
    change = remedies(decided.candidates) if decided.chosen is None else ""
    words = f"{decided.reason}; what would change it: {change}" if change else decided.reason
    return Choice(decided.chosen, words, reasons.candidates(decided.candidates, decided.chosen, "weight"))


def _first_bunch(
    ctx: Context, request: TaskRequest, parts: Sequence[Part], files: Sequence[FileInfo], sites: Sequence[SiteFacts]
) -> BunchFacts:
    mine = [files[n] for n in sorted({n for one in parts for n in range(one.first_file, one.first_file + one.n_files)}
                                     & set(range(len(files))))]  # fmt: skip
    site_of = {rse: site.id for site in sites for rse in site.rses}
    at: Counter[int] = Counter()
    for replica in ctx.ddm.replicas([one.did for one in mine]) if mine else ():
        if replica.state is ReplicaState.AVAILABLE and replica.rse in site_of:
            at[site_of[replica.rse]] += 1
    return BunchFacts(
        id=0,
        task_id=0,
        priority=request.priority,
        needs=submit.needs_of(request),
        n_jobs=len(parts),
        n_input_files=len(mine),
        input_bytes=sum(one.bytes for one in mine),
        preset_site_id=next((site.id for site in sites if site.name == request.site), None),
        preset_site=request.site or "",
        wish=_wish(request, sites),
        files_at=dict(at),
    )


def _wish(request: TaskRequest, sites: Sequence[SiteFacts]) -> SiteWish:
    return facts.wish_of(sites, request.sites if request.site is None else [request.site], request.excluded_sites)


def _site(ctx: Context, bunch: BunchFacts, cloud: CloudFacts, sites: Sequence[SiteFacts]) -> Choice:
    members = [one for one in sites if one.cloud == cloud.name]
    decided: SiteDecision = choose_site(bunch, members, cloud, thresholds(ctx), 0)
    change = remedies(decided.candidates) if decided.verdict is not Verdict.PLACED else ""
    words = f"{decided.reason}; what would change it: {change}" if change else decided.reason
    chosen = decided.chosen_name or None
    return Choice(chosen, words, reasons.candidates(decided.candidates, chosen, "load"))
