"""The cloud of a production task: the rules of domain.md 2.1, each with its number, over one snapshot.

Each rule looks at one case (this task in this cloud) and gives None or a Rejection with its numbers. Add a rule by
writing one function and naming it in CLOUD_RULES. What compares clouds (steps 8 and 9) stands below them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from panda.brokerage.capability import incapable
from panda.brokerage.decision import Candidate, CloudDecision, CopyRequest, Rejection, draw, tally
from panda.brokerage.snapshot import CloudFacts, ProcessGroup, RemainingWork, SiteFacts, TaskFacts
from panda.brokerage.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class CloudCase:
    """A task in a cloud. `sites` are the cloud's; an empty tuple leaves unchecked whether one of them could run it."""

    task: TaskFacts
    cloud: CloudFacts
    thresholds: Thresholds
    sites: tuple[SiteFacts, ...] = ()


CloudRule = Callable[[CloudCase], Rejection | None]


@dataclass(frozen=True, slots=True)
class AssignedTask:
    """Another task that was just given a cloud, and whose work is not in the measured remaining work yet."""

    cloud: str
    priority: int
    group: ProcessGroup
    expected_work: float


def status(case: CloudCase) -> Rejection | None:
    """Only online clouds (step 3)."""
    if case.cloud.status == "online":
        return None
    text = f"cloud {case.cloud.name} is {case.cloud.status}"
    return Rejection("2.1.3", "status", case.cloud.status, "online", text)


def validation(case: CloudCase) -> Rejection | None:
    """Validation work only where it is allowed (step 3)."""
    asked = "validation" in {case.task.needs.label, case.task.needs.processing_type}
    if not asked or case.cloud.validation:
        return None
    return Rejection("2.1.3", "validation", "false", "true", f"cloud {case.cloud.name} takes no validation work")


def fasttrack(case: CloudCase) -> Rejection | None:
    """Urgent evgen (700) and simul (800) only where the fast track is open (step 3)."""
    task, limits = case.task, case.thresholds
    starts = {"evgen": limits.fasttrack_evgen_priority, "simul": limits.fasttrack_simul_priority}
    start = starts.get(task.task_type)
    if start is None or task.priority < start or case.cloud.fasttrack:
        return None
    text = f"{task.task_type} of priority {task.priority} (from {start}) needs a fast track, {case.cloud.name} has none"
    return Rejection("2.1.3", "fasttrack", task.priority, start, text)


def vo(case: CloudCase) -> Rejection | None:
    """A cloud that serves other virtual organisations only is none for the task (ours)."""
    served, asked = case.cloud.vos, case.task.needs.vo
    if served is None or asked in served:
        return None
    have = ", ".join(sorted(served)) or "none"
    text = f"cloud {case.cloud.name} serves {have}, not {asked!r}"
    return Rejection("design.md 4 Needs", "vo", have, asked, text, permanent=True)


def sites(case: CloudCase) -> Rejection | None:
    """Some site of the cloud must be able to run the task's jobs at all (ours; in 2009 such jobs failed later).

    It must be one where the owner lets the task run.
    """
    refusals = [_unwanted(case, site) or incapable(case.task.needs, site) for site in case.sites]
    found = [one for one in refusals if one is not None]
    if not refusals or len(found) < len(refusals):
        return None
    text = f"none of {len(refusals)} sites can run it: " + "; ".join(one.text for one in found[:4])
    return Rejection("design.md 4 Needs", "sites", 0, 1, text, permanent=True)


def _unwanted(case: CloudCase, site: SiteFacts) -> Rejection | None:
    if not case.task.wish.refuses(site.id):
        return None
    return Rejection("design.md 4 Needs", "wish", site.name, "a site asked for", f"{site.name} was not asked for")


def data(case: CloudCase) -> Rejection | None:
    """The T1 must hold each input dataset, at least in part (step 4)."""
    missing = [one.name for one in case.task.inputs if not one.at(case.cloud.name).held]
    if not missing:
        return None
    text = f"{case.cloud.tier1_site or case.cloud.name} does not hold {_names(missing)}"
    return Rejection("2.1.4", "data", len(case.task.inputs) - len(missing), len(case.task.inputs), text)


def space(case: CloudCase) -> Rejection | None:
    """The T1's space minus 0.2 GB per unit of all remaining work must leave 1024 GB (step 5)."""
    left, floor = space_left_gb(case), case.thresholds.cloud_space_floor_gb
    if left is None or left >= floor:
        return None
    text = (
        f"{case.cloud.free_space_gb:g} GB free at the T1, {left:g} GB after the remaining work "
        f"({case.task.remaining_in(case.cloud.name).full:g} + {case.task.expected_work:g}) at "
        f"{case.thresholds.gb_per_work_unit:g} GB per unit; {floor:g} GB must stay free"
    )
    return Rejection("2.1.5", "space", left, floor, text)


