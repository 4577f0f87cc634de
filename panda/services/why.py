"""`why`: one question about anything, one readable answer from stored facts, with what would change it."""

from collections.abc import Callable, Mapping

from panda.domain.views.answers import Explanation, Kind
from panda.errors import BadRequest
from panda.services import explain, read, why_dataset, why_pilot, why_site
from panda.services.context import Context

__all__ = ["Explanation", "Kind", "task_of", "why"]


_NAMED: Mapping[Kind, Callable[[Context, str], Explanation]] = {
    Kind.SITE: why_site.why_site,
    Kind.PILOT: why_pilot.why_pilot,
    Kind.DATASET: why_dataset.why_dataset,
}
_NUMBERED: Mapping[Kind, Callable[[Context, int], Explanation]] = {
    Kind.TASK: explain.why_task,
    Kind.BUNCH: explain.why_bunch,
    Kind.JOB: explain.why_job,
}


def why(ctx: Context, kind: Kind, name: str) -> Explanation:
    """Why something is as it is; `name` is a number, a site, a dataset, or `factory:number` of a pilot.

    Raises NotFound, or BadRequest for a name that this kind of thing cannot have.
    """
    if kind in _NAMED:
        return _NAMED[kind](ctx, name)
    return _NUMBERED[kind](ctx, _number(kind, name))


def task_of(ctx: Context, kind: Kind, name: str) -> int | None:
    """The task that a question about a task, bunch or job concerns; None for anything else. Raises as `why` does."""
    if kind in _NAMED:
        return None
    number = _number(kind, name)
    if kind is Kind.TASK:
        return number
    return read.job(ctx, number).task_id if kind is Kind.JOB else read.bunch(ctx, number).task_id


def _number(kind: Kind, name: str) -> int:
    if not name.isascii() or not name.isdigit() or int(name) >= 2**63:
        raise BadRequest(f"{name!r} is no number of a {kind.value}.", f"Write it as in `panda why {kind.value} 7`.")
    return int(name)
