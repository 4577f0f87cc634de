"""The site of a bunch, and a round over many bunches (domain.md 2.2). Pure: same snapshot and seed, same answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from panda.brokerage.capability import incapable
from panda.brokerage.decision import Candidate, Rejection, SiteDecision, Verdict, draw, tally
from panda.brokerage.filters import SiteCase, is_tier1, refused_now, tier1_only_reason
from panda.brokerage.scores import load
from panda.brokerage.snapshot import BunchFacts, CloudFacts, JobCount, Needs, RoundSnapshot, SiteFacts
from panda.brokerage.thresholds import Thresholds


@dataclass(slots=True)
class Abilities:
    """What each site can run at all, remembered within a round: many bunches ask for the same."""

    known: dict[Needs, dict[int, Rejection | None]] = field(default_factory=dict)

    def of(self, needs: Needs, site: SiteFacts) -> Rejection | None:
        """Give the site's permanent refusal of such jobs, or None."""
        sites = self.known.setdefault(needs, {})
        if site.id not in sites:
            sites[site.id] = incapable(needs, site)
        return sites[site.id]


def choose_site(
    bunch: BunchFacts,
    sites: Sequence[SiteFacts],
    cloud: CloudFacts,
    thresholds: Thresholds,
    seed: int,
    abilities: Abilities | None = None,
) -> SiteDecision:
    """Choose the site of `bunch` among the sites of its cloud; every site's refusal or load is in the answer.

    Sites with equal loads are ordered by input files they hold, then by the seed. `abilities` only saves time.
    """
    able = abilities or Abilities()
    only = _tier1_only(bunch, sites, cloud, thresholds, able)
    candidates = []
    for site in sorted(sites, key=lambda one: one.name):
        case = SiteCase(bunch, site, cloud, thresholds, only)
        rejection = able.of(bunch.needs, site) or refused_now(case)
        value = None if rejection else load(case)
        files = bunch.files_at.get(site.id, 0)
        candidates.append(Candidate(site.name, site.id, rejection, load=value, files=files))
    return _decide(bunch, cloud, tuple(candidates), thresholds, seed)


def run_round(
    bunches: Iterable[BunchFacts], snapshot: RoundSnapshot, thresholds: Thresholds, seed: int
) -> tuple[SiteDecision, ...]:
    """Place many bunches, the highest priority first, then by id; each sees what those before it took.

    The answer has one decision per bunch, in the order in which they were made.
    """
    sites = {site.id: site for site in snapshot.sites}
    abilities = Abilities()
    decisions = []
    for bunch in sorted(bunches, key=lambda one: (-one.priority, one.id)):
        decision = choose_site(bunch, tuple(sites.values()), snapshot.cloud, thresholds, seed, abilities)
        if decision.chosen is not None:
            sites[decision.chosen] = with_bunch(sites[decision.chosen], bunch)
        decisions.append(decision)
    return tuple(decisions)


def with_bunch(site: SiteFacts, bunch: BunchFacts) -> SiteFacts:
    """Give the site as it is after the bunch was assigned to it."""
    same = [c for c in site.counts if (c.group, c.priority) == (bunch.group, bunch.priority)]
    others = tuple(c for c in site.counts if (c.group, c.priority) != (bunch.group, bunch.priority))
    total = JobCount(
        bunch.group,
        bunch.priority,
        sum(c.assigned for c in same) + bunch.n_jobs,
        sum(c.activated for c in same),
        sum(c.running for c in same),
    )
    return replace(site, counts=(*others, total))


def _tier1_only(
    bunch: BunchFacts, sites: Sequence[SiteFacts], cloud: CloudFacts, thresholds: Thresholds, able: Abilities
) -> str:
    """Why only the T1 may have it; lifted where the T1 can never run such jobs, since then nobody could."""
    reason = tier1_only_reason(bunch, cloud, thresholds)
    tier1 = next((site for site in sites if is_tier1(site, cloud)), None)
    if not reason or tier1 is None or able.of(bunch.needs, tier1) is not None or bunch.wish.refuses(tier1.id):
        return ""
    return reason


def _decide(
    bunch: BunchFacts, cloud: CloudFacts, candidates: tuple[Candidate, ...], thresholds: Thresholds, seed: int
) -> SiteDecision:
    passed = [(one.load, one) for one in candidates if one.load is not None]
    if not passed:
        return _nobody(bunch, cloud, candidates)
    ranked = sorted(passed, key=lambda pair: (pair[0], -pair[1].files, draw(seed, bunch.id, pair[1].name)))
    lowest = ranked[0][0]
    kept = [one for value, one in ranked[: thresholds.sites_kept] if value <= thresholds.second_site_factor * lowest]
    best = max(kept, key=lambda one: one.files) if bunch.n_input_files else kept[0]
    reason = f"{best.name}: load {best.load:.3g} (lowest {lowest:.3g}), {len(passed)} of {len(candidates)} sites passed"
    if bunch.n_input_files:
        reason += f"; holds {best.files} of {bunch.n_input_files} input files"
    return SiteDecision(bunch.id, Verdict.PLACED, best.id, best.name, candidates, reason)


def _nobody(bunch: BunchFacts, cloud: CloudFacts, candidates: tuple[Candidate, ...]) -> SiteDecision:
    if not candidates:
        return SiteDecision(bunch.id, Verdict.WAIT, None, "", (), f"cloud {cloud.name} has no site")
    preset = bunch.preset_site_id
    if preset is not None and preset not in {one.id for one in candidates}:
        reason = f"the preset site {bunch.preset_site} is not in cloud {cloud.name}"
        return SiteDecision(bunch.id, Verdict.IMPOSSIBLE, None, "", candidates, reason)
    forever = all(one.rejection is not None and one.rejection.permanent for one in candidates)
    verdict = Verdict.IMPOSSIBLE if forever else Verdict.WAIT
    start = f"no site of cloud {cloud.name} can ever run it" if forever else f"no site of cloud {cloud.name} now"
    return SiteDecision(bunch.id, verdict, None, "", candidates, f"{start}: {tally(candidates)}")