def work_limit(case: CloudCase) -> Rejection | None:
    """Not more remaining work of this priority or higher than 4000 times the cloud's share (step 6)."""
    work = case.task.remaining_in(case.cloud.name).equal_or_higher
    limit = case.thresholds.work_limit_per_mcshare * case.cloud.mcshare
    if work <= limit:
        return None
    share = case.cloud.mcshare
    text = f"{work:g} units of work of equal or higher priority wait, the limit is {limit:g} (share {share:g})"
    return Rejection("2.1.6", "work limit", work, limit, text)


def files(case: CloudCase) -> Rejection | None:
    """The T1's catalogue must hold every input file that was looked up (step 7)."""
    rows = [one.at(case.cloud.name) for one in case.task.inputs]
    looked_up = sum(row.files_looked_up for row in rows)
    present = sum(row.files_present for row in rows)
    if all(row.files_present >= row.files_looked_up and (row.complete or row.files_looked_up) for row in rows):
        return None
    text = f"the T1 of {case.cloud.name} holds {present} of {looked_up} input files that were looked up"
    if not looked_up:
        text = f"the T1 of {case.cloud.name} holds only a part of the input"
    return Rejection("2.1.7", "files", present, looked_up, text)


CLOUD_RULES: tuple[CloudRule, ...] = (
    status,
    validation,
    fasttrack,
    vo,
    sites,
    data,
    space,
    work_limit,
    files,
)


def assign_cloud(
    task: TaskFacts,
    clouds: Iterable[CloudFacts],
    thresholds: Thresholds,
    seed: int,
    grid: Sequence[SiteFacts] = (),
) -> CloudDecision:
    """Choose the cloud of `task`; every cloud's refusal or weight is in the answer, and step 9 may ask for a copy.

    `grid` are the sites of all clouds; without it the rule `sites` is not checked. The caller stores the answer once: a
    task that has a cloud is not asked about again (step 1).
    """
    ordered = sorted(grid, key=lambda one: one.name)
    cases = [
        CloudCase(task, cloud, thresholds, tuple(site for site in ordered if site.cloud == cloud.name))
        for cloud in sorted(clouds, key=lambda one: one.name)
    ]
    if task.catalogue_error:
        reason = f"no answer this round: the catalogue could not be asked ({task.catalogue_error})"
        return CloudDecision(task.id, None, (), reason)
    first = [Candidate(case.cloud.name, rejection=_refused(case)) for case in cases]
    candidates = _weigh(_starving_first(first, cases), cases)
    if any(one.rejection is None for one in candidates):
        return _draw_one(task, candidates, seed)
    return _nobody(task, candidates, cases, seed)


def remaining_work(
    task: TaskFacts, measured: Iterable[RemainingWork], others: Iterable[AssignedTask]
) -> tuple[RemainingWork, ...]:
    """Add the work of tasks that were just given a cloud to what was measured (step 2)."""
    totals = {row.cloud: row for row in measured}
    for other in others:
        row = totals.get(other.cloud, RemainingWork(other.cloud))
        same = other.priority >= task.priority and other.group is task.group
        totals[other.cloud] = RemainingWork(
            other.cloud, row.equal_or_higher + (other.expected_work if same else 0.0), row.full + other.expected_work
        )
    return tuple(totals[name] for name in sorted(totals))


def space_left_gb(case: CloudCase) -> float | None:
    """Give the T1's free space after all remaining work and this task's, at 0.2 GB per unit; None if not known."""
    if case.cloud.free_space_gb is None:
        return None
    work = case.task.remaining_in(case.cloud.name).full + case.task.expected_work
    return case.cloud.free_space_gb - case.thresholds.gb_per_work_unit * work


def weight(case: CloudCase) -> float:
    """Give the chance of a cloud: its share for evgen, otherwise pilots per remaining work (step 8)."""
    if case.task.task_type == "evgen":
        return case.cloud.mcshare
    return (1 + case.cloud.pilots) / (1 + case.task.remaining_in(case.cloud.name).full)


def _refused(case: CloudCase) -> Rejection | None:
    for rule in CLOUD_RULES:
        rejection = rule(case)
        if rejection is not None:
            return rejection
    return None


