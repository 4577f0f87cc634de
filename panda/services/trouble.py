"""What goes wrong, in words: errors, the nodes and sites where they gather, and what would change it."""

from collections.abc import Sequence
from datetime import datetime

from panda.domain.views.failures import Failures, NodeView, SiteTally
from panda.domain.words import ago, counted, span
from panda.services.remedies import names

MOST_ERRORS = 3
LEAST = 2
"""Failures that are enough to compare sites."""


def failing(now: datetime, found: Failures, hours: float) -> list[str]:
    """Say how many jobs failed, with which errors, and which worker nodes stand out (domain.md 5a, overview=wnlist)."""
    failed, finished = sum(one.failed for one in found.sites), sum(one.finished for one in found.sites)
    if not failed:
        return [f"No job failed in {hours:g} h ({finished} finished)."]
    lines = [f"{failed} of {counted(failed + finished, 'job')} that ended in {hours:g} h failed."]
    for one in found.errors[:MOST_ERRORS]:
        where = f" at {names(one.sites)}" if one.sites else ""
        nodes = f" (nodes {names(one.nodes)})" if one.nodes else ""
        lines.append(
            f"{counted(one.jobs, 'job')}: {one.component} {one.code}: {one.words or 'no text'}{where}{nodes}, last "
            f"{ago(now, one.last)}; `panda job {one.sample}` is one of them."
        )
    return lines + black_holes(found)


def black_holes(found: Failures) -> list[str]:
    """Name the worker nodes that fail nearly all they take while the others of their site do not."""
    return [_black_hole(one, found.nodes) for one in found.nodes if one.black_hole]


def _black_hole(one: NodeView, nodes: Sequence[NodeView]) -> str:
    others = [each for each in nodes if each.site == one.site and each.node != one.node]
    bad, good = sum(each.failed for each in others), sum(each.finished for each in others)
    soon = f", each after {span(one.failed_wall_s)} (median)" if one.failed_wall_s is not None else ""
    share = f"{one.failed} of {one.failed + one.finished} jobs failed there{soon}"
    return (
        f"Worker node {one.node} of {one.site} is a black hole: {share}; of the other nodes' {bad + good} jobs {bad} "
        "did. What would change it: no more pilots on that node."
    )


def blame(found: Failures) -> list[str]:
    """Say of a task's failures whether they come wherever its jobs run, or at some sites only."""
    ran = [one for one in found.sites if one.failed + one.finished and one.site is not None]
    bad = [one for one in ran if one.failed >= LEAST and not one.finished]
    if not bad or not found.errors:
        return []
    where = _shares(ran)
    if len(bad) == len(ran):
        line = (
            f"No job finished at any of the {counted(len(ran), 'site')} that ran them ({where}). What would change it: "
        )
        job = found.errors[0].sample
        return [f"{line}its program, parameters or input; `panda job {job}` shows what the payload said."]
    sites = [one.site or "" for one in bad]
    line = f"No job finished at {names(sites)}, elsewhere they do ({where}). What would change it: "
    first = sites[0]
    return [f"{line}`panda why site {first}` says what fails there; `panda site {first} brokeroff` sends no more."]


def _shares(ran: Sequence[SiteTally]) -> str:
    return ", ".join(f"{one.site}: {one.failed} of {one.failed + one.finished} failed" for one in ran)
