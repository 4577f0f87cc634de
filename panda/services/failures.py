"""Why jobs fail: errors by component, code and fingerprint, with where they happen and which nodes stand out."""

from datetime import timedelta

from panda.domain.views.failures import ErrorView, Failures, NodeView, SiteTally
from panda.services.context import Context
from panda.store import failures as store
from panda.store.failures import FailureFilter

__all__ = ["ErrorView", "FailureFilter", "Failures", "NodeView", "SiteTally", "failures", "is_black_hole"]

LEAST_FAILURES = 3
OUTLIER_SHARE = 0.8
OTHERS_SHARE = 0.4


def failures(
    ctx: Context,
    *,
    hours: float = 12.0,
    task_id: int | None = None,
    site: str | None = None,
    node: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Failures:
    """The failures of the last hours, of one task, site or node where given; `limit` bounds the list of errors."""
    wanted = FailureFilter(ctx.clock() - timedelta(hours=hours), task_id, site, node)
    with ctx.engine.connect() as connection:
        errors = store.errors(connection, wanted, limit, offset)
        nodes = store.nodes(connection, wanted)
        sites = store.sites(connection, wanted)
    lists = ("sites", "nodes", "tasks")
    tallies = [(row["site"], row["failed"], row["finished"]) for row in nodes]
    return Failures(
        wanted.since,
        tuple(ErrorView(**{**row, **{name: tuple(row[name] or ()) for name in lists}}) for row in errors),
        tuple(NodeView(**row, black_hole=is_black_hole(one, tallies)) for row, one in zip(nodes, tallies, strict=True)),
        tuple(SiteTally(**row) for row in sites),
    )


def is_black_hole(one: tuple[str | None, int, int], nodes: list[tuple[str | None, int, int]]) -> bool:
    """Tell whether a node fails nearly all it takes while the other nodes of its site do not.

    Each is (site, failed, finished). At least 3 failures, 80 % of its jobs; of the others' together at most 40 %.
    """
    site, failed, finished = one
    if failed < LEAST_FAILURES or failed < OUTLIER_SHARE * (failed + finished):
        return False
    others = [(bad, good) for where, bad, good in nodes if where == site]
    bad, good = sum(n for n, _ in others) - failed, sum(n for _, n in others) - finished
    return bad + good > 0 and bad <= OTHERS_SHARE * (bad + good)