def _starving_first(candidates: list[Candidate], cases: list[CloudCase]) -> list[Candidate]:
    """Step 8: while clouds have less than 400 units per share, only they get work (evgen excepted)."""
    work = {case.cloud.name: case.task.remaining_in(case.cloud.name).equal_or_higher for case in cases}
    limit = {case.cloud.name: case.thresholds.starving_work_per_mcshare * case.cloud.mcshare for case in cases}
    starving = {one.name for one in candidates if one.rejection is None and work[one.name] < limit[one.name]}
    if not starving or cases[0].task.task_type == "evgen":
        return candidates
    return [
        replace(one, rejection=_not_starving(one.name, work[one.name], limit[one.name], starving))
        if one.rejection is None and one.name not in starving
        else one
        for one in candidates
    ]


def _not_starving(name: str, work: float, limit: float, starving: set[str]) -> Rejection:
    text = f"{name} has {work:g} units of work (starving below {limit:g}); starving clouds first: {_names(starving)}"
    return Rejection("2.1.8", "starving clouds first", work, limit, text)


def _weigh(candidates: list[Candidate], cases: list[CloudCase]) -> tuple[Candidate, ...]:
    weights = {case.cloud.name: weight(case) for case in cases}
    return tuple(one if one.rejection else replace(one, weight=weights[one.name]) for one in candidates)


def _draw_one(task: TaskFacts, candidates: tuple[Candidate, ...], seed: int) -> CloudDecision:
    """Draw among the passed clouds by weight; the chance belongs to the seed and the task, not to any order."""
    passed = [(max(one.weight or 0.0, 0.0), one.name) for one in candidates if one.rejection is None]
    total = sum(value for value, _ in passed)
    if total <= 0:
        passed, total = [(1.0, name) for _, name in passed], float(len(passed))
    point = draw(seed, "cloud", task.id) * total
    chosen = passed[-1][1]
    for value, name in passed:
        if value > 0 and point < value:
            chosen = name
            break
        point -= value
    odds = ", ".join(f"{name} {value:.3g}" for value, name in passed)
    reason = f"{chosen}: the only candidate" if len(passed) == 1 else f"{chosen}: drawn by weight among {odds}"
    return CloudDecision(task.id, chosen, candidates, reason)


def _nobody(task: TaskFacts, candidates: tuple[Candidate, ...], cases: list[CloudCase], seed: int) -> CloudDecision:
    if not candidates:
        return CloudDecision(task.id, None, (), "there is no cloud")
    reason = f"no cloud: {tally(candidates)}"
    lacking = {one.name for one in candidates if one.rejection and one.rejection.name in {"data", "files"}}
    wanting = [case for case in cases if case.cloud.name in lacking]
    running = [case.cloud.name for case in wanting if any(one.at(case.cloud.name).copying for one in task.inputs)]
    if running:
        return CloudDecision(task.id, None, candidates, f"{reason}; its input is being copied to {_names(running)}")
    request = _copy_request(wanting, seed)
    if request is None:
        return CloudDecision(task.id, None, candidates, reason)
    reason += f"; a copy of {_names(request.datasets)} to the T1 of {request.cloud} is asked for"
    return CloudDecision(task.id, None, candidates, reason, request)


def _copy_request(cases: list[CloudCase], seed: int) -> CopyRequest | None:
    """Step 9: the cloud with the least work per share that has room for the missing datasets gets a copy of them."""
    ranked = sorted(
        (_fullness(case), draw(seed, "copy", case.task.id, case.cloud.name), case.cloud.name)
        for case in cases
        if case.task.task_type in case.thresholds.copied_task_types and _has_room_for_copy(case)
    )
    if not ranked or ranked[0][0] > 1:
        return None
    case = next(one for one in cases if one.cloud.name == ranked[0][2])
    cloud = case.cloud
    return CopyRequest(cloud.name, cloud.tier1_site_id, cloud.tier1_rses, tuple(_missing(case)))


def _fullness(case: CloudCase) -> float:
    work = case.task.remaining_in(case.cloud.name).equal_or_higher
    limit = case.thresholds.copy_work_per_mcshare * case.cloud.mcshare
    return work / limit if limit > 0 else float("inf")


def _has_room_for_copy(case: CloudCase) -> bool:
    left, missing = space_left_gb(case), set(_missing(case))
    needed_gb = sum(one.bytes for one in case.task.inputs if one.name in missing) / 1e9
    return left is None or left - needed_gb >= case.thresholds.cloud_space_floor_gb


def _missing(case: CloudCase) -> list[str]:
    """Name the input datasets that the T1 does not hold completely."""
    rows = [(one.name, one.at(case.cloud.name)) for one in case.task.inputs]
    return [name for name, row in rows if not row.held or not row.complete or row.files_present < row.files_looked_up]


def _names(names: Iterable[str], limit: int = 4) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more
