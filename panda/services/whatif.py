"""`what-if`: the last brokerage of a task once more over what it saw then, with something changed; the difference."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping

from panda.brokerage.decision import Candidate, CloudDecision, SiteDecision
from panda.brokerage.journal import CloudRecord, RoundRecord, from_json, replay_cloud, replay_round
from panda.brokerage.whatif import Change, changed_cloud, changed_round, parse
from panda.domain.views.answers import Facts, WhatIf
from panda.domain.words import clock, counted
from panda.errors import BadRequest, NotFound
from panda.services import read
from panda.services.context import Context
from panda.store import explain as store

NOBODY = "nobody"
MOST_BUNCHES = 20
Decision = CloudDecision | SiteDecision


def what_if(ctx: Context, task_id: int, changes: Sequence[str], at: datetime | None = None) -> WhatIf:
    """Decide the last round of a task (until `at`) again with changes (`SITE.FIELD=VALUE`, `threshold.…`, `request.…`).

    Nothing is stored. Raises NotFound for a task without a round, BadRequest for a change that cannot be.
    """
    wanted = [parse(one) for one in changes]
    if not wanted:
        raise BadRequest(
            "nothing is changed", hint="write SITE.FIELD=VALUE, threshold.FIELD=VALUE, request.FIELD=VALUE"
        )
    read.task(ctx, task_id)
    with ctx.engine.connect() as connection:
        row = store.last_round(connection, task_id, at)
    if row is None:
        until = f" until {clock(at)}" if at is not None else ""
        raise NotFound(
            f"No brokerage of task {task_id} is known{until}.",
            "`panda submit --dry-run` shows what a request would become.",
        )
    before, after, sizes = _decided(row, task_id, wanted)
    pairs = list(zip(before, after, strict=True))
    other = [pair for pair in pairs if _chosen(pair[0]) != _chosen(pair[1])]
    shown = (other or pairs)[0]
    return WhatIf(
        title=f"Brokerage of task {task_id} at {clock(row['at'])} with {', '.join(changes)}",
        at=row["at"],
        different=len(other),
        lines=_lines(other, pairs, sizes),
        candidates=_table(*shown),
    )


def _decided(
    row: RowMapping, task_id: int, wanted: Sequence[Change]
) -> tuple[list[Decision], list[Decision], dict[int, int]]:
    """Decide as it was and as it would be; both by today's rules, so that only the changes make a difference."""
    try:
        if row["kind"] == "cloud":
            task = from_json(CloudRecord, row["snapshot"])
            return [replay_cloud(task)], [replay_cloud(changed_cloud(task, wanted))], {}
        record = from_json(RoundRecord, row["snapshot"])
    except (ValueError, TypeError) as error:
        raise NotFound(
            f"The last brokerage of task {task_id} was stored by another version of the rules ({error}).",
            "Wait for its next round.",
        ) from None
    sizes = {one.id: one.n_jobs for one in record.bunches}
    found = {one.bunch_id: one for one in replay_round(record)}
    new = {one.bunch_id: one for one in replay_round(changed_round(record, wanted))}
    return [found[one] for one in sorted(found)], [new[one] for one in sorted(found)], sizes


def _chosen(decision: Decision) -> str:
    name = decision.chosen if isinstance(decision, CloudDecision) else decision.chosen_name
    return name or NOBODY


def _lines(
    other: Sequence[tuple[Decision, Decision]], pairs: Sequence[tuple[Decision, Decision]], sizes: dict[int, int]
) -> tuple[str, ...]:
    if not other:
        decision = pairs[0][1]
        return (f"Nothing: as before, {_chosen(decision)} would be chosen. {decision.reason}.",)
    lines = [
        f"{_about(old, sizes)}: {_chosen(old)} -> {_chosen(new)}. {new.reason}." for old, new in other[:MOST_BUNCHES]
    ]
    more = len(other) - len(lines)
    return (*lines, f"And {counted(more, 'other')}.") if more else tuple(lines)


def _about(decision: Decision, sizes: dict[int, int]) -> str:
    if isinstance(decision, CloudDecision):
        return f"Task {decision.task_id}"
    return f"Bunch {decision.bunch_id} ({counted(sizes.get(decision.bunch_id, 0), 'job')})"


def _table(before: Decision, after: Decision) -> Facts:
    new = {one.name: one for one in after.candidates}
    rows = tuple(
        (one.name, _stands(one, _chosen(before)), _stands(new.get(one.name), _chosen(after)))
        for one in before.candidates
    )
    return Facts(("candidate", "before", "with the changes"), rows)


def _stands(one: Candidate | None, chosen: str) -> str:
    if one is None:
        return "not looked at"
    if one.rejection is not None:
        return f"{one.rejection.name}: {one.rejection.text}"
    number = one.weight if one.weight is not None else one.load
    words = "" if number is None else f" ({'weight' if one.weight is not None else 'load'} {number:.4g})"
    return ("chosen" if one.name == chosen else "passed") + words
